//! All stampedes together: gives each its orders and collects the news of all.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, bail};
use contract::ShowId;
use loadtest::stampede::{Counts, Joined, News, Order, Trail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    console::Console,
    fleet::{Fleet, Running},
};

/// Most news that are not handled yet; a stampede with more waits.
const NEWS_MAX: usize = 10_000;
/// Longest time for an order; after that the run fails.
const ORDER_WAIT: Duration = Duration::from_mins(20);

/// The processes that hold the visitors.
pub(crate) struct Stampedes {
    all: Vec<Stampede>,
    news: mpsc::Receiver<(usize, Option<News>)>,
    /// The tasks that read the news; they end when this is dropped.
    _readers: JoinSet<()>,
}

struct Stampede {
    running: Running,
    orders: ChildStdin,
    counts: Counts,
}

/// What the stampedes told while they carried out an order.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) joined: Vec<Joined>,
    pub(crate) trails: Vec<Trail>,
}

impl Stampedes {
    /// Starts `count` stampedes, for visitors of a show at these nodes.
    pub(crate) fn start(
        fleet: &Fleet,
        count: usize,
        show: ShowId,
        nodes: &[String],
    ) -> anyhow::Result<Self> {
        let (tell, news) = mpsc::channel(NEWS_MAX);
        let mut readers = JoinSet::new();
        let mut arguments = vec![format!("--show={show}")];
        arguments.extend(nodes.iter().map(|node| format!("--node={node}")));
        let mut all = Vec::new();
        for n in 0..count {
            let name = format!("stampede-{}", n + 1);
            let mut arguments = arguments.clone();
            if count > 1 {
                arguments.push(format!("--from={}", address(n)));
            }
            let mut running = fleet.start("stampede", &name, &[], &arguments)?;
            let orders = running.child.stdin.take().context("a stampede has no standard input")?;
            let out = running.child.stdout.take().context("a stampede has no standard output")?;
            readers.spawn(read(n, out, tell.clone()));
            all.push(Stampede { running, orders, counts: Counts::default() });
        }
        Ok(Self { all, news, _readers: readers })
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.all.iter().map(|stampede| stampede.running.pid)
    }

    /// The last counts of all stampedes, added up.
    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for stampede in &self.all {
            sum += &stampede.counts;
        }
        sum
    }

    /// Gives each stampede an order and waits until all are carried out.
    pub(crate) async fn order(
        &mut self,
        orders: Vec<Order>,
        console: &mut Console,
    ) -> anyhow::Result<Heard> {
        for (stampede, order) in self.all.iter_mut().zip(&orders) {
            let mut line = serde_json::to_vec(order)?;
            line.push(b'\n');
            let sent = stampede.orders.write_all(&line).await;
            sent.with_context(|| format!("{} takes no orders", stampede.running.name))?;
        }
        let mut heard = Heard::default();
        let mut open = orders.len();
        let until = Instant::now() + ORDER_WAIT;
        while open > 0 {
            match self.next(until).await? {
                None => bail!("the stampedes are not done after {ORDER_WAIT:?}: fewer --watchers?"),
                Some(News::Counts(_)) => console.show(&line(&self.counts())),
                Some(News::Joined(joined)) => heard.joined.push(joined),
                Some(News::Trail(trail)) => heard.trails.push(trail),
                Some(News::Done) => open -= 1,
            }
        }
        Ok(heard)
    }

    /// Asks all stampedes for their counts now; returns the sum.
    pub(crate) async fn count(&mut self, console: &mut Console) -> anyhow::Result<Counts> {
        let orders = self.all.iter().map(|_| Order::Count).collect();
        self.order(orders, console).await?;
        Ok(self.counts())
    }

    /// Waits, and handles the news meanwhile.
    pub(crate) async fn wait(
        &mut self,
        time: Duration,
        console: &mut Console,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while self.next(until).await?.is_some() {
            console.show(&line(&self.counts()));
        }
        Ok(())
    }

    /// The next news, whose counts are noted; `None` once the time is over.
    async fn next(&mut self, until: Instant) -> anyhow::Result<Option<News>> {
        let Ok(told) = timeout_at(until, self.news.recv()).await else { return Ok(None) };
        let (n, news) = told.context("every stampede has ended")?;
        let stampede = &mut self.all[n];
        let Some(news) = news else {
            // Its output may end before the process does.
            let _ = stampede.running.child.wait().await;
            stampede.running.check()?;
            bail!("{} has closed its standard output", stampede.running.name);
        };
        if let News::Counts(counts) = &news {
            stampede.counts = counts.clone();
        }
        Ok(Some(news))
    }
}

/// The address of this machine that a stampede connects from: one each, since the ports of one
/// address bound its connections.
pub(crate) fn address(n: usize) -> Ipv4Addr {
    let [.., high, low] = u32::try_from(n + 1).unwrap_or_default().to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

async fn read(n: usize, out: ChildStdout, tell: mpsc::Sender<(usize, Option<News>)>) {
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(news) = serde_json::from_str(&line) else { break };
        if tell.send((n, Some(news))).await.is_err() {
            return;
        }
    }
    // If the receiver is gone, the run is over.
    let _ = tell.send((n, None)).await;
}

fn line(counts: &Counts) -> String {
    let failed: u64 = counts.failed.values().sum();
    format!(
        "joined {:>6}  watching {:>6}  frames {:>8}  admitted {:>6}  left {:>5}  reconnected {:>5}  \
         numbers that rose {}  failed {failed}",
        counts.joined,
        counts.watching,
        counts.frames,
        counts.admitted,
        counts.left,
        counts.reconnected,
        counts.rose,
    )
}
