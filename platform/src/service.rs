//! The life of a service: start, serve, stop.

use std::{future::Future, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use futures_util::future::BoxFuture;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing::{error, info};

use crate::{
    Shutdown,
    config::{Http, Process},
    http, telemetry,
};

/// Asks a dependency; the error says what is missing.
type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A dependency, as `/readyz` asks for it.
#[derive(Clone)]
pub(crate) struct Dependency {
    pub(crate) name: &'static str,
    /// Whether the service can do its work without.
    pub(crate) is_needed: bool,
    pub(crate) check: Check,
}

/// A started service: what it answers, and what it needs for that.
#[derive(Default)]
pub struct Service {
    pub(crate) router: Router,
    pub(crate) dependencies: Vec<Dependency>,
}

impl Service {
    /// A service with these routes and no checks yet.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self { router, dependencies: Vec::new() }
    }

    /// Adds what the service cannot do its work without: `/readyz` says 503 while it is missing.
    #[must_use]
    pub fn needs<F, Fut>(self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.with(Dependency { name, is_needed: true, check })
    }

    /// Adds what the service uses and can be without: `/readyz` names it while it is missing.
    #[must_use]
    pub fn uses<F, Fut>(self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.with(Dependency { name, is_needed: false, check })
    }

    /// Both services on one listener. What one of them needs, both need.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let router = self.router.merge(other.router);
        let both = Self { router, dependencies: self.dependencies };
        other.dependencies.into_iter().fold(both, Self::with)
    }

    fn with(mut self, dependency: Dependency) -> Self {
        let known = self.dependencies.iter_mut().find(|known| known.name == dependency.name);
        match known {
            Some(known) if known.is_needed || !dependency.is_needed => {}
            Some(known) => *known = dependency,
            None => self.dependencies.push(dependency),
        }
        self
    }
}

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
