//! One waiting visitor: it watches its place over a socket, and may leave or lose the connection.

use std::{sync::Arc, time::Duration};

use contract::{
    ShowId,
    api::line::{LineFrame, PLACE_TICKET_PROTOCOL, PlaceState, PlaceStatus, VisitorFrame},
};
use fastrand::Rng;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    Stir,
    clock::now_ms,
    counts::Counters,
    trail::Trail,
    wire::{News, Sample},
};
use crate::{CallError, Client, crowd::address, line::until, socket::Socket};

/// Connections tried in a row before a visitor gives up.
const TRIES_MAX: u32 = 20;
/// Longest wait for the server to close the socket of a visitor who leaves.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long a visitor who lost the connection is away.
const AWAY_MS: std::ops::Range<u64> = 200..3_000;

/// The state that all visitors of one process share.
pub(super) struct Herd {
    pub(super) show: ShowId,
    /// One client for each node of the waiting room.
    pub(super) nodes: Vec<Client>,
    pub(super) counters: Counters,
    pub(super) mood: watch::Sender<Mood>,
    pub(super) news: tokio::sync::mpsc::Sender<News>,
}

/// What the visitors do at the moment: wait, or a stir.
#[derive(Clone, Debug, Default)]
pub(super) struct Mood {
    /// Counts the changes; at each, every visitor draws anew what it will do.
    pub(super) number: u64,
    /// The stir and its beginning, while one is going on.
    pub(super) stir: Option<(Arc<Stir>, Instant)>,
}

/// A visitor with a place.
pub(super) struct Watcher {
    herd: Arc<Herd>,
    n: usize,
    /// The node it is connected to.
    node: usize,
    token: Arc<str>,
    place: PlaceStatus,
    /// The number on the screen.
    ahead: Option<u64>,
    mood: watch::Receiver<Mood>,
    leaves_at: Option<Instant>,
    moves_at: Option<Instant>,
    trail: Option<Trail>,
}

/// Why a visitor stops watching.
enum Stop {
    Admitted,
    Left,
    Over,
    /// The visitor loses its connection on purpose.
    Moves,
    /// The server ended the connection, or it broke.
    Dropped,
}

impl Watcher {
    /// Joins the line; also returns how long the answer took.
    pub(super) async fn join(
        herd: Arc<Herd>,
        n: usize,
        token: String,
    ) -> Result<(Self, Duration), CallError> {
        let node = n % herd.nodes.len();
        let token: Arc<str> = token.into();
        let asked = Instant::now();
        let place = client(&herd, node, n, &token).join(herd.show).await?;
        let took = asked.elapsed();
        herd.counters.joined.up();
        let mood = herd.mood.subscribe();
        let mut watcher = Self {
            herd,
            n,
            node,
            token,
            ahead: None,
            mood,
            leaves_at: None,
            moves_at: None,
            trail: None,
            place,
        };
        watcher.sees(watcher.place.ahead);
        Ok((watcher, took))
    }

    /// Opens the socket; if that fails, tries again at the next node.
    pub(super) async fn open(&mut self) -> Result<Socket, CallError> {
        let credential = format!("{PLACE_TICKET_PROTOCOL}{}", self.place.place_ticket);
        for _ in 0..TRIES_MAX {
            match Socket::open(&self.client(), &self.place.live_url, &credential).await {
                Ok(socket) => return Ok(socket),
                Err(_) => self.herd.counters.refused.up(),
            }
            sleep(Duration::from_millis(fastrand::u64(200..2_000))).await;
            self.node = (self.node + 1) % self.herd.nodes.len();
        }
        Socket::open(&self.client(), &self.place.live_url, &credential).await
    }

    /// Watches until the line is over for this visitor, through every lost connection.
    pub(super) async fn watch(mut self, mut socket: Socket) {
        loop {
            let stop = self.sit(&mut socket).await;
            let counters = &self.herd.counters;
            let again = match stop {
                Ok(Stop::Admitted) => {
                    counters.admitted.up();
                    break;
                }
                Ok(Stop::Left) => {
                    counters.left.up();
                    break;
                }
                Ok(Stop::Over) => break,
                Ok(Stop::Moves) => {
                    counters.reconnected.up();
                    drop(socket);
                    self.come_back(Duration::from_millis(fastrand::u64(AWAY_MS))).await
                }
                Ok(Stop::Dropped) => {
                    counters.dropped.up();
                    self.come_back(socket.comes_back_after()).await
                }
                Err(error) => Err(error),
            };
            match again {
                Ok(Some(again)) => socket = again,
                Ok(None) => break,
                Err(error) => {
                    self.herd.counters.fails(error.to_string());
                    break;
                }
            }
        }
        self.hand_in().await;
    }

