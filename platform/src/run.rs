//! The life of a process: start, serve, drain, stop.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Args, Command, FromArgMatches as _};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing::{error, info, warn};

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
    let runtime = Runtime::new().expect("the operating system starts the runtime's threads");
    runtime.block_on(run(name, &config, &process, start))
}

/// The command line of a service that is a process of its own.
pub fn command<C: Args>(name: &'static str) -> Command {
    let own = C::augment_args(Command::new(name).version(env!("CARGO_PKG_VERSION")));
    let about = own.get_about().cloned().unwrap_or_default();
    Process::augment_args(own).about(about)
}

/// Runs a process: telemetry, start, listen, serve until SIGTERM or Ctrl-C, drain, stop. It fails
/// if it could not start, a vital task crashed, or work was given up.
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
    let serve = async {
        let listener = bind(address).await?;
        let admin = bind(http.metrics_listen.beside(address)).await?;
        let service = start(config, &shutdown).await?;
        info!(address = %listener.local_addr()?, "{name} listens");
        http::serve_admin(admin, &shutdown);
        http::serve(listener, service, http, &shutdown).await;
        anyhow::Ok(())
    };
    let live = async {
        let ran = serve.await.inspect_err(|error| error!("{name} cannot run: {error:#}"));
        let is_clean = shutdown.finish(Duration::from_secs(process.shutdown_seconds)).await;
        ran.is_ok() && is_clean && shutdown.crashed().is_none()
    };
    tokio::select! {
        went_well = live => {
            telemetry::flush();
            if went_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        () = second_signal(&shutdown, Duration::from_secs(process.drain_seconds)) => {
            warn!("a second signal: {name} stops at once and leaves its work unfinished");
            telemetry::flush();
            // Returning would wait for calls that block a thread.
            std::process::exit(1)
        }
    }
}

/// Opens a listener; the error says what to do.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: stop what uses the port, or set another address")
    })
}

/// Drains and stops at the first signal, and resolves at the second.
async fn second_signal(shutdown: &Shutdown, drain: Duration) {
    let listen = |kind| signal(kind).expect("a process may listen for signals");
    let mut terminate = listen(SignalKind::terminate());
    let mut interrupt = listen(SignalKind::interrupt());
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        }
    };
    let first = next().await;
    info!(?drain, "{first}: stopping");
    let stop = shutdown.clone();
    shutdown.spawn(async move { stop.drain(drain).await });
    next().await;
}
