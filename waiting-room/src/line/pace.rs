//! How fast visitors may be admitted, given how far the booking queues are behind.
//!
//! A control loop: once a second each node reads the age of the oldest undecided booking, the
//! *lag*, and sets the rate to `rate × e^-slowing`. The slowing follows the lag's distance from
//! [`LAG_WANTED`] with the gain [`PER_LAG`] per second, and its change with the gain
//! [`PER_CHANGE`]. The slowing is a logarithm, so that the loop behaves the same whether the rate
//! is twice or a hundred times what the queues can take. The time between admission and booking is
//! a delay in the loop: the gains are made for five seconds on average, and are stable up to ten.

use std::time::Duration;

use contract::api::catalogue::RoomSettings;
use store::backlogs::Backlog;
use tokio::time::Instant;

/// The lag to aim at, in seconds, where demand exceeds what the queues can take.
const LAG_WANTED: f64 = 2.0;
/// Slowing per second and per second of lag above [`LAG_WANTED`].
const PER_LAG: f64 = 0.003;
/// Slowing for each second by which the lag grows.
const PER_CHANGE: f64 = 0.12;
/// Least decrease of the slowing per second while the lag is below half of [`LAG_WANTED`].
const RELAX: f64 = 0.02;
/// Most slowing: a ten-thousandth of the rate is left.
const SLOWING_MAX: f64 = 9.2;
/// Nobody is admitted while the lag is above this.
const LAG_MAX: Duration = Duration::from_secs(15);
/// Nobody is admitted once no allocator has looked at a queue for this long, or once this node has
/// not been able to read the backlog for this long.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The state of the loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    slowing: f64,
    lag: f64,
    stopped: bool,
    /// When the backlog was read.
    read_at: Instant,
}

