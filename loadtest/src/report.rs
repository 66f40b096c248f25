//! The report on a crowd, only from what its visitors saw.

use std::{collections::BTreeMap, fmt, time::Duration};

use contract::{BookingId, api::catalogue::RoomSettings};

use crate::{
    Tally,
    journal::Recheck,
    tally::{Moment, Step, VisitEnd},
    times::Latency,
};

/// The result of a crowd's run.
#[derive(Clone, Debug)]
pub struct Report {
    pub took: Duration,
    pub visitors: u64,
    pub endings: BTreeMap<VisitEnd, u64>,
    pub accepted: Vec<BookingId>,
    /// Visitors who got seats, whatever they did with them.
    pub found_seats: u64,
    pub latencies: Vec<(Step, Latency)>,
    /// How far the sale was, moment by moment.
    pub moments: Vec<Moment>,
    /// The times of each step, second by second: the second, and its 95th percentile.
    pub paces: Vec<(Step, Vec<(u32, Duration)>)>,
    pub admission: Option<AdmissionPace>,
    /// How the line was configured, to compare with.
    pub room: Option<RoomSettings>,
    pub went_up: u64,
    pub reconnects: u64,
    pub repeats: u64,
    pub lapses_seen: u64,
    /// The result of asking again for every booking, if that was done.
    pub recheck: Option<Recheck>,
}

/// The pace of admission, by the moments at which visitors heard of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdmissionPace {
    pub admitted: usize,
    /// The longest stretch without a pause above `PAUSE_MIN` before the stock ran out for the first
    /// time: only there does the configured rate decide.
    pub steady_for: Duration,
    /// Visitors admitted during that stretch.
    pub steadily: usize,
    /// Most visitors admitted within any one second.
    pub busiest_second: usize,
}

/// Shortest gap that means that the line stood still, because it was empty or paused.
const PAUSE_MIN: Duration = Duration::from_millis(1500);

impl AdmissionPace {
    /// The pace by the moments of admission and the first moment without stock; `None` without an
    /// admission.
    #[must_use]
    pub fn of(mut moments: Vec<Duration>, sold_out_first: Option<Duration>) -> Option<Self> {
        moments.sort_unstable();
        let with_stock = sold_out_first
            .map_or(moments.len(), |until| moments.partition_point(|moment| *moment < until));
        let stretches = moments[..with_stock].chunk_by(|a, b| b.saturating_sub(*a) < PAUSE_MIN);
        let steady = stretches.max_by_key(|stretch| stretch.len()).unwrap_or_default();
        let busiest = moments.iter().enumerate().map(|(n, moment)| {
            moments[n..]
                .partition_point(|later| later.saturating_sub(*moment) < Duration::from_secs(1))
        });
        Some(Self {
            admitted: moments.len(),
            steady_for: match steady {
                [first, .., last] => last.saturating_sub(*first),
                _ => Duration::ZERO,
            },
            steadily: steady.len(),
            busiest_second: busiest.max()?,
        })
    }

    /// Admissions per second over the steady stretch; `None` if it is too short.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        let intervals = u32::try_from(self.steadily.saturating_sub(1)).ok()?;
        (self.steady_for >= Duration::from_secs(1))
            .then(|| f64::from(intervals) / self.steady_for.as_secs_f64())
    }
}

impl Report {
    /// The report on the counts.
    #[must_use]
    pub fn new(tally: &Tally) -> Self {
        let times = tally.times();
        let latencies = times.iter().filter_map(|(step, of)| Some((*step, of.latency()?)));
        let paces = times.iter().map(|(step, of)| (*step, of.paces()));
        Self {
            took: tally.elapsed(),
            visitors: tally.arrived.get(),
            endings: tally.endings(),
            accepted: tally.bookings(),
            found_seats: tally.allocated.get(),
            latencies: latencies.collect(),
            moments: tally.moments(),
            paces: paces.collect(),
            admission: AdmissionPace::of(tally.admissions(), tally.sold_out_first()),
            room: None,
            went_up: tally.went_up.get(),
            reconnects: tally.reconnects.get(),
            repeats: tally.repeats.get(),
            lapses_seen: tally.lapses_seen.get(),
            recheck: None,
        }
    }

    /// Visitors that could not go on.
    #[must_use]
    pub fn failed(&self) -> u64 {
        let failed =
            |(ending, n): (&VisitEnd, &u64)| matches!(ending, VisitEnd::Failed(_)).then_some(*n);
        self.endings.iter().filter_map(failed).sum()
    }

