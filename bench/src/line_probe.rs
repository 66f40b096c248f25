//! Redis, seen from outside: the commands it gets, how fast it is alone, and its record of the
//! line, which the numbers on the screens are compared with.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use contract::{ShowId, TicketId};
use platform::number::{float, whole};
use redis::{
    AsyncConnectionConfig, Client,
    aio::MultiplexedConnection,
    streams::{StreamId, StreamRangeReply},
};
use serde::Serialize;
use waiting_room::testing::{Gone, KEYS, join, key};

/// Longest wait for an answer: 100,000 places take seconds on a busy machine.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Entries of the stream of changes read at a time.
const PAGE: usize = 5_000;

/// A connection to the Redis of the line.
pub(crate) struct LineProbe {
    client: Client,
    connection: MultiplexedConnection,
    show: ShowId,
}

/// The work of Redis since it started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    calls: BTreeMap<String, u64>,
    cpu_seconds: f64,
}

/// The work of Redis per second over a stretch of time.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Load {
    /// Commands, including those inside scripts.
    pub(crate) operations: f64,
    /// Calls of scripts.
    pub(crate) scripts: f64,
    /// Share of one core.
    pub(crate) cpu: f64,
    /// The most frequent commands.
    pub(crate) most: Vec<(String, f64)>,
}

/// The line at one moment.
pub(crate) struct Snapshot {
    pub(crate) at_ms: u64,
    /// The last entry of the stream of changes before that moment.
    pub(crate) last_id: String,
    /// The tickets in the order of the line, each with its rank.
    pub(crate) line: Vec<(TicketId, u64)>,
}

/// What happened to a line after a moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The end of the record.
    pub(crate) until_ms: u64,
    /// Ranks that left the line, admitted or not, each with its millisecond.
    pub(crate) gone: Vec<(u64, u64)>,
    /// Admissions: milliseconds and numbers of visitors.
    pub(crate) taken: Vec<(u64, u64)>,
}

impl LineProbe {
    pub(crate) async fn open(url: &str, show: ShowId) -> anyhow::Result<Self> {
        let client = Client::open(url).context("REDIS_URL cannot be read")?;
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_WAIT));
        let connection = client.get_multiplexed_async_connection_with_config(&patient).await;
        let connection = connection.context("redis does not answer: is REDIS_URL right?")?;
        Ok(Self { client, connection, show })
    }

    /// The work of Redis so far, without the bench's own INFO.
    pub(crate) async fn work(&mut self) -> anyhow::Result<Work> {
        let ask = |section| redis::cmd("INFO").arg(section).to_owned();
        let commands: String = ask("commandstats").query_async(&mut self.connection).await?;
        let cpu: String = ask("cpu").query_async(&mut self.connection).await?;
        Ok(Work { calls: calls(&commands), cpu_seconds: cpu_seconds(&cpu) })
    }

    /// Calls per second of the join script that Redis alone answers, one by one on one connection.
    pub(crate) async fn own_rate(&self, time: Duration) -> anyhow::Result<f64> {
        let client = self.client.clone();
        let scratch = ShowId::new();
        let measured =
            tokio::task::spawn_blocking(move || own_rate(&client, scratch, time)).await?;
        self.forget(scratch).await?;
        measured.context("the join script does not run alone")
    }

    /// The line at this moment.
    pub(crate) async fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        let (last, line, (seconds, micros)): (StreamRangeReply, Vec<(String, f64)>, (u64, u64)) =
            redis::pipe()
                .atomic()
                .cmd("XREVRANGE")
                .arg(key(self.show, "changes"))
                .arg(["+", "-", "COUNT", "1"].as_slice())
                .cmd("ZRANGE")
                .arg(key(self.show, "line"))
                .arg(["0", "-1", "WITHSCORES"].as_slice())
                .cmd("TIME")
                .query_async(&mut self.connection)
                .await
                .context("the line cannot be read")?;
        let last_id = last.ids.first().context("the line has no record")?.id.clone();
        let line = line.into_iter().map(|(ticket, rank)| Ok((ticket.parse()?, whole(rank))));
        let line = line
            .collect::<Result<_, uuid::Error>>()
            .context("a ticket in the line cannot be read")?;
        Ok(Snapshot { at_ms: seconds * 1000 + micros / 1000, last_id, line })
    }

    /// What happened since the snapshot.
    pub(crate) async fn record(&mut self, since: &Snapshot) -> anyhow::Result<Record> {
        let (seconds, micros): (u64, u64) =
            redis::cmd("TIME").query_async(&mut self.connection).await?;
        let mut record = Record { until_ms: seconds * 1000 + micros / 1000, ..Record::default() };
        let mut last_id = since.last_id.clone();
        loop {
            let page: StreamRangeReply = redis::cmd("XRANGE")
                .arg(key(self.show, "changes"))
                .arg(format!("({last_id}"))
                .arg(["+", "COUNT"].as_slice())
                .arg(PAGE)
                .query_async(&mut self.connection)
                .await?;
            let Some(last) = page.ids.last() else { return Ok(record) };
            last_id.clone_from(&last.id);
            for entry in &page.ids {
                record
                    .add(entry)
                    .with_context(|| format!("entry {} of the record cannot be read", entry.id))?;
            }
        }
    }

    /// Deletes the keys of a show's line.
    pub(crate) async fn forget(&self, show: ShowId) -> anyhow::Result<()> {
        let mut command = redis::cmd("UNLINK");
        for name in KEYS {
            command.arg(key(show, name));
        }
        let _: u64 = command.query_async(&mut self.connection.clone()).await?;
        Ok(())
    }
}

