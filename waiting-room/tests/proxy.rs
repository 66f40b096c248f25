//! A connection to Redis that can be cut, slowed down and mended.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

pub(crate) struct Proxy {
    /// What to call instead of Redis.
    pub url: String,
    how: watch::Sender<How>,
    to: watch::Sender<SocketAddr>,
}

/// How what arrives is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    AtOnce,
    After(Duration),
    Never,
}

impl Proxy {
    /// A proxy before a URL such as `redis://127.0.0.1:6379/0`.
    pub(crate) async fn before(url: &str) -> Self {
        let (address, database) = url.strip_prefix("redis://").unwrap().rsplit_once('/').unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/{database}", listener.local_addr().unwrap());
        let (set, how) = watch::channel(How::AtOnce);
        let (to, address) = watch::channel(address);
        spawn(accept(listener, address, how));
        Self { url, how: set, to }
    }

    /// New connections go to another one.
    pub(crate) fn lead_to(&self, address: SocketAddr) {
        self.to.send_replace(address);
    }

    /// Where the proxy itself is.
    pub(crate) fn host_and_port(&self) -> (String, String) {
        let (address, _) = self.url.strip_prefix("redis://").unwrap().rsplit_once('/').unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        (host.into(), port.into())
    }

    /// From now on nothing comes through, and connections end.
    pub(crate) fn cut(&self) {
        self.how.send_replace(How::Never);
    }

    /// From now on everything comes through so much later.
    pub(crate) fn slow(&self, by: Duration) {
        self.how.send_replace(How::After(by));
    }

    /// All is well again; connections that were cut must be made anew.
    pub(crate) fn mend(&self) {
        self.how.send_replace(How::AtOnce);
    }
}

async fn accept(
    listener: TcpListener,
    address: watch::Receiver<SocketAddr>,
    how: watch::Receiver<How>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if *how.borrow() == How::Never {
            continue;
        }
        let address = *address.borrow();
        let mut cut = how.clone();
        let how = how.clone();
        spawn(async move {
            let Ok(server) = TcpStream::connect(address).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = pass_on(from_client, to_server, how.clone()) => {}
                () = pass_on(from_server, to_client, how) => {}
                _ = cut.wait_for(|how| *how == How::Never) => {}
            }
        });
    }
}

async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    how: watch::Receiver<How>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let now = *how.borrow();
        if let How::After(delay) = now {
            sleep(delay).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
