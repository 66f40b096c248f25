//! Carrying out orders with all visitors of one process.

use std::{net::IpAddr, sync::Arc, time::Duration};

use contract::ShowId;
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    Counts, Joined, News, Order, Stir,
    clock::now_ms,
    counts::Counters,
    watcher::{Herd, Mood, Watcher},
};
use crate::Client;

/// Most news that are not written yet; a visitor with more waits.
const NEWS_MAX: usize = 1_024;
const COUNTS_EVERY: Duration = Duration::from_secs(1);
/// Longest wait until all visitors with a socket count as watching.
const SIT_DOWN_WAIT: Duration = Duration::from_secs(2);
/// Longest wait for trails after a stir.
const HAND_IN_WAIT: Duration = Duration::from_secs(15);

/// Reads orders from standard input until it ends, and writes news to standard output. Connections
/// are made `from` this address of the machine.
pub async fn run(show: ShowId, nodes: &[String], from: Option<IpAddr>) -> anyhow::Result<()> {
    anyhow::ensure!(!nodes.is_empty(), "no node to send visitors to: name one with --node");
    let nodes = nodes.iter().map(|node| Client::connecting_from(node, from));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let (news, told) = mpsc::channel(NEWS_MAX);
    let herd = Arc::new(Herd {
        show,
        nodes,
        counters: Counters::default(),
        mood: watch::Sender::new(Mood::default()),
        news: news.clone(),
    });
    let mut visitors = Visitors {
        herd: Arc::clone(&herd),
        news: news.clone(),
        joined: Vec::new(),
        watching: JoinSet::new(),
    };
    tokio::select! {
        obeyed = visitors.obey() => obeyed,
        told = tell_counts(&herd, &news) => told,
        written = write(told) => written,
    }
}

/// The visitors of this process.
struct Visitors {
    herd: Arc<Herd>,
    news: mpsc::Sender<News>,
    /// Visitors with a place and no socket.
    joined: Vec<Watcher>,
    watching: JoinSet<()>,
}

impl Visitors {
    async fn obey(&mut self) -> anyhow::Result<()> {
        let mut orders = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = orders.next_line().await? {
            self.carry_out(serde_json::from_str(&line)?).await?;
            self.news.send(News::Counts(counts(&self.herd))).await?;
            self.news.send(News::Done).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Join { first, tokens, at_once } => self.join(first, tokens, at_once).await?,
            Order::Open { at_once } => self.open(at_once).await,
            Order::Stir(stir) => self.stir(stir).await,
            Order::Count => {}
        }
        while let Some(ended) = self.watching.try_join_next() {
            if ended.is_err() {
                self.herd.counters.fails("the visitor itself panicked".into());
            }
        }
        Ok(())
    }

    async fn join(
        &mut self,
        first: usize,
        tokens: Vec<String>,
        at_once: usize,
    ) -> anyhow::Result<()> {
        let mut result = Joined { from_ms: now_ms(), ..Joined::default() };
        let herd = &self.herd;
        let joins = tokens
            .into_iter()
            .enumerate()
            .map(|(at, token)| Watcher::join(Arc::clone(herd), first + at, token));
        let mut joins = stream::iter(joins).buffer_unordered(at_once.max(1));
        while let Some(joined) = joins.next().await {
            match joined {
                Ok((watcher, took)) => {
                    self.joined.push(watcher);
                    let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
                    result.took_micros.push(micros);
                }
                Err(error) => herd.counters.fails(format!("join: {error}")),
            }
        }
        result.until_ms = now_ms();
        self.news.send(News::Joined(result)).await?;
        Ok(())
    }

    async fn open(&mut self, at_once: usize) {
        let opening = self.joined.drain(..).map(|mut watcher| async move {
            let socket = watcher.open().await;
            (watcher, socket)
        });
        let mut opening = stream::iter(opening).buffer_unordered(at_once.max(1));
        let mut expected = self.herd.counters.watching.get();
        while let Some((watcher, socket)) = opening.next().await {
            match socket {
                Ok(socket) => {
                    expected += 1;
                    self.watching.spawn(watcher.watch(socket));
                }
                Err(error) => self.herd.counters.fails(format!("open: {error}")),
            }
        }
        // Waits for the last visitors to begin to watch; some may be admitted already.
        let until = Instant::now() + SIT_DOWN_WAIT;
        while self.herd.counters.watching.get() < expected && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stir(&mut self, mut stir: Stir) {
        let from = Instant::now();
        let length = Duration::from_secs(stir.seconds.into());
        let arrivals = std::mem::take(&mut stir.arrivals);
        let (first, total) = (stir.first, u32::try_from(arrivals.len()).unwrap_or(u32::MAX));
        self.set_mood(Some((Arc::new(stir), from)));
        for (at, token) in (0..total).zip(arrivals) {
            sleep_until(from + length.mul_f64(f64::from(at) / f64::from(total))).await;
            let herd = Arc::clone(&self.herd);
            self.watching.spawn(arrive(herd, first + at as usize, token));
        }
        sleep_until(from + length).await;
        self.set_mood(None);
        // Visitors between two connections hand in their trails once they are back.
        let until = Instant::now() + HAND_IN_WAIT;
        while self.herd.counters.trails.get() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn set_mood(&self, stir: Option<(Arc<Stir>, Instant)>) {
        self.herd.mood.send_modify(|mood| *mood = Mood { number: mood.number + 1, stir });
    }
}

async fn tell_counts(herd: &Herd, news: &mpsc::Sender<News>) -> anyhow::Result<()> {
    let mut ticks = interval(COUNTS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        news.send(News::Counts(counts(herd))).await?;
    }
}

async fn arrive(herd: Arc<Herd>, n: usize, token: String) {
    let joined = Watcher::join(Arc::clone(&herd), n, token).await;
    let opened = match joined {
        Ok((mut watcher, _)) => watcher.open().await.map(|socket| (watcher, socket)),
        Err(error) => Err(error),
    };
    match opened {
        Ok((watcher, socket)) => watcher.watch(socket).await,
        Err(error) => herd.counters.fails(format!("arrive: {error}")),
    }
}

fn counts(herd: &Herd) -> Counts {
    // All clients of a node share one count of repeats.
    herd.counters.read(herd.nodes.iter().map(Client::repeats).sum())
}

async fn write(mut told: mpsc::Receiver<News>) -> anyhow::Result<()> {
    let mut out = tokio::io::stdout();
    while let Some(news) = told.recv().await {
        let mut line = serde_json::to_vec(&news)?;
        line.push(b'\n');
        out.write_all(&line).await?;
        if told.is_empty() {
            out.flush().await?;
        }
    }
    Ok(())
}
