//! Ten thousand visitors in the line, each of whom asserts that its number never rises. Two
//! thousand hold sockets, spread over the nodes; the others poll.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use contract::{AccountId, api::line::PlaceState};
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use testing::eventually;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    harness::{Plan, Stage, Visitor},
    socket::Heard,
};

const PLACES: usize = 10_000;
const SOCKETS: usize = 2_000;
/// Requests under way at once.
const AT_ONCE: usize = 64;
/// Ranks that are not drawn by lot begin above this.
const DRAWN_MAX: u64 = 1 << 20;
const LONG: Duration = Duration::from_mins(1);
/// How long a visitor whose socket was refused waits before the next try.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A place, and the smallest number shown for it.
struct Client {
    visitor: Visitor,
    lowest: u64,
}

impl Client {
    fn sees(&mut self, position: u64) {
        assert!(position <= self.lowest, "{position} after {}", self.lowest);
        self.lowest = position;
    }

    /// Asks a node once; a node that is not ready is asked again.
    async fn polls(&mut self, stage: &Stage, node: usize) -> PlaceState {
        let place = eventually("an answer", LONG, || async {
            let answer = stage.ask(node, &self.visitor).await;
            (answer.status == StatusCode::OK).then(|| answer.place())
        })
        .await;
        if let Some(position) = place.position {
            self.sees(position);
        }
        place.state
    }

    /// Watches over sockets, on one node after the other, until the visitor is admitted. Returns
    /// the number of connections.
    async fn watches(mut self, crowd: Arc<Crowd>, mut node: usize) -> u32 {
        let mut connections = 0;
        loop {
            let opened = {
                let _turn = crowd.connecting.acquire().await.expect("it stays open");
                crowd.stage.try_watch(node, &self.visitor).await
            };
            let Some(mut socket) = opened else {
                node = (node + 1) % crowd.stage.nodes.len();
                sleep(AGAIN_AFTER).await;
                continue;
            };
            connections += 1;
            if connections == 1 {
                crowd.connected.fetch_add(1, Ordering::Relaxed);
            }
            loop {
                match socket.hear().await {
                    Heard::Frame(frame) if frame["type"] == "admitted" => return connections,
                    Heard::Frame(frame) => {
                        if let Some(position) = frame["position"].as_u64() {
                            self.sees(position);
                        }
                    }
                    Heard::Closed(..) => break,
                }
            }
            node = (node + 1) % crowd.stage.nodes.len();
        }
    }
}

/// The nodes, and how many sockets have been open.
struct Crowd {
    stage: Stage,
    connected: AtomicUsize,
    /// Turns of visitors that connect: two thousand handshakes at once time out on a slow machine.
    connecting: Semaphore,
}

impl Crowd {
    async fn before(nodes: usize) -> Arc<Self> {
        Arc::new(Self {
            stage: Stage::crowded(nodes).await,
            connected: AtomicUsize::new(0),
            connecting: Semaphore::new(AT_ONCE),
        })
    }

    /// Lets every fifth of these watch; returns the others once all watchers are connected.
    async fn set_watching(self: &Arc<Self>, clients: Vec<Client>) -> (JoinSet<u32>, Vec<Client>) {
        let (mut watching, mut others) = (JoinSet::new(), Vec::new());
        for (turn, client) in clients.into_iter().enumerate() {
            if turn % (PLACES / SOCKETS) == 0 {
                let node = watching.len() % self.stage.nodes.len();
                watching.spawn(client.watches(Arc::clone(self), node));
            } else {
                others.push(client);
            }
        }
        eventually("all are connected", LONG, || async {
            (self.connected.load(Ordering::Relaxed) == SOCKETS).then_some(())
        })
        .await;
        (watching, others)
    }
}

/// Lets all visitors join over all nodes, in no particular order.
async fn everybody_joins(stage: &Stage, show: contract::ShowId) -> Vec<Client> {
    let joins = stream::iter(0..PLACES).map(|turn| async move {
        let (account, node) = (AccountId::new(), turn % stage.nodes.len());
        let join = async || stage.try_join(node, show, account).await;
        let (visitor, place) = eventually("a place", LONG, join).await;
        Client { visitor, lowest: place.position.expect("first come, first served") }
    });
    joins.buffer_unordered(AT_ONCE).collect().await
}

