//! The figures of the rounds, and the goals aside them.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use platform::number::float;
use serde::Serialize;
use serde_json::json;

use super::{
    cost::Costs,
    reads::Pace,
    round::{Aside, Round},
    spread::{Percentiles, Spread, row},
    times::{Times, within},
};
use crate::goals::Goal;

/// Accepted per second ÷ confirmed publishes of single messages per second.
const ACCEPTED_MIN: f64 = 1.25;
/// The broker's time per booking ÷ its time per such message.
const BROKER_MAX: f64 = 0.25;
/// Times at half of our own peak, since half of the raw publish's is beyond it (P1), ÷ what the
/// backends alone need; of half and of 99 of 100.
const ACCEPT_MAX: [f64; 2] = [2.0, 3.0];
const TELL_MAX: [f64; 2] = [3.0, 4.0];
/// Losers decided per second ÷ winners decided per second.
const LOSERS_MIN: f64 = 3.0;
/// Refused at the door per second ÷ `GET /healthz` per second.
const DOOR_MIN: f64 = 0.5;
/// Processor time per booking in a large hall ÷ in small ones, and in many partitions ÷ in one.
const GROWTH_MAX: f64 = 1.3;
/// Time of 95 of 100 reads ÷ the same of `GET /healthz`, each at half of its most per second.
const READS_MAX: f64 = 3.0;
/// A compressed seat map ÷ the same as it is, and a decision in a large hall ÷ in a small one.
const MAP_MAX: f64 = 0.05;
const LARGE_HALL_MAX: f64 = 1.3;
/// Decided per second ÷ the textbook's bookings per second.
const DECIDED_MIN: f64 = 20.0;

/// Of the other version's speed; what is lost must be noise.
const SPEED_MIN: f64 = 0.95;
/// Processor time per booking ÷ the other version's.
const COST_MAX: f64 = 0.25;

/// Everything that was measured. Each figure is the median of its rounds.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    bookings: u32,
    at_once: u16,
    ours: Version,
    against: Option<Version>,
    aside: Asides,
}

/// What else was measured in the same rounds.
#[derive(Debug, Serialize)]
struct Asides {
    /// Refusals of a show without free seats.
    refusals_per_second: Spread,
    healthz_per_second: Spread,
    /// Reads of the catalogue and of a seat map.
    catalogue_per_second: Spread,
    seat_maps_per_second: Spread,
    /// The time of 95 of 100 at half of that, ÷ the same of `GET /healthz`.
    catalogue_to_healthz: Spread,
    seat_map_to_healthz: Spread,
    /// At half of the peak.
    accepted_ms: Percentiles,
    told_ms: Percentiles,
    /// One publish at that rate; and with its delivery and a commit, one after the other.
    publish_ms: Percentiles,
    series_ms: Percentiles,
    /// A request until its decision, one after the other.
    small_hall_ms: Spread,
    large_hall_ms: Spread,
    large_map_ratio: Spread,
    /// Decided by one allocator from a full queue.
    winners_per_second: Spread,
    losers_per_second: Spread,
    publishes_per_second: Spread,
    /// The broker's processor time per publish; `None` if it could not be read.
    publish_micros: Option<Spread>,
    consumes_per_second: Spread,
    scripts_per_second: Spread,
    commits_per_second: Spread,
    textbook_per_second: Spread,
    /// `None` if the processor time of our processes could not be read.
    costs: Option<Costs>,
}

/// The figures of one version.
#[derive(Debug, Serialize)]
struct Version {
    rounds: usize,
    accepted_per_second: Spread,
    decided_per_second: Spread,
    accepted_p50_ms: Spread,
    accepted_p99_ms: Spread,
    repeats: Spread,
    /// Processor time per booking, in microseconds, by process.
    micros: BTreeMap<String, Spread>,
    /// Of all processes; `None` if one of them could not be read.
    micros_of_all: Option<Spread>,
}

/// Processes whose processor time is asked for.
const PROCESSES: usize = 6;

