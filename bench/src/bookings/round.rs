//! One sale: a database of its own, services, seats for everybody, and an audit at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use contract::ShowId;
use platform::number::float;
use reqwest::Url;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    backlog::Backlog,
    cost::Cost,
    door::Door,
    growth::Growth,
    house::House,
    latency::Latency,
    reads::Reads,
    sender::{self, Sent, Wanted},
    settings::Bookings,
    textbook,
    yardstick::Yardstick,
};
use crate::{
    console::Console,
    fleet::Running,
    usage::{self, Usage},
};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for the outcomes, by booking, aside half a minute.
const WAIT_PER_BOOKING: Duration = Duration::from_millis(5);
/// Most visitors who are refused, and whose bookings fill a queue, in a round …
const VISITORS_MAX: usize = 10_000;
/// … and most who book by the textbook.
const READERS_MAX: usize = 3_000;

/// The figures of a round.
pub(super) struct Round {
    pub(super) sent: Sent,
    /// From the first request until the last order was in PostgreSQL.
    pub(super) decided_in: Duration,
    /// Processor time until then, by process. Missing where it cannot be read.
    pub(super) cpu: BTreeMap<String, Duration>,
    /// Only in rounds of this version.
    pub(super) aside: Option<Aside>,
}

/// What else was measured in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aside {
    pub(super) door: Door,
    pub(super) reads: Reads,
    pub(super) growth: Growth,
    pub(super) latency: Latency,
    pub(super) backlog: Backlog,
    /// The backends, with Usher at rest.
    pub(super) alone: Yardstick,
    /// Bookings per second of the textbook.
    pub(super) textbook_per_second: f64,
    /// `None` if the processor time of our processes could not be read.
    pub(super) cost: Option<Cost>,
}

/// Plays a sale with the programs in this folder, or with those aside this one.
pub(super) async fn play(
    bench: &Bookings,
    programs: Option<&Path>,
    console: &mut Console,
) -> anyhow::Result<Round> {
    let mut house = House::open(bench, programs).await?;
    let wanted = house.wanted(bench.each_round as usize).await?;
    let shows: BTreeSet<ShowId> = wanted.iter().map(|wanted| wanted.show).collect();
    let (n, before) = (wanted.len(), house.free_seats(&shows).await?);
    let visitors: Vec<Wanted> = wanted.iter().take(VISITORS_MAX).cloned().collect();

    let used = cpu(bench, &house.services)?;
    let began = Instant::now();
    let mut sending = std::pin::pin!(sender::send(house.ingress(), wanted, bench.at_once));
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent?,
            () = sleep(Duration::from_secs(1)) => console.show("bookings are being sent"),
        }
    };
    let wait = WAIT_PER_BOOKING * u32::try_from(n)? + Duration::from_secs(30);
    loop {
        let decided = before - house.free_seats(&shows).await?;
        if decided == n as u64 {
            break;
        }
        console.show(&format!("{decided} of {n} bookings are decided"));
        if sent.took + wait < began.elapsed() {
            bail!("{decided} of {n} bookings are decided {wait:?} after the last was sent");
        }
        house.check()?;
        sleep(LOOK_EVERY).await;
    }
    let decided_in = began.elapsed();
    let mut cpu = cpu(bench, &house.services)?;
    for (name, before) in used {
        cpu.entry(name).and_modify(|now| *now = now.saturating_sub(before));
    }
    // The audit of an old version gives up on this many bookings.
    let aside = if programs.is_none() {
        house.audit().await?;
        let half = float(n) / sent.took.as_secs_f64() / 2.0;
        Some(measure_aside(bench, &mut house, &visitors, half, console).await?)
    } else {
        None
    };
    for show in &shows {
        let _: Value = house.admin.post_empty(&format!("/shows/{show}/close")).await?;
    }
    // The database of an old version cannot be read by this one.
    if programs.is_none() {
        house.end(&bench.site.amqp_url).await?;
    }
    Ok(Round { sent, decided_in, cpu, aside })
}

/// Measures the rest, one after the other, on the machine as it was a moment ago.
async fn measure_aside(
    bench: &Bookings,
    house: &mut House,
    visitors: &[Wanted],
    half_of_the_peak: f64,
    console: &mut Console,
) -> anyhow::Result<Aside> {
    console.say("bookings at half of that rate");
    let latency = Latency::measure(house, visitors, half_of_the_peak).await?;
    console.say("a show that is sold out");
    let refused = house.sold_out(visitors).await?;
    let door = Door::measure(house.ingress(), refused).await?;
    console.say("reads, and a large hall");
    let show = visitors.first().context("there are bookings")?.show;
    let reads = Reads::measure(house.ingress(), show).await?;
    let growth = Growth::measure(house, visitors, bench.large_hall as usize).await?;
    console.say("a full queue");
    let backlog = house.full_queue(visitors, bench.at_once).await?;
    house.audit().await?;
    console.say("the backends alone, and the booking of the textbooks");
    let site = &bench.site;
    let (amqp, redis, database) = (&site.amqp_url, &site.redis_url, &house.database_url);
    let alone = Yardstick::take(amqp, redis, database, half_of_the_peak).await?;
    let readers = visitors.iter().take(READERS_MAX).cloned().collect();
    let textbook = textbook::sell(&house.database_url, house.free_port(), house.master(), readers);
    let textbook_per_second = textbook.await?;
    // Last, since hundreds of partitions that stay would be in the way of the others.
    console.say("what a booking costs in small and large halls, in one and in many partitions");
    let cost = Cost::measure(house, visitors, bench).await?;
    house.audit().await?;
    Ok(Aside { door, reads, growth, latency, backlog, alone, textbook_per_second, cost })
}

/// Processor time of the backends and of our processes so far.
fn cpu(bench: &Bookings, services: &[Running]) -> anyhow::Result<BTreeMap<String, Duration>> {
    let site = &bench.site;
    let backends = [
        ("postgres", site.database_url.as_str()),
        ("redis", &site.redis_url),
        ("rabbitmq", &site.amqp_url),
    ];
    let mut all = BTreeMap::new();
    for (name, url) in backends {
        let port =
            Url::parse(url)?.port().with_context(|| format!("the URL of {name} has no port"))?;
        let cpu = usage::listener(port).and_then(usage::cpu_with_children);
        all.extend(cpu.map(|cpu| (name.to_owned(), cpu)));
    }
    for running in services {
        let usage = Usage::of([running.pid]);
        all.extend(usage.map(|usage| (running.name.clone(), usage.cpu)));
    }
    Ok(all)
}
