//! The command that runs every service in one process.

use std::process::ExitCode;

use clap::Args;
use platform::{Service, Shutdown};

use crate::{migrate, settings::Settings};

/// Runs every service in this process.
#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    settings: Settings,
}

impl Up {
    /// Migrates, starts and serves until the process is told to stop.
    pub async fn run(self) -> ExitCode {
        let settings = self.settings;
        allow_many_files();
        platform::run("usher", &settings, &settings.own.process, async |settings, shutdown| {
            let own = &settings.own;
            migrate::run(&own.backends.database_url).await?;
            let service = start(settings, shutdown, Allocation::Here).await?;
            println!("usher is at http://{}", own.listen);
            println!("  API        http://{}/docs", own.listen);
            println!("  metrics    http://{}/metrics", own.http.metrics_listen.beside(own.listen));
            Ok(service)
        })
        .await
    }
}

/// Which process decides bookings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// This process.
    Here,
    /// Allocators that run beside it.
    Elsewhere,
}

/// Starts the services in this process. Their background tasks belong to the shutdown.
pub async fn start(
    settings: &Settings,
    shutdown: &Shutdown,
    allocation: Allocation,
) -> anyhow::Result<Service> {
    let mut service = ingress::start(&settings.ingress, shutdown).await?;
    service = service.and(waiting_room::start(&settings.waiting_room, shutdown).await?);
    if allocation == Allocation::Here {
        service = service.and(allocator::start(&settings.allocator, shutdown)?);
    }
    Ok(service.and(notifier::start(&settings.notifier, shutdown).await?))
}

/// Raises the limit of open files as far as the system allows, since every socket counts as one.
pub fn allow_many_files() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        eprintln!("the open-file limit could not be raised: {error}");
    }
}
