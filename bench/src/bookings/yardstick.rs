//! What the backends can do alone, in the same run: the measure for what is built on them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use contract::{ShowId, topology::Partition};
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions,
    },
    types::FieldTable,
};
use platform::{
    broker::{declare_requests, delete_requests},
    number::float,
};
use reqwest::Url;
use sqlx::{Connection as _, PgConnection};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::times::Times;
use crate::usage;

/// Publishes that wait for their confirm at once; the best of these counts.
const IN_FLIGHT: [usize; 4] = [64, 128, 256, 512];
const MEASURED_FOR: Duration = Duration::from_millis(1_500);
/// As long as a request's message: an envelope of one booking with a key.
const MESSAGE_BYTES: usize = 400;
const COMMITS: u32 = 200;
/// Messages on their way to a consumer, and how many of them are acked at once.
const PREFETCH: u16 = 500;
const ACKED_AT_ONCE: usize = 100;
const SCRIPTS: u32 = 2_000;
/// Writes and reads one key, as most of our scripts do several times.
const SCRIPT: &str = "redis.call('set', KEYS[1], ARGV[1], 'px', 10000)
    return redis.call('get', KEYS[1])";

/// What was measured with Usher at rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yardstick {
    /// Confirmed publishes of single messages to a queue like a partition's, per second.
    pub(super) publishes_per_second: f64,
    /// The broker's processor time for each, if it can be read.
    pub(super) publish_cpu: Option<Duration>,
    /// The same messages taken from their queue and acked, a hundred at once, per second.
    pub(super) consumes_per_second: f64,
    /// Calls of a short script over one connection, one after the other, per second.
    pub(super) scripts_per_second: f64,
    /// Durable commits of one row, one after the other, per second.
    pub(super) commits_per_second: f64,
    /// One confirmed publish, at the rate at which [`super::latency`] was measured.
    pub(super) publish: Times,
    /// A confirmed publish, its delivery and a durable commit of one row, in series.
    pub(super) series: Times,
}

impl Yardstick {
    pub(super) async fn take(
        amqp_url: &str,
        redis_url: &str,
        database_url: &str,
        per_second: f64,
    ) -> anyhow::Result<Self> {
        let (publishes_per_second, publish_cpu) = publishes(amqp_url).await?;
        Ok(Self {
            publishes_per_second,
            publish_cpu,
            consumes_per_second: consumes(amqp_url).await?,
            scripts_per_second: scripts(redis_url).await?,
            commits_per_second: commits(database_url).await?,
            publish: publish_at(amqp_url, per_second).await?,
            series: series(amqp_url, database_url).await?,
        })
    }
}

/// A channel with confirms, and a partition of which nobody knows.
async fn connect(amqp_url: &str) -> anyhow::Result<(Connection, Channel, Partition)> {
    let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
    let partition = Partition { show: ShowId::new(), tier: "BENCH".parse()? };
    Ok((connection, channel, partition))
}

/// The best rate, and the broker's time per message at that rate.
async fn publishes(amqp_url: &str) -> anyhow::Result<(f64, Option<Duration>)> {
    let (connection, channel, partition) = connect(amqp_url).await?;
    let broker = Url::parse(amqp_url)?.port().and_then(usage::listener);
    let cpu = || broker.and_then(usage::cpu_with_children);
    let mut best: (f64, Option<Duration>) = (0.0, None);
    for in_flight in IN_FLIGHT {
        // A queue of its own each time: none begins behind what the last one left.
        declare_requests(&channel, &partition).await?;
        let (before, began) = (cpu(), Instant::now());
        let n = publish(&channel, &partition.queue(), in_flight, began + MEASURED_FOR).await?;
        let (took, after) = (began.elapsed(), cpu());
        delete_requests(&channel, &partition).await?;
        ensure!(n > 0, "the broker confirmed nothing");
        let rate = float(n) / took.as_secs_f64();
        if rate > best.0 {
            let used = before.zip(after).map(|(before, after)| after.saturating_sub(before));
            let each = |used: Duration| used.div_f64(float(n));
            best = (rate, used.map(each));
        }
    }
    connection.close(200, "measured".into()).await?;
    Ok(best)
}

