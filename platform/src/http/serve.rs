//! The accept loop. It uses hyper directly, which can time out a client that sends its headers
//! slowly.

use std::{
    convert::Infallible, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use axum::{Json, Router, http::StatusCode, response::IntoResponse as _, routing::get};
use futures_util::FutureExt as _;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::{browser, deadline, docs::Description, problem, ready::Readiness};
use crate::{Service, Shutdown, config::Http, origin::Origins, telemetry};

/// Longest time for a client to send its headers, and between two requests. A proxy must close its
/// idle connections sooner, or it may send a request on a connection that is closing.
pub const HEADERS_WAIT: Duration = Duration::from_secs(5);
/// Longest time from a request's headers to the start of its answer; `Prefer: wait` is 30 s.
const ANSWER_WAIT: Duration = Duration::from_secs(40);
/// Longest time that a client may read nothing of what it is sent. A socket that is closed for that
/// stays open for 30 s, so that its client can read why.
const UNREAD_MAX: Duration = Duration::from_secs(45);
/// One in this many connections is kept free of sockets that stay open, so that a full node still
/// answers requests.
const KEPT_FREE: usize = 32;
/// How often metrics of shows that are over are removed, even if nobody reads the metrics.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// Serves until the shutdown begins, then lets open requests finish.
pub async fn serve(listener: TcpListener, service: Service, http: &Http, shutdown: &Shutdown) {
    let answers = Answers::of(service, http, shutdown);
    let connections = Arc::new(Semaphore::new(http.connections_max));
    loop {
        let permit = tokio::select! {
            () = shutdown.begun() => return,
            permit = Arc::clone(&connections).acquire_owned() => permit.expect("never closed"),
        };
        let (socket, peer) = tokio::select! {
            () = shutdown.begun() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly the process is out of file descriptors: other connections must close
                    // first.
                    warn!("cannot accept a connection, trying again: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let _ = socket.set_nodelay(true);
        give_up_on_silent_readers(&socket);
        let connection = ClientConnection::new(permit, http.connections_max / KEPT_FREE);
        let (answers, stop) = (answers.clone(), shutdown.clone());
        shutdown.spawn(serve_connection(TokioIo::new(socket), peer, connection, answers, stop));
    }
}

/// Lets the kernel end a connection to which nothing could be sent for [`UNREAD_MAX`]: the client
/// may be gone, or not read.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "Linux alone has it"))]
fn give_up_on_silent_readers(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(socket).set_tcp_user_timeout(Some(UNREAD_MAX)) {
        warn!("a client that does not read may keep its connection: {error}");
    }
}

/// One of the connections that a listener may have at once. A handler that takes the socket over,
/// as a WebSocket, keeps a clone.
#[derive(Clone)]
pub struct ClientConnection {
    open: Arc<Open>,
}

struct Open {
    permit: OwnedSemaphorePermit,
    kept_free: usize,
}

impl ClientConnection {
    fn new(permit: OwnedSemaphorePermit, kept_free: usize) -> Self {
        metrics::gauge!("usher_http_connections").increment(1.0);
        Self { open: Arc::new(Open { permit, kept_free }) }
    }

    /// Whether there is room for the connection to stay open for as long as its client likes.
    pub(super) fn may_stay(&self) -> bool {
        self.open.permit.semaphore().available_permits() >= self.open.kept_free
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("usher_http_connections").decrement(1.0);
    }
}

async fn serve_connection(
    socket: TokioIo<TcpStream>,
    peer: SocketAddr,
    connection: ClientConnection,
    answers: Answers,
    stop: Shutdown,
) {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(connection.clone());
        answers.clone().answer(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WAIT)
        .max_buf_size(32 * 1024)
        .serve_connection(socket, answer)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, "a connection ended early: {error}");
    }
}

/// What a listener answers: a service, and what every listener has. Cheap to clone.
#[derive(Clone)]
struct Answers {
    router: Router,
    description: Description,
    origins: Origins,
}

impl Answers {
    fn of(service: Service, http: &Http, shutdown: &Shutdown) -> Self {
        let Service { router, api, dependencies } = service;
        let readiness = Readiness::of(dependencies, shutdown.clone());
        let router = router
            .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
            .route("/readyz", get(move || readiness.clone().answer()));
        let origins = http.allowed_origins.clone();
        Self { router, description: Description::of(api), origins }
    }

    /// Answers a request within limits of time and length. Errors have one shape, also that of a handler
    /// that panicked. No layers of the router do this: each would make every request wait for two more
    /// boxed futures.
    async fn answer(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<axum::body::Body>, Infallible> {
        if let Some(response) = browser::preflight(&self.origins, &request) {
            return Ok(response);
        }
        request.extensions_mut().insert(self.description);
        let page = self.origins.of(request.headers()).cloned();
        let call = problem::Call::of(&mut request);
        let answered = self.router.oneshot(request.map(deadline::bounded));
        let answered = AssertUnwindSafe(answered).catch_unwind();
        let response = match tokio::time::timeout(ANSWER_WAIT, answered).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(panic)) => problem::panicked(&*panic),
            Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
        };
        let mut response = call.answer(response);
        browser::tell(&self.origins, page, &mut response);
        Ok(response)
    }
}

/// Serves `/metrics` on its own listener until the shutdown begins.
pub fn serve_admin(listener: TcpListener, shutdown: &Shutdown) {
    let tidying = shutdown.clone();
    shutdown.spawn(async move {
        while tidying.sleep(TIDY_EVERY).await {
            telemetry::tidy();
        }
    });
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        let router = Router::new()
            .route("/metrics", get(|| async { telemetry::render() }))
            .route("/healthz", get(|| async { "ok" }));
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { stop.begun().await });
        if let Err(error) = served.await {
            warn!("the metrics listener ended: {error}");
        }
    });
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn panics() -> &'static str {
        panic!("on purpose")
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_like_any_error_and_the_next_call_as_ever() {
        let router = Router::new().route("/panics", get(panics));
        let service = Service { router, ..Service::default() };
        let settings = Http::augment_args(Command::new("x")).get_matches_from(["x"]);
        let http = Http::from_arg_matches(&settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::default());
        let stop = shutdown.clone();
        shutdown.spawn(async move { serve(listener, service, &http, &stop).await });
        for (path, status, code) in
            [("/panics", "500 Internal Server Error", "INTERNAL"), ("/healthz", "200 OK", "ok")]
        {
            let answer = ask(address, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(answer.contains(&format!("\"{code}\"")), "{answer}");
            for header in ["x-request-id: ", "x-content-type-options: nosniff"] {
                assert!(answer.contains(header), "{path}: {answer}");
            }
        }
    }
}