    /// Watches over one connection.
    async fn sit(&mut self, socket: &mut Socket) -> Result<Stop, CallError> {
        let herd = Arc::clone(&self.herd);
        let _counted = herd.counters.watching.present();
        if let Some(trail) = &mut self.trail {
            trail.sit();
        }
        let stop = self.talk(socket).await;
        if let Some(trail) = &mut self.trail {
            trail.rise(now_ms());
        }
        stop
    }

    async fn talk(&mut self, socket: &mut Socket) -> Result<Stop, CallError> {
        loop {
            tokio::select! {
                frame = socket.next::<LineFrame>() => match frame? {
                    None => return Ok(Stop::Dropped),
                    Some(LineFrame::Position { ahead, .. }) => {
                        self.herd.counters.frames.up();
                        self.sees(ahead);
                    }
                    Some(LineFrame::Admitted { .. }) => return Ok(Stop::Admitted),
                    Some(LineFrame::Closed { .. }) => return Ok(Stop::Over),
                    Some(_) => {}
                },
                changed = self.mood.changed() => {
                    if changed.is_err() {
                        return Ok(Stop::Over);
                    }
                    self.is_stirred().await;
                }
                () = until(self.leaves_at) => {
                    socket.tell(&VisitorFrame::Leave).await?;
                    let _ = timeout(GOODBYE, until_closed(socket)).await;
                    return Ok(Stop::Left);
                }
                () = until(self.moves_at) => {
                    self.moves_at = None;
                    return Ok(Stop::Moves);
                }
            }
        }
    }

    /// Connects again, to the next node. Every second visitor joins again before that, as a
    /// reloaded page does. `None` if the line has ended for the visitor meanwhile.
    async fn come_back(&mut self, after: Duration) -> Result<Option<Socket>, CallError> {
        self.node = (self.node + 1) % self.herd.nodes.len();
        sleep(after).await;
        if self.n.is_multiple_of(2) && !self.asks_again().await? {
            return Ok(None);
        }
        self.open().await.map(Some)
    }

    /// Joins again; returns whether the visitor still waits.
    async fn asks_again(&mut self) -> Result<bool, CallError> {
        let place = self.client().join(self.herd.show).await?;
        match place.state {
            PlaceState::Admitted => {
                self.herd.counters.admitted.up();
                return Ok(false);
            }
            PlaceState::Closed => return Ok(false),
            _ if place.ticket_id != self.place.ticket_id => {
                return Err(CallError::Unexpected("another place than before".into()));
            }
            _ => {}
        }
        self.sees(place.ahead);
        self.place = place;
        Ok(true)
    }

    /// Notes a number on the screen.
    fn sees(&mut self, ahead: Option<u64>) {
        let Some(ahead) = ahead else { return };
        if self.ahead.is_some_and(|before| ahead > before) {
            self.herd.counters.rose.up();
        }
        self.ahead = Some(ahead);
        if let Some(trail) = &mut self.trail {
            trail.shows(now_ms(), ahead);
        }
    }

    /// Draws what the visitor will do in a stir.
    async fn is_stirred(&mut self) {
        let mood = self.mood.borrow_and_update().clone();
        let Some((stir, from)) = mood.stir else {
            (self.leaves_at, self.moves_at) = (None, None);
            return self.hand_in().await;
        };
        let mut rng = Rng::with_seed(self.n as u64 ^ (mood.number << 32));
        let seconds = f64::from(stir.seconds);
        let mut by_chance = |share: f64| {
            let moment = from + Duration::from_secs_f64(rng.f64() * seconds);
            (rng.f64() < share).then_some(moment)
        };
        self.leaves_at = by_chance(stir.leave);
        self.moves_at = by_chance(stir.reconnect);
        self.trail = self.starts_trail(stir.sample);
    }

    fn starts_trail(&self, sample: Sample) -> Option<Trail> {
        let drawn = self.n.is_multiple_of(sample.every.max(1));
        let in_front = self.ahead.is_some_and(|ahead| ahead < sample.front);
        if !drawn && !in_front {
            return None;
        }
        let mut trail = Trail::new(self.place.ticket_id, drawn);
        trail.sit();
        if let Some(ahead) = self.ahead {
            trail.shows(now_ms(), ahead);
        }
        self.herd.counters.trails.up();
        Some(trail)
    }

    async fn hand_in(&mut self) {
        if let Some(mut trail) = self.trail.take() {
            trail.rise(now_ms());
            // If the receiver is gone, the process is about to end.
            let _ = self.herd.news.send(News::Trail(trail)).await;
            self.herd.counters.trails.down();
        }
    }

    fn client(&self) -> Client {
        client(&self.herd, self.node, self.n, &self.token)
    }
}

fn client(herd: &Herd, node: usize, n: usize, token: &str) -> Client {
    herd.nodes[node].from_address(address(n)).signed_in(token)
}

async fn until_closed(socket: &mut Socket) {
    while let Ok(Some(_)) = socket.next::<LineFrame>().await {}
}
