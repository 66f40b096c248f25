//! `.env.example`: every setting with its meaning and default, from the settings themselves.

use std::fmt::Write as _;

use clap::{Args as _, Command};

use crate::settings::Settings;

/// Environment variables of one service's settings that have no default.
#[must_use]
pub fn needed(command: &Command) -> Vec<String> {
    let required = command.get_arguments().filter(|argument| argument.is_required_set());
    required.filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned())).collect()
}

/// Every environment variable of one service's settings.
#[must_use]
pub fn known(command: &Command) -> Vec<String> {
    let names = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    names.map(ToOwned::to_owned).collect()
}

/// The settings of each service alone, and of all services in one process.
#[must_use]
pub fn commands() -> Vec<Command> {
    vec![
        platform::command::<ingress::Config>("ingress"),
        platform::command::<waiting_room::Config>("waiting-room"),
        platform::command::<allocator::Config>("allocator"),
        platform::command::<notifier::Config>("notifier"),
        Settings::augment_args(Command::new("usher")),
    ]
}

/// The text of `.env.example`.
#[must_use]
pub fn text() -> String {
    let mut text = String::from(
        "# Every setting, with its meaning and default. Written by `usher settings`; kept in step by a test.\n\
         # A line without a value is needed or optional as its text says; the rest may be left out.\n",
    );
    let mut told: Vec<String> = Vec::new();
    for command in commands() {
        for argument in command.get_arguments() {
            let Some(name) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            if told.iter().any(|known| known == name) {
                continue;
            }
            told.push(name.to_owned());
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let default = argument.get_default_values().first().and_then(|value| value.to_str());
            let _ = writeln!(text, "\n# {}", help.replace('\n', "\n# "));
            let _ = match default {
                Some(default) => writeln!(text, "#{name}={default}"),
                None if argument.is_required_set() => writeln!(text, "{name}="),
                None => writeln!(text, "#{name}="),
            };
        }
    }
    text
}