/// Each of these visitors polls once. Returns those who still wait.
async fn everybody_polls(stage: &Stage, node: usize, clients: Vec<Client>) -> Vec<Client> {
    let polls = stream::iter(clients).map(|mut client| async move {
        let waits = client.polls(stage, node).await == PlaceState::Waiting;
        waits.then_some(client)
    });
    polls.buffer_unordered(AT_ONCE).filter_map(async |client| client).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_rises_while_nodes_go_people_leave_and_others_come_back() {
    let crowd = Crowd::before(3).await;
    let stage = &crowd.stage;
    let show = stage.show(Plan { rate: 50.0, burst: 40, seats: 50_000, ..Plan::default() }).await;
    let clients = everybody_joins(stage, show).await;
    let (watching, polling) = crowd.set_watching(clients).await;
    stage.set(show, "room_paused = false").await;

    // An eighth of the pollers leaves, while visitors are admitted and some sockets lose their
    // node.
    let (leaving, mut staying): (Vec<_>, Vec<_>) =
        polling.into_iter().enumerate().partition(|(turn, _)| turn % 8 == 0);
    let stay: Vec<Client> = staying.drain(..).map(|(_, client)| client).collect();
    let leaves = stream::iter(leaving).for_each_concurrent(AT_ONCE, |(_, client)| {
        async move {
            // A busy node refuses, and is asked again.
            eventually("the place is given back", LONG, || async {
                let left = stage.leave(0, &client.visitor).await;
                (left == StatusCode::NO_CONTENT).then_some(())
            })
            .await;
        }
    });
    let loses = async { stage.stop_node(2) };
    let (stay, (), ()) = tokio::join!(everybody_polls(stage, 1, stay), leaves, loses);
    // The visitors who stayed poll once more, at another node.
    let stay = everybody_polls(stage, 0, stay).await;
    assert!(stay.len() > 1000, "many wait still");
    stage.set(show, "room_rate_per_second = 5000, room_burst = 5000").await;
    let done = timeout(LONG, watching.join_all()).await.expect("all who watch are let in");
    assert_eq!(done.len(), SOCKETS);
    let again = done.iter().filter(|connections| **connections > 1).count();
    assert!(again > SOCKETS / 10, "only {again} had to connect again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_with_ten_thousand_waiting_costs_nobody_a_place() {
    let crowd = Crowd::before(2).await;
    let stage = &crowd.stage;
    let plan = Plan { rate: 5000.0, burst: 5000, seats: 50_000, ..Plan::default() };
    let show = stage.show(plan).await;
    let clients = everybody_joins(stage, show).await;
    let number = |visitor: &Visitor| {
        stage.place_keys.verify(&visitor.place_ticket).expect("a ticket of ours").number
    };
    let of_watchers = clients.iter().step_by(PLACES / SOCKETS);
    let mut watchers: Vec<u64> = of_watchers.map(|client| number(&client.visitor)).collect();
    watchers.sort_unstable();
    let (watching, polling) = crowd.set_watching(clients).await;

    stage.lose(show).await;
    eventually("all who watch are back", LONG, || async {
        (stage.waiting(show).await == SOCKETS).then_some(())
    })
    .await;
    let polling = everybody_polls(stage, 1, polling).await;
    assert_eq!(polling.len(), PLACES - SOCKETS, "everybody waits still");
    assert_eq!(stage.waiting(show).await, PLACES);
    let newcomer = stage.join(0, show).await;
    let polling = everybody_polls(stage, 0, polling).await;
    let numbers: HashSet<u64> = polling.iter().map(|client| client.lowest).collect();
    assert_eq!(numbers.len(), polling.len(), "no two are in one place");

    stage.set(show, "room_paused = false").await;
    stage.until(0, &newcomer, PlaceState::Admitted).await;
    timeout(LONG, watching.join_all()).await.expect("all who watch are let in");
    // Visitors who stayed were admitted in the old order, and before the newcomer.
    watchers.push(number(&newcomer));
    let there: HashSet<u64> = watchers.iter().copied().collect();
    let taken = stage.taken(show).await.into_iter().map(|rank| rank - DRAWN_MAX);
    let order: Vec<u64> = taken.filter(|number| there.contains(number)).collect();
    assert_eq!(order, watchers, "nobody was overtaken");
}