impl Pace {
    /// The pace of a line that is new at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self { slowing: 0.0, lag: 0.0, stopped: false, read_at: now }
    }

    /// The pace at `now`: a backlog that cannot be read counts as a queue that nobody serves.
    pub(crate) fn as_of(self, now: Instant) -> Self {
        let unread = now.saturating_duration_since(self.read_at);
        Self { stopped: self.stopped || unread > SILENCE_MAX, ..self }
    }

    /// Follows the backlog, read at `now`; called once a second.
    pub(crate) fn follow(&mut self, backlog: &Backlog, now: Instant) {
        self.read_at = now;
        self.stopped = backlog.oldest > LAG_MAX || backlog.silent > SILENCE_MAX;
        let lag = backlog.oldest.as_secs_f64();
        let mut change = PER_LAG * (lag - LAG_WANTED) + PER_CHANGE * (lag - self.lag);
        if lag < LAG_WANTED / 2.0 {
            change = change.min(-RELAX);
        }
        self.slowing = (self.slowing + change).clamp(0.0, SLOWING_MAX);
        self.lag = lag;
    }

    /// The room's settings with the rate and the burst slowed.
    pub(crate) fn slowed(&self, room: &RoomSettings) -> RoomSettings {
        let factor = self.factor();
        #[expect(clippy::cast_possible_truncation, reason = "no more than it was")]
        let burst = (f64::from(room.burst) * factor).round() as i32;
        // Clients are shown the rate, and need no more digits.
        let rate_per_second = (room.rate_per_second * factor * 1000.0).round() / 1000.0;
        RoomSettings { rate_per_second, burst: burst.max(1), ..room.clone() }
    }

    /// The share of the rate at which visitors are admitted.
    pub(crate) fn factor(&self) -> f64 {
        if self.stopped { 0.0 } else { (-self.slowing).exp() }
    }

    /// Age of the oldest booking that is not decided.
    pub(crate) fn lag(&self) -> Duration {
        Duration::from_secs_f64(self.lag)
    }

    /// Whether nobody may be admitted.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps a second.
    const STEPS: u32 = 10;

    /// Visitors are admitted, book some seconds later, and their bookings are decided in turn.
    struct Pipeline {
        pace: Pace,
        rate: f64,
        /// Bookings decided per second.
        capacity: f64,
        /// Seconds from admission to booking, on average.
        thinking: f64,
        /// Admitted visitors who have not booked.
        inside: f64,
        undecided: f64,
    }

    impl Pipeline {
        /// A pipeline at rest: as many are admitted as are decided.
        fn new(rate: f64, capacity: f64, thinking: f64) -> Self {
            let inside = rate.min(capacity) * thinking;
            Self {
                pace: Pace::new(Instant::now()),
                rate,
                capacity,
                thinking,
                inside,
                undecided: 0.0,
            }
        }

        /// Lets a second pass; returns the lag and how many were admitted.
        fn second(&mut self) -> (f64, f64) {
            let lag = self.undecided / self.capacity;
            let oldest = Duration::from_secs_f64(lag);
            let backlog = Backlog { oldest, ..Backlog::default() };
            self.pace.follow(&backlog, Instant::now());
            let admitted = self.rate * self.pace.factor();
            let step = 1.0 / f64::from(STEPS);
            for _ in 0..STEPS {
                let booked = self.inside * (1.0 - (-step / self.thinking).exp());
                self.inside += admitted * step - booked;
                self.undecided = (self.undecided + booked - self.capacity * step).max(0.0);
            }
            (lag, admitted)
        }

        fn seconds(&mut self, count: usize) -> Vec<(f64, f64)> {
            (0..count).map(|_| self.second()).collect()
        }
    }

    fn most(values: impl Iterator<Item = f64>) -> f64 {
        values.fold(0.0, f64::max)
    }

    #[test]
    fn nobody_is_slowed_while_the_queues_keep_up() {
        let mut pipeline = Pipeline::new(100.0, 110.0, 5.0);
        assert!(pipeline.seconds(300).iter().all(|(_, admitted)| *admitted > 99.9));
    }

    #[test]
    fn a_halved_allocator_is_followed_within_thirty_seconds_without_swinging() {
        for thinking in [1.0, 3.0, 5.0] {
            let mut pipeline = Pipeline::new(200.0, 200.0, thinking);
            pipeline.seconds(30);
            pipeline.capacity = 100.0;
            let first = pipeline.seconds(30);
            let peak = most(first.iter().map(|(lag, _)| *lag));
            assert!(peak < 10.0, "{peak} s behind with {thinking} s to think");
            let after = pipeline.seconds(270);
            for (lag, admitted) in &after {
                assert!((80.0..=120.0).contains(admitted), "{admitted}/s, {thinking} s to think");
                assert!(*lag < peak, "the depth is bounded");
            }
            // A remaining swing must become smaller.
            let swing =
                |seconds: &[(f64, f64)]| most(seconds.iter().map(|(_, a)| (a - 100.0).abs()));
            assert!(swing(&after[200..]) <= swing(&after[..70]) + 0.5);
            assert!(swing(&after[200..]) < 5.0);

            pipeline.capacity = 200.0;
            let back = pipeline.seconds(90);
            assert!(back[60..].iter().all(|(_, admitted)| *admitted > 180.0), "{thinking}");
        }
    }

    #[test]
    fn slow_visitors_and_absurd_rates_end_in_a_bounded_queue_too() {
        for (rate, capacity, thinking) in [(200.0, 100.0, 10.0), (10_000.0, 100.0, 1.0)] {
            let mut pipeline = Pipeline::new(rate, capacity, thinking);
            pipeline.seconds(900);
            let late = pipeline.seconds(600);
            let lag = most(late.iter().map(|(lag, _)| *lag));
            assert!(lag < 15.0, "{lag} s behind at {rate}/s");
            let total: f64 = late.iter().map(|(_, admitted)| admitted).sum();
            let mean = total / 600.0;
            assert!((0.9 * capacity..1.1 * capacity).contains(&mean), "{mean}/s at {rate}/s");
        }
    }

    #[test]
    fn a_queue_that_nobody_serves_stops_the_line() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let served = Backlog::default();
        pace.follow(&Backlog { silent: Duration::from_secs(6), ..served }, now);
        assert!(pace.is_stopped());
        assert!(pace.factor().abs() < f64::EPSILON);
        pace.follow(&served, now);
        assert!(!pace.is_stopped());
        pace.follow(&Backlog { oldest: Duration::from_secs(16), ..served }, now);
        assert!(pace.is_stopped());
    }

    #[test]
    fn a_backlog_that_cannot_be_read_stops_the_line_until_it_can() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(!pace.as_of(now + Duration::from_secs(5)).is_stopped());
        assert!(pace.as_of(now + Duration::from_secs(6)).is_stopped(), "not even once");
        pace.follow(&Backlog::default(), now + Duration::from_secs(6));
        assert!(!pace.as_of(now + Duration::from_secs(11)).is_stopped());
        assert!(pace.as_of(now + Duration::from_secs(12)).is_stopped(), "nor any more");
    }
}
