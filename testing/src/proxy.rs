//! A TCP proxy that misbehaves on demand, between a service and a backend.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use platform::Shutdown;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

use crate::address::{address_in, at_address};

/// Bytes read at once; the only buffer of a direction.
const CHUNK: usize = 64 * 1024;
/// The bytes of a commit in PostgreSQL's simple query protocol.
const COMMIT: &[u8] = b"COMMIT\0";
/// Time for a server to carry out a commit whose answer will not arrive.
const COMMIT_TAKES: Duration = Duration::from_millis(60);
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// What the proxy does to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Bytes stop in both directions, and go on later; no side is told.
    Stall,
    /// The server gets everything and its answers are lost, as on a half-open connection.
    /// Connections that lost an answer are reset when the mode ends.
    Mute,
    /// Bytes pass a few at a time.
    Slice,
    /// Each chunk comes late.
    Slow(Duration),
    /// New connections are reset; open ones stay.
    Refuse,
}

/// What happens to a commit on its way to PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitCut {
    /// The commit is carried out, and the connection is reset before the answer.
    Delivered,
    /// The commit never arrives.
    Dropped,
}

/// One proxied address. Cheap to clone.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    wire: Arc<Wire>,
}

struct Wire {
    target: watch::Sender<SocketAddr>,
    mode: watch::Sender<Mode>,
    /// Counts resets; a connection ends when it changes.
    resets: watch::Sender<u64>,
    /// Connections of an older generation carry nothing any more.
    generation: watch::Sender<u64>,
    /// What happens to commits, and how many are left to cut.
    commit_cut: Mutex<Option<(CommitCut, u8)>>,
}

impl Wire {
    fn armed(&self) -> MutexGuard<'_, Option<(CommitCut, u8)>> {
        self.commit_cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the cut for the commit that is passing, if there is one.
    fn cut(&self) -> Option<CommitCut> {
        let mut armed = self.armed();
        let (cut, left) = (*armed)?;
        *armed = (left > 1).then_some((cut, left - 1));
        Some(cut)
    }
}

impl Proxy {
    /// A proxy before the backend of this URL, and changes the URL to lead through it. It runs
    /// until the test's runtime ends.
    ///
    /// # Panics
    /// If the URL has no address, or no port is free.
    pub async fn before(url: &mut String) -> Self {
        let target = address_in(url).expect("the URL has an address");
        let proxy = Self::start(target, &Shutdown::default()).await.expect("a port is free");
        *url = at_address(url, proxy.address).expect("the URL has an address");
        proxy
    }

    /// Listens on a port of its own and passes everything on to `target`.
    pub async fn start(target: SocketAddr, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let wire = Arc::new(Wire {
            target: watch::Sender::new(target),
            mode: watch::Sender::new(Mode::Pass),
            resets: watch::Sender::new(0),
            generation: watch::Sender::new(0),
            commit_cut: Mutex::default(),
        });
        let (accepting, stop) = (Arc::clone(&wire), shutdown.clone());
        shutdown.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.begun() => return,
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        stop.spawn(serve(Arc::clone(&accepting), client, stop.clone()));
                    },
                }
            }
        });
        Ok(Self { address, wire })
    }

    /// Sets the mode of all connections, open and new.
    pub fn set(&self, mode: Mode) {
        self.wire.mode.send_replace(mode);
    }

    /// Resets every open connection.
    pub fn reset(&self) {
        self.wire.resets.send_modify(|n| *n += 1);
    }

    /// Carries nothing more for open connections, as after the death of a machine that could not
    /// close them. New connections pass.
    pub fn forget(&self) {
        self.wire.generation.send_modify(|n| *n += 1);
        self.set(Mode::Pass);
    }

    /// Refuses new connections and resets the open ones.
    pub fn cut(&self) {
        self.set(Mode::Refuse);
        self.reset();
    }

    /// Connects new connections to another backend.
    pub fn lead_to(&self, target: SocketAddr) {
        self.wire.target.send_replace(target);
    }

    /// Arms the cut of the next `n` commits.
    pub fn cut_commits(&self, cut: CommitCut, n: u8) {
        *self.wire.armed() = (n > 0).then_some((cut, n));
    }

    /// Whether an armed cut still waits for its commit.
    pub fn is_armed(&self) -> bool {
        self.wire.armed().is_some()
    }

    /// Passes everything again; connections that have lost bytes are reset.
    pub fn heal(&self) {
        *self.wire.armed() = None;
        self.set(Mode::Pass);
    }
}

async fn serve(wire: Arc<Wire>, client: TcpStream, stop: Shutdown) {
    // Subscribed before the mode is read, so that a cut in between is not missed.
    let mut resets = wire.resets.subscribe();
    resets.mark_unchanged();
    let refused = *wire.mode.borrow() == Mode::Refuse;
    let target = *wire.target.borrow();
    let connecting = tokio::time::timeout(CONNECT_WAIT, TcpStream::connect(target));
    let server = if refused { None } else { connecting.await.ok().and_then(Result::ok) };
    let Some(server) = server else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // An abortive close: both sides see a reset, as after a crash, and not an orderly end.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let silenced = AtomicBool::new(false);
    let up = pump(&wire, from_client, to_server, Direction::Up, &silenced);
    let down = pump(&wire, from_server, to_client, Direction::Down, &silenced);
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = resets.changed() => {}
        () = stop.begun() => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// To the backend.
    Up,
    Down,
}