impl Figures {
    pub(super) fn of(bookings: u32, at_once: u16, ours: &[Round], theirs: &[Round]) -> Self {
        let against = (!theirs.is_empty()).then(|| Version::of(bookings, theirs));
        let aside = ours.iter().filter_map(|round| round.aside).collect::<Vec<_>>();
        Self {
            bookings,
            at_once,
            ours: Version::of(bookings, ours),
            against,
            aside: Asides::of(&aside),
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({ "goals": self.goals(), "figures": self })
    }

    fn goals(&self) -> Vec<Goal> {
        let Self { ours, aside, .. } = self;
        let mut goals = Vec::new();
        let mut goal = |id, what, ratio: Option<f64>, bound: f64, is_least: bool| {
            let sign = if is_least { '≥' } else { '≤' };
            let is_met = |ratio: f64| if is_least { ratio >= bound } else { ratio <= bound };
            let figure = ratio.filter(|ratio| ratio.is_finite());
            let figure = figure.map(|ratio| (format!("{ratio:.2}"), is_met(ratio)));
            goals.push(Goal::new(id, what, format!("{sign} {bound}"), figure));
        };
        let accepted = ours.accepted_per_second / aside.publishes_per_second;
        goal("P1", "accepted per second ÷ single publishes", Some(accepted), ACCEPTED_MIN, true);
        let broker = ours.micros.get("rabbitmq").copied().zip(aside.publish_micros);
        let broker = broker.map(|(ours, alone)| ours / alone);
        goal("P1", "broker's time per booking ÷ per publish", broker, BROKER_MAX, false);
        let decided = ours.decided_per_second / aside.textbook_per_second;
        goal("P2", "decided per second ÷ the textbook's", Some(decided), DECIDED_MIN, true);
        let of_publish = aside.accepted_ms / aside.publish_ms;
        let of_series = aside.told_ms / aside.series_ms;
        let accept = [
            "accepted ÷ a publish, our half peak, p50",
            "accepted ÷ a publish, our half peak, p99",
        ];
        let tell = ["told ÷ backends in series, p50", "told ÷ backends in series, p99"];
        for n in 0..2 {
            goal("P4", accept[n], Some(of_publish[n]), ACCEPT_MAX[n], false);
            goal("P5", tell[n], Some(of_series[n]), TELL_MAX[n], false);
        }
        let losers = aside.losers_per_second / aside.winners_per_second;
        goal("P6", "losers decided per second ÷ winners", Some(losers), LOSERS_MIN, true);
        let door = aside.refusals_per_second / aside.healthz_per_second;
        goal("P6", "refused at the door per second ÷ /healthz", Some(door), DOOR_MIN, true);
        let seats = aside.costs.as_ref().map(Costs::growth_by_seats);
        goal("P11", "our time per booking, large hall ÷ hall of 100", seats, GROWTH_MAX, false);
        let partitions = aside.costs.as_ref().map(Costs::growth_by_partitions);
        goal("P11", "our time per booking, many partitions ÷ one", partitions, GROWTH_MAX, false);
        let catalogue = aside.catalogue_to_healthz.median;
        goal("P13", "p95 of catalogue reads ÷ of /healthz", Some(catalogue), READS_MAX, false);
        let map = aside.seat_map_to_healthz.median;
        goal("P13", "p95 of seat-map reads ÷ of /healthz", Some(map), READS_MAX, false);
        let short = aside.large_map_ratio.median;
        goal("P16", "large seat map, compressed ÷ as it is", Some(short), MAP_MAX, false);
        let large = aside.large_hall_ms / aside.small_hall_ms;
        goal("P16", "a decision in a large hall ÷ in a small", Some(large), LARGE_HALL_MAX, false);
        if let Some(against) = &self.against {
            let speed = ours.decided_per_second / against.decided_per_second;
            goal("P15", "decided per second ÷ the other version's", Some(speed), SPEED_MIN, true);
            let cost = ours.micros_of_all.zip(against.micros_of_all);
            let cost = cost.map(|(ours, theirs)| ours / theirs);
            goal("P15", "processor time per booking ÷ its", cost, COST_MAX, false);
        }
        goals
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut String) -> std::fmt::Result {
        let Self { bookings, at_once, .. } = self;
        writeln!(f, "{bookings} bookings in each round, {at_once} requests at once")?;
        self.ours.write(f, "this version")?;
        if let Some(against) = &self.against {
            against.write(f, "the other version")?;
        }
        self.aside.write(f)?;
        writeln!(f)?;
        self.goals().iter().try_for_each(|goal| writeln!(f, "{goal}"))
    }
}

impl Asides {
    fn of(rounds: &[Aside]) -> Self {
        let of = |figure: &dyn Fn(&Aside) -> f64| Spread::of(rounds.iter().map(figure).collect());
        let to_healthz = |pace: Pace, round: &Aside| {
            pace.p95.as_secs_f64() / round.reads.healthz.p95.as_secs_f64()
        };
        let times = |of_round: &dyn Fn(&Aside) -> Times| Percentiles {
            p50: of(&|round| ms(of_round(round).p50)),
            p99: of(&|round| ms(of_round(round).p99)),
        };
        let micros = |round: &Aside| Some(round.alone.publish_cpu?.as_secs_f64() * 1e6);
        let costs: Option<Vec<_>> = rounds.iter().map(|round| round.cost).collect();
        Self {
            refusals_per_second: of(&|round| round.door.refusals_per_second),
            healthz_per_second: of(&|round| round.door.healthz_per_second),
            catalogue_per_second: of(&|round| round.reads.catalogue.per_second),
            seat_maps_per_second: of(&|round| round.reads.seat_map.per_second),
            catalogue_to_healthz: of(&|round| to_healthz(round.reads.catalogue, round)),
            seat_map_to_healthz: of(&|round| to_healthz(round.reads.seat_map, round)),
            accepted_ms: times(&|round| round.latency.accepted),
            told_ms: times(&|round| round.latency.told),
            publish_ms: times(&|round| round.alone.publish),
            series_ms: times(&|round| round.alone.series),
            small_hall_ms: of(&|round| ms(round.growth.small_hall)),
            large_hall_ms: of(&|round| ms(round.growth.large_hall)),
            large_map_ratio: of(&|round| round.growth.map_ratio),
            winners_per_second: of(&|round| round.backlog.winners_per_second),
            losers_per_second: of(&|round| round.backlog.losers_per_second),
            publishes_per_second: of(&|round| round.alone.publishes_per_second),
            publish_micros: rounds.iter().map(micros).collect::<Option<_>>().map(Spread::of),
            consumes_per_second: of(&|round| round.alone.consumes_per_second),
            scripts_per_second: of(&|round| round.alone.scripts_per_second),
            commits_per_second: of(&|round| round.alone.commits_per_second),
            textbook_per_second: of(&|round| round.textbook_per_second),
            costs: costs.as_deref().map(Costs::of),
        }
    }

