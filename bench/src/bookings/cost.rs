//! What a booking costs our processes in small halls and in a large one, in one partition and in
//! many: it must grow neither with the seats nor with the partitions. What a booking costs the
//! backends is not counted here.

use std::{collections::BTreeSet, iter::repeat_n, time::Duration};

use anyhow::{Context as _, ensure};
use contract::{ShowId, topology::Partition};
use platform::number::float;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep};

use super::{
    house::House,
    sender::{self, Wanted},
    settings::Bookings,
    spread::{Spread, row},
};
use crate::usage::Usage;

/// Seats of a small hall …
const SMALL: usize = 100;
/// … and the bookings that count in it. A few seats stay free, and each tier has one booking ahead.
const SMALL_BOOKINGS: usize = 80;
/// Of the bookings that count, each of many partitions gets at least this many.
const EACH_MIN: usize = 5;
const AT_ONCE: u16 = 64;
/// Time after which the outcomes of the bookings ahead are told.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SOLD_WITHIN: Duration = Duration::from_mins(2);

/// Processor time of our processes per booking, in microseconds, for the same number of bookings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// How many the many partitions are.
    pub(super) partitions: usize,
    pub(super) small_halls_micros: f64,
    pub(super) large_hall_micros: f64,
    pub(super) one_partition_micros: f64,
    pub(super) many_partitions_micros: f64,
}

/// The costs of several rounds.
#[derive(Debug, Serialize)]
pub(super) struct Costs {
    partitions: usize,
    small_halls_micros: Spread,
    large_hall_micros: Spread,
    one_partition_micros: Spread,
    many_partitions_micros: Spread,
}

/// Bookings of one seat each. A session begins with a partition's first booking, so each partition
/// has one ahead, which does not count.
struct Sale {
    ahead: Vec<Wanted>,
    counted: Vec<Wanted>,
}

impl Cost {
    /// Sells to these visitors in each of the four ways. `None` if the processor time of our
    /// processes cannot be read.
    pub(super) async fn measure(
        house: &House,
        visitors: &[Wanted],
        bench: &Bookings,
    ) -> anyhow::Result<Option<Self>> {
        if used(house).is_none() {
            return Ok(None);
        }
        let large = bench.large_hall as usize;
        // A tier with a third of the large hall's seats gets half of the bookings.
        let n = visitors.len().min(bench.each_way as usize).min(large / 2);
        let visitors = &visitors[..n];

        let one = Sale::in_turn(&house.lawns(1, n + 1).await?, visitors);
        let one_partition_micros = one.sell(house).await?;

        // All halls are open before one is sold, so that both sales have the same idle partitions.
        let small_halls = house.halls(n.div_ceil(SMALL_BOOKINGS), SMALL).await?;
        let large_hall = house.halls(1, large).await?;
        let (in_large, _) = large_hall.first().context("a hall has tiers")?;
        let small = Sale::one_after_the_other(&small_halls, visitors);
        ensure!(small.counted.len() == n, "the small halls have too few seats");
        let large = small.moved_to(in_large.show);
        let small_halls_micros = small.sell(house).await?;
        let large_hall_micros = large.sell(house).await?;

        let partitions = usize::from(bench.partitions).min(n / EACH_MIN);
        let many = house.lawns(partitions, n.div_ceil(partitions) + 1).await?;
        let many_partitions_micros = Sale::in_turn(&many, visitors).sell(house).await?;
        Ok(Some(Self {
            partitions,
            small_halls_micros,
            large_hall_micros,
            one_partition_micros,
            many_partitions_micros,
        }))
    }
}

impl Costs {
    pub(super) fn of(rounds: &[Cost]) -> Self {
        let of = |figure: fn(&Cost) -> f64| Spread::of(rounds.iter().map(figure).collect());
        Self {
            partitions: rounds.first().map_or(0, |round| round.partitions),
            small_halls_micros: of(|round| round.small_halls_micros),
            large_hall_micros: of(|round| round.large_hall_micros),
            one_partition_micros: of(|round| round.one_partition_micros),
            many_partitions_micros: of(|round| round.many_partitions_micros),
        }
    }

    /// The cost in the large hall ÷ in small ones.
    pub(super) fn growth_by_seats(&self) -> f64 {
        self.large_hall_micros / self.small_halls_micros
    }

    /// The cost in many partitions ÷ in one.
    pub(super) fn growth_by_partitions(&self) -> f64 {
        self.many_partitions_micros / self.one_partition_micros
    }

    pub(super) fn write(&self, f: &mut String) -> std::fmt::Result {
        row(f, "our time per booking, halls of 100, µs", self.small_halls_micros)?;
        row(f, "our time per booking, large hall, µs", self.large_hall_micros)?;
        row(f, "our time per booking, one partition, µs", self.one_partition_micros)?;
        let many = format!("our time per booking, {} partitions, µs", self.partitions);
        row(f, &many, self.many_partitions_micros)
    }
}

impl Sale {
    /// The bookings of a partition come when those of the one before it have been sent.
    fn one_after_the_other(partitions: &[(Partition, usize)], visitors: &[Wanted]) -> Self {
        let counted = partitions
            .iter()
            .flat_map(|(partition, seats)| repeat_n(partition, seats.saturating_sub(1)));
        Self { ahead: one_each(partitions, visitors), counted: asked_for(counted, visitors) }
    }

