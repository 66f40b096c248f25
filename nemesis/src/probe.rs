//! Measuring when the backends themselves are slow: a commit, a confirmed publish and a script,
//! each ten times a second without a proxy. Time in which one of them is slow or away does not
//! count against Usher's bounds.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use platform::{Shutdown, clock};
use sqlx::{Connection as _, PgConnection};

const EVERY: Duration = Duration::from_millis(100);
/// Slower than this counts as slow; on an idle machine each takes 2 to 10 ms.
const SLOW: Duration = Duration::from_millis(100);
const ANSWER_WAIT: Duration = Duration::from_secs(5);
const QUEUE: &str = "chaos.probe";

/// Times in which one backend was slow.
#[derive(Debug, Default)]
struct Slow {
    times: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// When the call that is under way began.
    asked: Option<DateTime<Utc>>,
}

/// Probes three backends all the time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Probe(Arc<[Mutex<Slow>; 3]>);

impl Probe {
    /// Probes until the shutdown begins. Of several brokers, one must answer.
    pub fn start(postgres: &str, redis: &str, brokers: &[&str], shutdown: &Shutdown) -> Self {
        let probe = Self(Arc::default());
        let (url, one) = (postgres.to_owned(), probe.clone());
        shutdown.spawn(
            one.keep(0, shutdown.clone(), None, async move |known| commit(&url, known).await),
        );
        let (url, one) = (redis.to_owned(), probe.clone());
        shutdown.spawn(
            one.keep(1, shutdown.clone(), None, async move |known| script(&url, known).await),
        );
        let urls: Vec<String> = brokers.iter().map(|url| (*url).to_owned()).collect();
        let one = probe.clone();
        shutdown.spawn(
            one.keep(2, shutdown.clone(), None, async move |known| publish(&urls, known).await),
        );
        probe
    }

    /// How much of the time between two moments at least one backend was slow.
    pub fn own(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
        let now = clock::now();
        let mut slow = Vec::new();
        for backend in 0..self.0.len() {
            let seen = self.slow(backend);
            slow.extend(seen.times.iter().copied());
            slow.extend(seen.asked.filter(|asked| is_slow(*asked, now)).map(|asked| (asked, now)));
        }
        within(slow, from, to)
    }

    /// Probes one backend; the connection is kept in `known` as long as it answers.
    async fn keep<T>(
        self,
        backend: usize,
        shutdown: Shutdown,
        mut known: Option<T>,
        ask: impl AsyncFn(Option<T>) -> anyhow::Result<T>,
    ) {
        loop {
            let asked = clock::now();
            self.slow(backend).asked = Some(asked);
            known = answered(ask(known.take())).await;
            let mut ended = clock::now();
            if known.is_some() {
                self.slow(backend).asked = None;
            }
            let goes_on = shutdown.sleep(EVERY).await;
            if known.is_none() {
                ended = clock::now();
            }
            if known.is_none() || is_slow(asked, ended) {
                self.slow(backend).times.push((asked, ended));
            }
            if !goes_on {
                return;
            }
        }
    }

    fn slow(&self, backend: usize) -> MutexGuard<'_, Slow> {
        self.0[backend].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answered<T>(asking: impl Future<Output = anyhow::Result<T>>) -> Option<T> {
    tokio::time::timeout(ANSWER_WAIT, asking).await.ok()?.ok()
}

fn is_slow(asked: DateTime<Utc>, answered: DateTime<Utc>) -> bool {
    (answered - asked).to_std().is_ok_and(|took| took > SLOW)
}

/// The length of the union of these times, between two moments.
fn within(
    mut times: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Duration {
    times.sort_unstable();
    let (mut sum, mut reached) = (Duration::ZERO, from);
    for (began, ended) in times {
        let (began, ended) = (began.max(reached), ended.min(to));
        if let Ok(more) = (ended - began).to_std() {
            sum += more;
            reached = ended;
        }
    }
    sum
}

async fn commit(url: &str, known: Option<PgConnection>) -> anyhow::Result<PgConnection> {
    let mut session = if let Some(session) = known {
        session
    } else {
        let mut session = PgConnection::connect(url).await?;
        let table = "create table if not exists public.chaos_probe (n bigint not null)";
        sqlx::query(table).execute(&mut session).await?;
        let one = "insert into public.chaos_probe select 0
                   where not exists (select from public.chaos_probe)";
        sqlx::query(one).execute(&mut session).await?;
        session
    };
    let write = "update public.chaos_probe set n = n + 1";
    sqlx::query(write).execute(&mut session).await?;
    Ok(session)
}

async fn script(
    url: &str,
    known: Option<redis::aio::MultiplexedConnection>,
) -> anyhow::Result<redis::aio::MultiplexedConnection> {
    let mut connection = match known {
        Some(connection) => connection,
        None => redis::Client::open(url)?.get_multiplexed_async_connection().await?,
    };
    let look = "return redis.call('time')";
    let _: (String, String) =
        redis::cmd("EVAL").arg(look).arg(0).query_async(&mut connection).await?;
    Ok(connection)
}

async fn publish(
    urls: &[String],
    known: Option<(Connection, Channel)>,
) -> anyhow::Result<(Connection, Channel)> {
    let (connection, channel) = match known {
        Some(known) => known,
        None => connect(urls).await?,
    };
    let options = BasicPublishOptions { mandatory: false, immediate: false };
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let confirm = channel
        .basic_publish("".into(), QUEUE.into(), options, b"probe", persistent)
        .await?
        .await?;
    ensure!(matches!(confirm, Confirmation::Ack(_)), "the broker refused a probe");
    Ok((connection, channel))
}

async fn connect(urls: &[String]) -> anyhow::Result<(Connection, Channel)> {
    let mut last = None;
    for url in urls {
        match Connection::connect(url, ConnectionProperties::default()).await {
            Ok(connection) => {
                let channel = connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
                let mut arguments = FieldTable::default();
                arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
                arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(16));
                let durable = QueueDeclareOptions {
                    passive: false,
                    durable: true,
                    exclusive: false,
                    auto_delete: false,
                    nowait: false,
                };
                channel.queue_declare(QUEUE.into(), durable, arguments).await?;
                return Ok((connection, channel));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("there is no broker")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(ms).expect("a moment of our age")
    }

    #[test]
    fn slow_times_that_overlap_count_once_and_only_within_the_bounds() {
        let times =
            vec![(at(300), at(700)), (at(0), at(200)), (at(500), at(900)), (at(50), at(60))];
        let own = |from, to| within(times.clone(), at(from), at(to)).as_millis();
        assert_eq!(own(0, 1000), 800);
        assert_eq!(own(100, 400), 200);
        assert_eq!(own(900, 1000), 0);
        assert_eq!(own(200, 300), 0);
    }
}