    fn write(&self, f: &mut String) -> std::fmt::Result {
        writeln!(f, "\nin the same rounds")?;
        row(f, "bookings refused at the door per second", self.refusals_per_second)?;
        row(f, "GET /healthz per second", self.healthz_per_second)?;
        row(f, "reads of the catalogue per second", self.catalogue_per_second)?;
        row(f, "reads of a seat map per second", self.seat_maps_per_second)?;
        self.accepted_ms.write(f, "accepted, at half of the peak")?;
        self.told_ms.write(f, "outcome told, at half of the peak")?;
        row(f, "request to decision, hall of 1,000, p50, ms", self.small_hall_ms)?;
        row(f, "request to decision, large hall, p50, ms", self.large_hall_ms)?;
        row(f, "winners decided per second, from a full queue", self.winners_per_second)?;
        row(f, "losers decided per second, from a full queue", self.losers_per_second)?;
        if let Some(costs) = &self.costs {
            costs.write(f)?;
        }
        writeln!(f, "\nthe backends, with Usher at rest")?;
        row(f, "confirmed publishes of one message per second", self.publishes_per_second)?;
        if let Some(micros) = self.publish_micros {
            row(f, "processor time per publish, rabbitmq, µs", micros)?;
        }
        self.publish_ms.write(f, "one publish, at half of the peak")?;
        self.series_ms.write(f, "publish, delivery, commit, in series")?;
        row(f, "messages consumed and acked per second", self.consumes_per_second)?;
        row(f, "calls of a script per second, in series", self.scripts_per_second)?;
        row(f, "commits of one row per second, in series", self.commits_per_second)?;
        row(f, "bookings of the textbook per second", self.textbook_per_second)
    }
}

impl Version {
    fn of(bookings: u32, rounds: &[Round]) -> Self {
        let n = f64::from(bookings);
        let of = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect());
        let mut micros: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, cpu) in rounds.iter().flat_map(|round| &round.cpu) {
            micros.entry(name.clone()).or_default().push(cpu.as_secs_f64() * 1e6 / n);
        }
        let all = |round: &Round| {
            let sum: Duration = round.cpu.values().sum();
            (round.cpu.len() == PROCESSES).then_some(sum.as_secs_f64() * 1e6 / n)
        };
        Self {
            rounds: rounds.len(),
            accepted_per_second: of(&|round| n / round.sent.took.as_secs_f64()),
            decided_per_second: of(&|round| n / round.decided_in.as_secs_f64()),
            accepted_p50_ms: of(&|round| ms(within(&mut round.sent.accepted_in.clone(), 50))),
            accepted_p99_ms: of(&|round| ms(within(&mut round.sent.accepted_in.clone(), 99))),
            repeats: of(&|round| float(round.sent.repeats)),
            micros: micros.into_iter().map(|(name, all)| (name, Spread::of(all))).collect(),
            micros_of_all: rounds.iter().map(all).collect::<Option<Vec<_>>>().map(Spread::of),
        }
    }

    fn write(&self, f: &mut String, name: &str) -> std::fmt::Result {
        writeln!(f, "\n{name}: median (least to most) of {} rounds", self.rounds)?;
        row(f, "accepted per second", self.accepted_per_second)?;
        row(f, "decided per second", self.decided_per_second)?;
        row(f, "accepted within, p50, ms", self.accepted_p50_ms)?;
        row(f, "accepted within, p99, ms", self.accepted_p99_ms)?;
        row(f, "requests sent again", self.repeats)?;
        for (process, micros) in &self.micros {
            row(f, &format!("processor time per booking, {process}, µs"), *micros)?;
        }
        match self.micros_of_all {
            Some(micros) => row(f, "processor time per booking, all, µs", micros),
            None => writeln!(f, "  processor time of all: a process could not be read"),
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bookings::{
        backlog::Backlog, cost::Cost, door::Door, growth::Growth, latency::Latency, reads::Reads,
        sender::Sent, yardstick::Yardstick,
    };

    fn round(decided_s: u64, cpu_s: u64, processes: usize) -> Round {
        let sent = Sent {
            took: Duration::from_secs(1),
            accepted_in: vec![Duration::from_millis(1), Duration::from_millis(3)],
            repeats: 0,
        };
        let times =
            |p50, p99| Times { p50: Duration::from_millis(p50), p99: Duration::from_millis(p99) };
        let latency = Latency { accepted: times(2, 8), told: times(3, 16) };
        let cpu = |n: usize| (format!("process {n}"), Duration::from_secs(cpu_s));
        let decided_in = Duration::from_secs(decided_s);
        let alone = Yardstick {
            publishes_per_second: 800.0,
            publish_cpu: None,
            consumes_per_second: 900.0,
            scripts_per_second: 700.0,
            commits_per_second: 300.0,
            publish: times(1, 2),
            series: times(2, 4),
        };
        let backlog = Backlog { winners_per_second: 100.0, losers_per_second: 400.0 };
        let door = Door { refusals_per_second: 90.0, healthz_per_second: 100.0 };
        let pace = |ms| Pace { per_second: 100.0, p95: Duration::from_millis(ms) };
        let reads = Reads { catalogue: pace(2), seat_map: pace(4), healthz: pace(1) };
        let growth = Growth {
            small_hall: Duration::from_millis(10),
            large_hall: Duration::from_millis(12),
            map_ratio: 0.04,
        };
        let cost = Some(Cost {
            partitions: 500,
            small_halls_micros: 100.0,
            large_hall_micros: 110.0,
            one_partition_micros: 100.0,
            many_partitions_micros: 140.0,
        });
        let textbook_per_second = 50.0;
        let aside =
            Some(Aside { door, reads, growth, latency, backlog, alone, textbook_per_second, cost });
        Round { sent, decided_in, cpu: (0..processes).map(cpu).collect(), aside }
    }

    #[test]
    fn the_medians_of_both_versions_are_compared() {
        let ours = [round(2, 1, PROCESSES), round(9, 9, PROCESSES), round(1, 1, PROCESSES)];
        let theirs = [round(4, 8, PROCESSES)];
        let figures = Figures::of(1_000, 8, &ours, &theirs);
        assert!((figures.ours.decided_per_second.median - 500.0).abs() < 1e-9);
        assert!((figures.ours.accepted_p99_ms.median - 3.0).abs() < 1e-9);
        let measured: Vec<_> = figures.goals().into_iter().map(|goal| goal.measured).collect();
        assert_eq!(
            measured,
            [
                "1.25", "?", "10.00", "2.00", "1.50", "4.00", "4.00", "4.00", "0.90", "1.10",
                "1.40", "2.00", "4.00", "0.04", "1.20", "2.00", "0.12",
            ]
        );
        let met = |figures: &Figures| -> Vec<Option<bool>> {
            figures.goals().into_iter().map(|goal| goal.met).collect()
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(
            met(&figures),
            [yes, None, no, yes, yes, no, yes, yes, yes, yes, no, yes, no, yes, yes, yes, yes]
        );
        let other_way_round = Figures::of(1_000, 8, &theirs, &ours);
        assert_eq!(met(&other_way_round)[15..], [no, no]);
    }

    #[test]
    fn a_process_that_cannot_be_read_leaves_the_cost_unknown() {
        let (ours, theirs) = ([round(2, 1, PROCESSES - 1)], [round(2, 1, PROCESSES)]);
        let figures = Figures::of(1_000, 8, &ours, &theirs);
        assert_eq!(figures.goals()[16].met, None);
        assert_eq!(Figures::of(1_000, 8, &ours, &[]).goals().len(), 15, "nothing to compare with");
    }
}