    /// Each booking is for another partition than the one before it, if there are several.
    fn in_turn(partitions: &[(Partition, usize)], visitors: &[Wanted]) -> Self {
        let counted = partitions.iter().map(|(partition, _)| partition).cycle();
        Self { ahead: one_each(partitions, visitors), counted: asked_for(counted, visitors) }
    }

    /// The same bookings in the same order and tiers, all of one show. What differs is the seats.
    fn moved_to(&self, show: ShowId) -> Self {
        let moved = |of: &[Wanted]| {
            of.iter().map(|wanted| Wanted { show, ..wanted.clone() }).collect::<Vec<_>>()
        };
        Self { ahead: moved(&self.ahead), counted: moved(&self.counted) }
    }

    /// Sells all of it. Returns the microseconds of our processes for each booking that counts,
    /// until the last order is in PostgreSQL.
    async fn sell(self, house: &House) -> anyhow::Result<f64> {
        let Self { ahead, counted } = self;
        let both = ahead.iter().chain(&counted);
        let shows: BTreeSet<ShowId> = both.map(|wanted| wanted.show).collect();
        let (n_ahead, n) = (ahead.len(), counted.len());
        let unreadable = "the processor time of our processes cannot be read";
        sender::send(house.ingress(), ahead, AT_ONCE).await?;
        until_sold(&house.database_url, &shows, n_ahead).await?;
        sleep(SETTLED_AFTER).await;
        let before = used(house).context(unreadable)?;
        sender::send(house.ingress(), counted, AT_ONCE).await?;
        until_sold(&house.database_url, &shows, n_ahead + n).await?;
        let used = used(house).context(unreadable)?.saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / float(n))
    }
}

fn one_each(partitions: &[(Partition, usize)], visitors: &[Wanted]) -> Vec<Wanted> {
    asked_for(partitions.iter().map(|(partition, _)| partition), visitors)
}

/// Each visitor asks for a seat of the next of these partitions, as long as there is one.
fn asked_for<'a>(
    partitions: impl Iterator<Item = &'a Partition>,
    visitors: &[Wanted],
) -> Vec<Wanted> {
    let ask = |(partition, visitor): (&Partition, &Wanted)| Wanted {
        token: visitor.token.clone(),
        show: partition.show,
        tier: partition.tier.clone(),
    };
    partitions.zip(visitors).map(ask).collect()
}

/// The processor time of our processes so far, to a hundredth of a second: a fortieth of what the
/// smallest of the four sales takes.
fn used(house: &House) -> Option<Duration> {
    Some(Usage::of(house.services.iter().map(|service| service.pid))?.cpu)
}

/// Waits until so many seats of these shows are sold. Asks the database: a question to ingress
/// would cost what is measured.
async fn until_sold(database_url: &str, shows: &BTreeSet<ShowId>, n: usize) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(database_url).await?;
    let shows: Vec<uuid::Uuid> = shows.iter().map(|show| show.0).collect();
    let look = "select sum(capacity - available) from partitions where show_id = any($1)";
    let until = Instant::now() + SOLD_WITHIN;
    loop {
        let sold: i64 = sqlx::query_scalar(look).bind(&shows).fetch_one(&mut connection).await?;
        if usize::try_from(sold)? == n {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{sold} of {n} seats are sold");
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(tier: &str) -> Partition {
        Partition { show: ShowId::new(), tier: tier.parse().unwrap() }
    }

    fn places(wanted: &[Wanted]) -> Vec<(ShowId, &str)> {
        wanted.iter().map(|wanted| (wanted.show, wanted.tier.as_str())).collect()
    }

    fn tiers(wanted: &[Wanted]) -> Vec<&str> {
        wanted.iter().map(|wanted| wanted.tier.as_str()).collect()
    }

    #[test]
    fn the_four_sales_differ_in_seats_and_partitions_only() {
        let partitions = [(partition("A"), 3), (partition("B"), 4)];
        let show = ShowId::new();
        let tier = partitions[0].0.tier.clone();
        let visitor = |n: usize| Wanted { token: n.to_string(), show, tier: tier.clone() };
        let visitors: Vec<Wanted> = (0..4).map(visitor).collect();

        let small = Sale::one_after_the_other(&partitions, &visitors);
        assert_eq!(tiers(&small.ahead), ["A", "B"]);
        assert_eq!(tiers(&small.counted), ["A", "A", "B", "B"]);
        let large = small.moved_to(show);
        assert_eq!(tiers(&large.ahead), ["A", "B"]);
        assert_eq!(places(&large.counted), [(show, "A"), (show, "A"), (show, "B"), (show, "B")]);

        let many = Sale::in_turn(&partitions, &visitors);
        assert_eq!(tiers(&many.ahead), ["A", "B"]);
        assert_eq!(tiers(&many.counted), ["A", "B", "A", "B"]);
        let tokens: Vec<&str> = many.counted.iter().map(|of| of.token.as_str()).collect();
        assert_eq!(tokens, ["0", "1", "2", "3"]);
    }
}
