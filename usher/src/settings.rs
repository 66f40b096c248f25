//! The settings of a process that runs every service: the settings of all services, each once.

use std::net::SocketAddr;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use platform::config::{Backends, Http, Listen, Process};

/// The settings of the process itself.
#[derive(Args, Clone)]
pub struct Own {
    /// Address all services listen on; metrics are served a thousand ports above it.
    #[arg(long, env = "USHER_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub backends: Backends,
    #[command(flatten)]
    pub process: Process,
    #[command(flatten)]
    pub http: Http,
}

/// The settings of the process and of every service in it.
///
/// Several services have the same settings, and clap takes each name only once. So the arguments
/// are merged by name, and each service reads its settings from the same matches.
#[derive(Clone)]
pub struct Settings {
    pub own: Own,
    pub ingress: ingress::Config,
    pub waiting_room: waiting_room::Config,
    pub allocator: allocator::Config,
    pub notifier: notifier::Config,
}

impl Listen for Settings {
    fn listen(&self) -> (SocketAddr, &Http) {
        (self.own.listen, &self.own.http)
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        services().iter().fold(Own::augment_args(command), |merged, service| {
            let new: Vec<_> = service
                .get_arguments()
                .filter(|arg| !merged.get_arguments().any(|known| known.get_id() == arg.get_id()))
                .cloned()
                .collect();
            merged.args(new)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            own: Own::from_arg_matches(matches)?,
            ingress: ingress::Config::from_arg_matches(matches)?,
            waiting_room: waiting_room::Config::from_arg_matches(matches)?,
            allocator: allocator::Config::from_arg_matches(matches)?,
            notifier: notifier::Config::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn services() -> [Command; 4] {
    [
        ingress::Config::augment_args(Command::new("ingress")),
        waiting_room::Config::augment_args(Command::new("waiting-room")),
        allocator::Config::augment_args(Command::new("allocator")),
        notifier::Config::augment_args(Command::new("notifier")),
    ]
}

/// The same settings with defaults for a demonstration on one machine: it logs warnings only, and
/// trusts local proxies so that its visitors can have addresses of their own.
#[derive(Clone)]
pub struct DemoSettings(pub Settings);

impl Args for DemoSettings {
    fn augment_args(command: Command) -> Command {
        Settings::augment_args(command)
            .mut_arg("log", |arg| arg.default_value("warn"))
            .mut_arg("trusted_proxies", |arg| arg.default_value("127.0.0.1"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DemoSettings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Settings::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKENDS: [&str; 9] = [
        "usher",
        "--database-url=postgres://127.0.0.1/a",
        "--redis-url=redis://127.0.0.1",
        "--amqp-url=amqp://127.0.0.1",
        "--master-key=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "--listen=127.0.0.1:9",
        "--log=debug",
        "--connections-max=7",
        "--trusted-proxies=10.0.0.1",
    ];

    #[test]
    fn every_service_gets_the_same_backends_and_the_names_do_not_clash() {
        let command = Settings::augment_args(Command::new("usher"));
        command.clone().debug_assert();
        let settings = Settings::from_arg_matches(&command.get_matches_from(BACKENDS)).unwrap();
        assert_eq!(settings.ingress.backends.database_url, "postgres://127.0.0.1/a");
        assert_eq!(settings.allocator.backends.database_url, "postgres://127.0.0.1/a");
        assert_eq!(settings.ingress.http.connections_max, 7);
        assert_eq!(settings.own.listen.port(), 9);
    }

    #[test]
    fn one_name_never_means_two_settings() {
        let merged = Settings::augment_args(Command::new("usher"));
        for service in services() {
            for arg in service.get_arguments().filter(|arg| arg.get_id() != "listen") {
                let known = merged.get_arguments().find(|known| known.get_id() == arg.get_id());
                let env = known.unwrap().get_env();
                assert_eq!(env, arg.get_env(), "{}: --{}", service.get_name(), arg.get_id());
            }
        }
    }

    #[test]
    fn a_demonstration_is_quiet_unless_told_otherwise() {
        let command = || DemoSettings::augment_args(Command::new("usher"));
        let quiet = command().get_matches_from(&BACKENDS[..6]);
        let DemoSettings(settings) = DemoSettings::from_arg_matches(&quiet).unwrap();
        assert_eq!(settings.own.process.log, "warn");
        let loud = command().get_matches_from(BACKENDS);
        let DemoSettings(settings) = DemoSettings::from_arg_matches(&loud).unwrap();
        assert_eq!(settings.own.process.log, "debug");
        assert_eq!(settings.ingress.http.trusted_proxies[0].to_string(), "10.0.0.1");
    }
}
