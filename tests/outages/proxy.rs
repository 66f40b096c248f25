//! A wire to a backend that can fall silent without anybody being told.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

#[derive(Clone, Copy, Default)]
struct Wire {
    silent: bool,
    /// Connections older than this stay silent for ever.
    generation: u64,
    /// Connections older than this are closed.
    cut: u64,
}

/// A proxy before one backend.
pub(crate) struct Proxy {
    wire: Arc<watch::Sender<Wire>>,
}

impl Proxy {
    /// A proxy before the backend of this URL, which is changed to lead through it.
    pub(crate) async fn before(url: &mut String) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let (login, target) = authority.rsplit_once('@').map_or(("", authority), |(l, t)| (l, t));
        let target: SocketAddr = target.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let at = if login.is_empty() { "" } else { "@" };
        *url = format!("{scheme}://{login}{at}{address}/{path}");
        let wire = Arc::new(watch::Sender::new(Wire::default()));
        spawn(accept(listener, target, Arc::clone(&wire)));
        Self { wire }
    }

    /// From now on connections are accepted, and nothing comes through.
    pub(crate) fn silence(&self) {
        self.wire.send_modify(|wire| wire.silent = true);
    }

    /// Everything goes on where it stopped, as after a freeze.
    pub(crate) fn go_on(&self) {
        self.wire.send_modify(|wire| wire.silent = false);
    }

    /// New connections come through; the ones there are stay silent, as after the death of a peer
    /// that had no time to say so.
    pub(crate) fn forget(&self) {
        self.wire.send_modify(|wire| {
            *wire = Wire { silent: false, generation: wire.generation + 1, ..*wire };
        });
    }

    /// Closes every connection; new ones come through.
    pub(crate) fn cut(&self) {
        self.wire.send_modify(|wire| wire.cut += 1);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, wire: Arc<watch::Sender<Wire>>) {
    while let Ok((client, _)) = listener.accept().await {
        let watching = wire.subscribe();
        spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            let Wire { generation: born, cut, .. } = *watching.borrow();
            let mut cutting = watching.clone();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = pump(from_client, to_server, watching.clone(), born) => {}
                () = pump(from_server, to_client, watching, born) => {}
                _ = cutting.wait_for(|wire| wire.cut > cut) => {}
            }
        });
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    born: u64,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        let carries = |wire: &Wire| !wire.silent && wire.generation == born;
        if wire.wait_for(carries).await.is_err() || to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
