//! A worker: sends its share of a crowd, and tells what the visitors see.
//!
//! It is told three lines of JSON, and answers each with [`News::Done`]: the URL of the system and
//! the share; `null`, at which the visitors set out; `null` again, at which it asks again for
//! their bookings.

use std::{pin::pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::ensure;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
        stdin, stdout,
    },
    time::{MissedTickBehavior, interval},
};

use crate::{Client, Crowd, Journal, Tally, journal::Recheck, tally::Seen};

/// Most bytes of a line; a share has a token per visitor.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a worker tells.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum News {
    /// What was seen since the last time; told every second, as a sign of life too.
    Seen(Box<Seen>),
    Rechecked(Recheck),
    Done,
}

/// Does what standard input says, and tells the news on standard output.
pub async fn work() -> ExitCode {
    match obey().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: a process of the crowd cannot go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn obey() -> anyhow::Result<()> {
    let mut told = BufReader::new(stdin());
    let (origin, crowd) = next::<(String, Crowd)>(&mut told).await?;
    let client = Client::new(&origin)?;
    tell(&News::Done).await?;

    next::<()>(&mut told).await?;
    let (tally, journal) = (Arc::new(Tally::default()), Arc::new(Journal::default()));
    tell_during(crowd.send(&client, &tally, &journal), &tally).await?;
    tell(&News::Seen(Box::new(tally.take()))).await?;
    tell(&News::Done).await?;

    next::<()>(&mut told).await?;
    let recheck = tell_during(journal.recheck(), &tally).await?;
    tell(&News::Rechecked(recheck)).await?;
    tell(&News::Done).await
}

/// Tells what is seen until this is over; fails if nobody reads it any more.
async fn tell_during<T>(going_on: impl Future<Output = T>, tally: &Tally) -> anyhow::Result<T> {
    let mut going_on = pin!(going_on);
    let mut ticks = interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            result = &mut going_on => return Ok(result),
            _ = ticks.tick() => tell(&News::Seen(Box::new(tally.take()))).await?,
        }
    }
}

async fn tell(news: &News) -> anyhow::Result<()> {
    let mut out = stdout();
    out.write_all(&line(news)?).await?;
    Ok(out.flush().await?)
}

/// The line that says this.
pub(super) fn line(said: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads the next line; an error if it is missing, too long or not understood.
pub(super) async fn next<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
) -> anyhow::Result<T> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    ensure!(line.ends_with(b"\n"), "no whole line");
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contract::{BookingId, api::problem::Code};
    use tokio::time::Instant;

    use super::*;
    use crate::tally::{Step, VisitEnd};

    #[tokio::test]
    async fn news_are_read_as_they_were_told() {
        let tally = Tally::default();
        tally.waiting.down();
        tally.let_in();
        tally.hears_sold_out();
        tally.accepts(BookingId::new());
        tally.took(Step::Join, Instant::now());
        tally.end(VisitEnd::Refused(Code::SoldOut));
        tally.end(VisitEnd::Failed("two\n\"lines\"".into()));
        let outcomes = BTreeMap::from([("ALLOCATED".to_owned(), 7)]);
        let all = [
            News::Seen(Box::new(tally.take())),
            News::Rechecked(Recheck { outcomes, late: 3, ..Recheck::default() }),
            News::Done,
        ];
        let lines: Vec<u8> = all.iter().flat_map(|news| line(news).unwrap()).collect();
        let mut from = lines.as_slice();
        for told in all {
            assert_eq!(next::<News>(&mut from).await.unwrap(), told);
        }
        assert!(next::<News>(&mut from).await.is_err(), "nothing more was told");
    }
}
