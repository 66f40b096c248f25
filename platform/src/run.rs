//! The life of a process: start, serve, stop.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Args, Command, FromArgMatches as _};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing::{error, info};

use crate::{
    config::{Listen, Process},
    http,
    service::Service,
    shutdown::Shutdown,
    telemetry,
};

/// The program of a service: reads its settings from arguments and environment, and runs it.
pub fn main<C: Args + Listen>(
    name: &'static str,
    start: impl AsyncFnOnce(&C, &Shutdown) -> anyhow::Result<Service>,
) -> ExitCode {
    let matches = command::<C>(name).get_matches();
    let config = C::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let process = Process::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let runtime = Runtime::new().expect("the system gives a process its threads");
    runtime.block_on(run(name, &config, &process, start))
}

/// The command line of a service that is a process of its own.
pub fn command<C: Args>(name: &'static str) -> Command {
    let own = C::augment_args(Command::new(name).version(env!("CARGO_PKG_VERSION")));
    let about = own.get_about().cloned().unwrap_or_default();
    Process::augment_args(own).about(about)
}

/// Runs a process: telemetry, start, listen, serve until SIGTERM or Ctrl-C, stop.
///
/// `start` gets the shutdown and returns the service; its background tasks belong to the shutdown.
pub async fn run<C: Listen>(
    name: &'static str,
    config: &C,
    process: &Process,
    start: impl AsyncFnOnce(&C, &Shutdown) -> anyhow::Result<Service>,
) -> ExitCode {
    telemetry::init(process);
    let shutdown = Shutdown::default();
    let (address, http) = config.listen();
    let ran = async {
        let listener = bind(address).await?;
        let admin = bind(http.metrics_listen.beside(address)).await?;
        stop_on_signal(&shutdown)?;
        let service = start(config, &shutdown).await?;
        info!(address = %listener.local_addr()?, "{name} listens");
        http::serve_admin(admin, &shutdown);
        http::serve(listener, service, http, &shutdown).await;
        anyhow::Ok(())
    };
    let failed = ran.await.inspect_err(|error| error!("{name} cannot run: {error:#}")).is_err();
    let clean = shutdown.finish(Duration::from_secs(process.shutdown_seconds)).await;
    telemetry::flush();
    if failed || !clean { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Opens a listener; the error says what to do.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: stop what uses the port, or set another address")
    })
}

fn stop_on_signal(shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("Ctrl-C: stopping"),
            () = stop.begun() => {}
        }
        stop.begin();
    });
    Ok(())
}
