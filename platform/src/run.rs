//! The life of a process: start, serve, stop.

use std::{future::Future, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing::{error, info};

use crate::{
    config::{Http, Process},
    http,
    service::Service,
    shutdown::Shutdown,
    telemetry,
};

/// Runs a process: telemetry, start, listen, serve until SIGTERM or Ctrl-C, stop.
///
/// `start` gets the shutdown and returns the service; its background tasks belong to the shutdown.
pub async fn run<F, Fut>(
    name: &'static str,
    listen: SocketAddr,
    process: Process,
    http: Http,
    start: F,
) -> ExitCode
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<Service>>,
{
    telemetry::init(&process);
    let shutdown = Shutdown::default();
    let ran = async {
        let listener = bind(listen).await?;
        let admin = bind(http.metrics_listen.beside(listen)).await?;
        stop_on_signal(&shutdown)?;
        let service = start(shutdown.clone()).await?;
        info!(address = %listener.local_addr()?, "{name} listens");
        http::serve_admin(admin, &shutdown);
        http::serve(listener, service, &http, &shutdown).await;
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
