//! A connection to Redis that can be cut and mended.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) struct Proxy {
    /// What to call instead of Redis.
    pub url: String,
    cut: watch::Sender<bool>,
}

impl Proxy {
    /// A proxy before a URL such as `redis://127.0.0.1:6379/0`.
    pub(crate) async fn before(url: &str) -> Self {
        let (address, database) = url.strip_prefix("redis://").unwrap().rsplit_once('/').unwrap();
        let address: SocketAddr = address.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/{database}", listener.local_addr().unwrap());
        let (cut, is_cut) = watch::channel(false);
        spawn(accept(listener, address, is_cut));
        Self { url, cut }
    }

    /// From now on nothing comes through.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// New connections come through again.
    pub(crate) fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, is_cut: watch::Receiver<bool>) {
    while let Ok((mut client, _)) = listener.accept().await {
        if *is_cut.borrow() {
            continue;
        }
        let mut is_cut = is_cut.clone();
        spawn(async move {
            let Ok(mut server) = TcpStream::connect(address).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = is_cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