impl Work {
    /// The work per second since `before`.
    pub(crate) fn since(&self, before: &Self, time: Duration) -> Load {
        let seconds = time.as_secs_f64();
        let per_second = |name: &str| {
            let of = |work: &Self| work.calls.get(name).copied().unwrap_or(0);
            float(of(self).saturating_sub(of(before))) / seconds
        };
        let mut most: Vec<(String, f64)> =
            self.calls.keys().map(|name| (name.clone(), per_second(name))).collect();
        let operations = most.iter().map(|(_, per_second)| per_second).sum();
        most.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        most.truncate(8);
        most.retain(|(_, per_second)| *per_second > 0.0);
        let scripts = per_second("evalsha") + per_second("eval");
        Load { operations, scripts, cpu: (self.cpu_seconds - before.cpu_seconds) / seconds, most }
    }
}

impl Record {
    fn add(&mut self, entry: &StreamId) -> anyhow::Result<()> {
        let Gone { at_ms, ranks, to_be_admitted } =
            Gone::read(entry).context("this version of the record is not known")?;
        if to_be_admitted && !ranks.is_empty() {
            self.taken.push((at_ms, ranks.len() as u64));
        }
        self.gone.extend(ranks.into_iter().map(|rank| (at_ms, rank)));
        Ok(())
    }
}

fn own_rate(client: &Client, scratch: ShowId, time: Duration) -> redis::RedisResult<f64> {
    let mut connection = client.get_connection()?;
    let head = [("epoch", "1"), ("counter", "0"), ("reserved", "1000000000")];
    let () = redis::cmd("HSET").arg(key(scratch, "head")).arg(&head).query(&mut connection)?;
    let (started, mut n) = (Instant::now(), 0_u64);
    while started.elapsed() < time {
        let answer: Vec<String> = join(scratch).invoke(&mut connection)?;
        if answer.get(3).is_none_or(|word| word != "NEW") {
            let said = answer.join(" ");
            return Err((redis::ErrorKind::UnexpectedReturnType, "no new place", said).into());
        }
        n += 1;
    }
    Ok(float(n) / started.elapsed().as_secs_f64())
}

/// Calls by command, without INFO, which only the bench calls.
fn calls(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let calls = figures.split(',').find_map(|figure| figure.strip_prefix("calls="))?;
        Some((name.to_owned(), calls.parse().ok()?))
    });
    lines.filter(|(name, _)| name != "info").collect()
}

fn cpu_seconds(text: &str) -> f64 {
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().parse::<f64>().ok()
    };
    figure("used_cpu_sys:").unwrap_or(0.0) + figure("used_cpu_user:").unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use redis::Value;

    use super::*;

    fn entry(id: &str, fields: &[(&str, &str)]) -> StreamId {
        let value = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let map = fields.iter().map(|(name, text)| ((*name).to_owned(), value(text)));
        StreamId { id: id.into(), map: map.collect::<HashMap<_, _>>(), ..StreamId::default() }
    }

    #[test]
    fn the_record_tells_those_let_in_from_those_who_left() {
        let mut record = Record::default();
        let (ticket, again) = (TicketId::new().to_string(), TicketId::new().to_string());
        let again = format!("{again} 2400");
        let mut add = |id, seq, fields: &[(&str, &str)]| {
            let fields = [&[("e", "1"), ("s", seq)], fields].concat();
            record.add(&entry(id, &fields)).unwrap();
        };
        add("1000-0", "1", &[("j", "9")]);
        add("2000-0", "2", &[("g", "1 2 3")]);
        add("2000-1", "3", &[("g", "7"), ("l", &ticket)]);
        add("2500-0", "4", &[("g", ""), ("p", &again)]);
        add("3000-0", "5", &[("g", "8"), ("x", &ticket)]);
        assert_eq!(record.gone, [(2000, 1), (2000, 2), (2000, 3), (2000, 7), (3000, 8)]);
        assert_eq!(record.taken, [(2000, 3)]);
    }

    #[test]
    fn redis_is_asked_what_its_own_account_says_and_our_questions_do_not_count() {
        let before = "# Commandstats\r\ncmdstat_zadd:calls=10,usec=5,usec_per_call=0.5\r\n\
                      cmdstat_info:calls=1,usec=1\r\n";
        let after = "cmdstat_zadd:calls=30,usec=9\r\ncmdstat_evalsha:calls=4,usec=9\r\n\
                     cmdstat_info:calls=9,usec=1\r\n";
        let cpu = "# CPU\r\nused_cpu_sys:1.500000\r\nused_cpu_user:0.500000\r\n\
                   used_cpu_sys_children:9.0\r\n";
        let work = |text: &str, seconds| Work { calls: calls(text), cpu_seconds: seconds };
        let load = work(after, cpu_seconds(cpu)).since(&work(before, 1.0), Duration::from_secs(2));
        assert_eq!((load.operations, load.scripts, load.cpu), (12.0, 2.0, 0.5));
        assert_eq!(load.most, [("zadd".to_owned(), 10.0), ("evalsha".to_owned(), 2.0)]);
    }
}