/// Publishes until this moment, and waits for all confirms. Returns how many there were.
async fn publish(
    channel: &Channel,
    queue: &str,
    in_flight: usize,
    until: Instant,
) -> anyhow::Result<usize> {
    let (n, mut publishers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..in_flight {
        let (channel, queue, n) = (channel.clone(), queue.to_owned(), Arc::clone(&n));
        publishers.spawn(async move {
            while Instant::now() < until {
                publish_one(&channel, &queue).await?;
                n.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = publishers.join_next().await {
        done??;
    }
    Ok(usize::try_from(n.load(Ordering::Relaxed))?)
}

/// Publishes a message and waits for its confirm.
async fn publish_one(channel: &Channel, queue: &str) -> anyhow::Result<()> {
    let published = channel.basic_publish(
        "".into(),
        queue.into(),
        BasicPublishOptions::default(),
        &[b'm'; MESSAGE_BYTES],
        BasicProperties::default().with_delivery_mode(2),
    );
    let confirmed = published.await?.await?;
    ensure!(matches!(confirmed, Confirmation::Ack(_)), "the broker refused a message");
    Ok(())
}

/// Publishes at this rate, however long the confirms take.
async fn publish_at(amqp_url: &str, per_second: f64) -> anyhow::Result<Times> {
    let (connection, channel, partition) = connect(amqp_url).await?;
    declare_requests(&channel, &partition).await?;
    let (began, mut publishers) = (Instant::now(), JoinSet::new());
    for n in 0.. {
        let due = Duration::from_secs_f64(f64::from(n) / per_second);
        if due > MEASURED_FOR {
            break;
        }
        let (channel, queue) = (channel.clone(), partition.queue());
        publishers.spawn(async move {
            sleep_until(began + due).await;
            let from = Instant::now();
            publish_one(&channel, &queue).await?;
            anyhow::Ok(from.elapsed())
        });
    }
    let mut times = Vec::new();
    while let Some(done) = publishers.join_next().await {
        times.push(done??);
    }
    delete_requests(&channel, &partition).await?;
    connection.close(200, "measured".into()).await?;
    Ok(Times::of(times))
}

/// The way of a booking as the backends alone would go it, one after the other.
async fn series(amqp_url: &str, database_url: &str) -> anyhow::Result<Times> {
    let (connection, channel, partition) = connect(amqp_url).await?;
    let queue = partition.queue();
    declare_requests(&channel, &partition).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consuming =
        channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default());
    let (mut messages, mut rows, mut times) =
        (consuming.await?, Rows::table(database_url).await?, Vec::new());
    for n in 0..COMMITS {
        let from = Instant::now();
        publish_one(&channel, &queue).await?;
        messages.next().await.context("the queue ended")??;
        rows.commit(n).await?;
        times.push(from.elapsed());
    }
    rows.drop_table().await?;
    delete_requests(&channel, &partition).await?;
    connection.close(200, "measured".into()).await?;
    Ok(Times::of(times))
}

/// Fills a queue, and takes all of it.
async fn consumes(amqp_url: &str) -> anyhow::Result<f64> {
    let (connection, channel, partition) = connect(amqp_url).await?;
    let queue = partition.queue();
    declare_requests(&channel, &partition).await?;
    let n = publish(&channel, &queue, IN_FLIGHT[0], Instant::now() + MEASURED_FOR).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let began = Instant::now();
    let mut messages =
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    for at in 1..=n {
        let message = messages.next().await.context("the queue ended")??;
        if at.is_multiple_of(ACKED_AT_ONCE) || at == n {
            message.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    let took = began.elapsed();
    delete_requests(&channel, &partition).await?;
    connection.close(200, "measured".into()).await?;
    Ok(float(n) / took.as_secs_f64())
}

async fn scripts(redis_url: &str) -> anyhow::Result<f64> {
    let client = redis::Client::open(redis_url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let script = redis::Script::new(SCRIPT);
    let began = Instant::now();
    for n in 0..SCRIPTS {
        let _: String = script.key("bench:script").arg(n).invoke_async(&mut connection).await?;
    }
    Ok(f64::from(SCRIPTS) / began.elapsed().as_secs_f64())
}

async fn commits(database_url: &str) -> anyhow::Result<f64> {
    let mut rows = Rows::table(database_url).await?;
    let began = Instant::now();
    for n in 0..COMMITS {
        rows.commit(n).await?;
    }
    let took = began.elapsed();
    rows.drop_table().await?;
    Ok(f64::from(COMMITS) / took.as_secs_f64())
}

/// A table of its own, for commits of one row.
struct Rows(PgConnection);

impl Rows {
    async fn table(database_url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(database_url).await?;
        let table = "create table if not exists bench_commits (n integer not null)";
        sqlx::query(table).execute(&mut connection).await?;
        Ok(Self(connection))
    }

    async fn commit(&mut self, n: u32) -> anyhow::Result<()> {
        let row = sqlx::query("insert into bench_commits (n) values ($1)");
        row.bind(i32::try_from(n)?).execute(&mut self.0).await?;
        Ok(())
    }

    async fn drop_table(mut self) -> anyhow::Result<()> {
        sqlx::query("drop table bench_commits").execute(&mut self.0).await?;
        Ok(self.0.close().await?)
    }
}