    /// Visitors who paid, each for one order.
    #[must_use]
    pub fn paid(&self) -> u64 {
        self.endings.get(&VisitEnd::Ticket).copied().unwrap_or_default()
    }

    /// Accepted bookings that could not be asked for again, so that nothing is proven of them.
    #[must_use]
    pub fn unasked(&self) -> u64 {
        self.recheck.as_ref().map_or(0, |recheck| recheck.unasked)
    }

    /// Broken promises: outcomes lost or changed, and positions that went up.
    #[must_use]
    pub fn broken_promises(&self) -> u64 {
        let recheck = self.recheck.clone().unwrap_or_default();
        recheck.lost + recheck.changed + self.went_up
    }
}

/// The report as text, in blocks of aligned lines.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Visitors: {} in {:.1} s", self.visitors, self.took.as_secs_f64())?;
        let mut endings: Vec<_> = self.endings.iter().collect();
        endings.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        for (ending, n) in endings {
            row(f, &ending.label(), *n)?;
        }
        row(f, "connections to the line made anew", self.reconnects)?;
        row(f, "calls sent again after 429, 503 or no answer", self.repeats)?;
        row(f, "lapses that read EXPIRED in time", self.lapses_seen)?;
        row(f, "positions that went up", self.went_up)?;
        self.write_admission(f)?;
        writeln!(f, "\nBookings accepted: {}", self.accepted.len())?;
        if let Some(recheck) = &self.recheck {
            for (word, n) in &recheck.outcomes {
                row(f, word, *n)?;
            }
            writeln!(f, "\nEvery accepted booking, asked again")?;
            row(f, "lost", recheck.lost)?;
            row(f, "told otherwise than before", recheck.changed)?;
            row(f, "heard only now", recheck.late)?;
            row(f, "could not be asked", recheck.unasked)?;
        }
        self.write_latencies(f)
    }
}

impl Report {
    fn write_admission(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(admission) = &self.admission else { return Ok(()) };
        writeln!(f, "\nAdmitted: {}", admission.admitted)?;
        row(f, "of them found a seat", self.found_seats)?;
        if let Some(room) = &self.room {
            row(f, "per second, configured", format!("{:.1}", room.rate_per_second))?;
        }
        match admission.per_second() {
            Some(pace) => row(f, "per second, measured", format!("{pace:.1}"))?,
            None => row(f, "per second, measured", "too short")?,
        }
        let steady = format!("{:.1} s", admission.steady_for.as_secs_f64());
        row(f, "measured while there were seats, for", steady)?;
        row(f, "in the busiest second, as heard", admission.busiest_second)?;
        if let Some(room) = &self.room {
            let most = room.rate_per_second + f64::from(room.burst);
            row(f, "bound at the gate, rate + burst", format!("{most:.0}"))?;
        }
        Ok(())
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<22}{:>8}{:>11}{:>11}{:>11}{:>11}",
            "Latency, as seen", "count", "p50", "p95", "p99", "max"
        )?;
        for (step, latency) in &self.latencies {
            let Latency { n, p50, p95, p99, max } = latency;
            let [p50, p95, p99, max] = [p50, p95, p99, max].map(|time| short(*time));
            writeln!(f, "  {:<20}{n:>8}{p50:>11}{p95:>11}{p99:>11}{max:>11}", step.label())?;
        }
        Ok(())
    }
}

/// One line of a table: a name and a number.
pub fn row(f: &mut impl fmt::Write, name: &str, n: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<48}{n:>10}")
}

/// A duration, rounded to about three digits.
fn short(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_measured_over_the_longest_stretch_without_a_pause() {
        let ms = |n| Duration::from_millis(n);
        // 50 per second for four seconds, a pause, then ten more.
        let moments: Vec<Duration> =
            (0..=200).map(|n| ms(n * 20)).chain((0..10).map(|n| ms(20_000 + n * 500))).collect();
        let admission = AdmissionPace::of(moments.clone(), None).unwrap();
        assert_eq!((admission.admitted, admission.steadily), (211, 201));
        assert_eq!(admission.busiest_second, 50);
        assert!((admission.per_second().unwrap() - 50.0).abs() < 0.01);
        // Admissions after the stock ran out say nothing about the rate.
        let cut = AdmissionPace::of(moments, Some(ms(2000))).unwrap();
        assert_eq!((cut.admitted, cut.steadily), (211, 100));
        assert!((cut.per_second().unwrap() - 50.0).abs() < 0.01);
        assert_eq!(AdmissionPace::of(vec![ms(5)], None).unwrap().per_second(), None);
        assert_eq!(AdmissionPace::of(Vec::new(), None), None);
    }
}