/// Moves bytes one way until a side closes, or the connection is to be cut.
async fn pump(
    wire: &Wire,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    silenced: &AtomicBool,
) {
    let mut modes = wire.mode.subscribe();
    let born = *wire.generation.borrow();
    let mut chunk = vec![0; CHUNK];
    let mut has_lost = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            _ = modes.changed(), if has_lost => {
                if *modes.borrow_and_update() != Mode::Mute {
                    return;
                }
                continue;
            }
        };
        let Ok(n @ 1..) = read else { return };
        let bytes = &chunk[..n];
        if direction == Direction::Down && silenced.load(Ordering::SeqCst) {
            continue;
        }
        if modes.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        if *wire.generation.borrow() != born {
            return pending().await;
        }
        if direction == Direction::Up && bytes.windows(COMMIT.len()).any(|part| part == COMMIT) {
            match wire.cut() {
                Some(CommitCut::Delivered) => {
                    silenced.store(true, Ordering::SeqCst);
                    let _ = to.write_all(bytes).await;
                    sleep(COMMIT_TAKES).await;
                    return;
                }
                Some(CommitCut::Dropped) => return,
                None => {}
            }
        }
        let mode = *modes.borrow_and_update();
        if mode == Mode::Mute && direction == Direction::Down {
            has_lost = true;
            continue;
        }
        if write(&mut to, bytes, mode).await.is_err() {
            return;
        }
    }
}

async fn write(to: &mut OwnedWriteHalf, bytes: &[u8], mode: Mode) -> std::io::Result<()> {
    match mode {
        Mode::Slow(late) => {
            sleep(late).await;
            to.write_all(bytes).await
        }
        Mode::Slice => {
            for (n, piece) in bytes.chunks(13).enumerate() {
                to.write_all(piece).await?;
                if n % 16 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            Ok(())
        }
        _ => to.write_all(bytes).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(300);

    /// A proxy before a server that echoes.
    async fn echo() -> (Proxy, Shutdown) {
        let shutdown = Shutdown::default();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            while let Ok((mut socket, _)) = server.accept().await {
                stop.spawn(async move {
                    let (mut from, mut to) = socket.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (Proxy::start(target, &shutdown).await.unwrap(), shutdown)
    }

    async fn ask(socket: &mut TcpStream, question: &[u8]) -> Option<Vec<u8>> {
        socket.write_all(question).await.ok()?;
        let mut answer = vec![0; question.len()];
        let read = tokio::time::timeout(SOON, socket.read_exact(&mut answer)).await;
        read.ok()?.ok().map(|_| answer)
    }

    #[tokio::test]
    async fn bytes_pass_whole_in_slices_and_late() {
        let (proxy, _shutdown) = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        for mode in [Mode::Pass, Mode::Slice, Mode::Slow(Duration::from_millis(5))] {
            proxy.set(mode);
            let question = b"which seats are free in the third row?";
            assert_eq!(ask(&mut socket, question).await.unwrap(), question, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn a_stall_loses_nothing_and_a_half_open_link_does() {
        let (proxy, _shutdown) = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        proxy.set(Mode::Stall);
        assert_eq!(ask(&mut socket, b"a").await, None);
        proxy.heal();
        let mut late = [0];
        socket.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"a");
        proxy.set(Mode::Mute);
        assert_eq!(ask(&mut socket, b"b").await, None);
        proxy.heal();
        assert!(socket.read_exact(&mut late).await.is_err(), "it is reset, not patched up");
    }

    #[tokio::test]
    async fn a_commit_is_cut_after_or_before_it_arrives() {
        let (proxy, _shutdown) = echo().await;
        for cut in [CommitCut::Delivered, CommitCut::Dropped] {
            proxy.cut_commits(cut, 2);
            for is_armed in [true, false] {
                let mut socket = TcpStream::connect(proxy.address).await.unwrap();
                assert!(ask(&mut socket, b"begin\0").await.is_some());
                assert_eq!(ask(&mut socket, b"COMMIT\0").await, None, "{cut:?}");
                assert_eq!(proxy.is_armed(), is_armed);
            }
        }
    }

    #[tokio::test]
    async fn what_is_forgotten_stays_silent_and_new_connections_pass() {
        let (proxy, _shutdown) = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut socket, b"a").await.is_some());
        proxy.set(Mode::Stall);
        assert_eq!(ask(&mut socket, b"b").await, None);
        proxy.forget();
        assert_eq!(ask(&mut socket, b"c").await, None);
        let mut fresh = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut fresh, b"d").await.is_some());
        proxy.reset();
        assert_eq!(socket.read(&mut [0]).await.ok().filter(|n| *n > 0), None, "it has ended");
    }

    #[tokio::test]
    async fn a_url_leads_through_the_proxy_to_one_backend_after_the_other() {
        let ((one, _ends), (other, _also)) = (echo().await, echo().await);
        let mut url = format!("redis://login:secret@{}/3", one.address);
        let proxy = Proxy::before(&mut url).await;
        assert_eq!(url, format!("redis://login:secret@{}/3", proxy.address));
        one.cut();
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut socket, b"a").await, None);
        proxy.lead_to(other.address);
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut socket, b"a").await.is_some());
    }

    #[tokio::test]
    async fn a_reset_and_a_refusal_end_connections() {
        let (proxy, _shutdown) = echo().await;
        let mut socket = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ask(&mut socket, b"a").await.is_some());
        proxy.reset();
        assert_eq!(ask(&mut socket, b"b").await, None);
        proxy.set(Mode::Refuse);
        let refused = TcpStream::connect(proxy.address).await;
        if let Ok(mut socket) = refused {
            assert_eq!(ask(&mut socket, b"c").await, None);
        }
    }
}
