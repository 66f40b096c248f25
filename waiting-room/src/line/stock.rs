//! How many visitors may be choosing seats at once, given how many seats are free: a pass is worth
//! something only where admitted visitors can find a seat.
//!
//! An admitted visitor *chooses* until a booking is decided, either way, the pass is given back, no
//! seat is left, or [`CHOOSES_FOR`] is over. That time keeps the line moving: a visitor who walks
//! away or thinks for long holds up the next one for a minute at most, and may still book after it.

use std::time::Duration;

use store::sale::Sale;

/// How long after admission a visitor counts as choosing.
pub(crate) const CHOOSES_FOR: Duration = Duration::from_mins(1);
/// Seats one visitor is expected to take, if the show allows it: people come in pairs.
const SEATS_EACH: u32 = 2;
/// Choosers for every two visitors there are seats for: one in three leaves without a booking.
const CHOOSERS_FOR_TWO: u32 = 3;
/// Choosers allowed beyond that: not every visitor wants the last seats.
const CHOOSERS_MORE: u32 = 3;

/// Most visitors who may be choosing seats of this sale.
pub(crate) fn choosers_max(sale: &Sale) -> u32 {
    let count = |seats: i32| u32::try_from(seats).unwrap_or(0);
    most(count(sale.available()), count(sale.max_seats_per_user))
}

fn most(free: u32, seats_per_user_max: u32) -> u32 {
    let each = SEATS_EACH.min(seats_per_user_max).max(1);
    free.saturating_mul(CHOOSERS_FOR_TWO).div_ceil(2 * each).saturating_add(CHOOSERS_MORE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_choose_where_two_find_seats_and_never_nobody() {
        assert_eq!(most(1000, 6), 753);
        assert_eq!(most(1000, 1), 1503);
        assert_eq!(most(1, 6), 4);
        assert_eq!(most(0, 6), 3);
        assert_eq!(most(7, 0), 14, "a limit of nothing is not divided by");
    }

    /// An endless crowd in front of a hall, in steps of a tenth of a second.
    struct Rush {
        /// Admitted per second.
        rate: u32,
        seats: u32,
        /// Mean of the time to choose, in seconds.
        thinks: f64,
        /// Visitors in a hundred who walk away without a booking.
        walk_away: u32,
        /// Whether admission depends on the stock.
        looks: bool,
    }

    /// What came of it.
    #[derive(Debug)]
    struct Sold {
        admitted: u32,
        found: u32,
        seconds: f64,
    }

    impl Sold {
        fn share(&self) -> f64 {
            f64::from(self.found) / f64::from(self.admitted)
        }
    }

    const STEP: f64 = 0.1;
    /// Seconds until a node hears of a booking.
    const HEARD_AFTER: f64 = 1.25;

    /// Numbers below one from a seed, the same in every run.
    struct Dice(u64);

    impl Dice {
        fn throw(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
        }

        fn below(&mut self, n: u32) -> u32 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let thrown = (self.throw() * f64::from(n)) as u32;
            thrown.min(n - 1)
        }
    }

    impl Rush {
        fn run(&self) -> Sold {
            let (mut dice, mut now, mut free) = (Dice(7), 0.0, self.seats);
            let (mut admitted, mut found) = (0, 0);
            // When each books, and how many seats.
            let mut minds: Vec<(f64, u32)> = Vec::new();
            // Until when each counts as choosing.
            let mut choosing: Vec<f64> = Vec::new();
            while free > 0 && now < 3600.0 {
                for (at, seats) in minds.extract_if(.., |(at, _)| *at <= now) {
                    if seats > 0 && free > 0 {
                        free -= seats.min(free);
                        found += 1;
                    }
                    let _ = at;
                }
                choosing.retain(|until| *until > now);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                let mut may = (f64::from(self.rate) * STEP) as u32;
                if self.looks {
                    let there = u32::try_from(choosing.len()).unwrap();
                    may = may.min(most(free, 6).saturating_sub(there));
                }
                for _ in 0..may {
                    let books_at = now - self.thinks * dice.throw().max(1e-9).ln();
                    let leaves = dice.below(100) < self.walk_away;
                    let forgotten = now + CHOOSES_FOR.as_secs_f64();
                    let seats = if leaves { 0 } else { 1 + dice.below(4) };
                    minds.push((books_at, seats));
                    choosing.push(if leaves {
                        forgotten
                    } else {
                        forgotten.min(books_at + HEARD_AFTER)
                    });
                }
                admitted += may;
                now += STEP;
            }
            assert_eq!(free, 0, "the hall is never sold out");
            Sold { admitted, found, seconds: now }
        }
    }

    #[test]
    fn more_than_half_of_those_let_in_find_a_seat_where_it_was_a_quarter() {
        for (thinks, walk_away) in [(20.0, 20), (5.0, 10)] {
            let rush = |looks| Rush { rate: 100, seats: 1000, thinks, walk_away, looks }.run();
            let (blind, looking) = (rush(false), rush(true));
            assert!(looking.share() > 0.55, "{looking:?}");
            assert!(looking.share() > 1.4 * blind.share(), "{looking:?} after {blind:?}");
            assert!(looking.seconds < 60.0, "and the hall is sold in one go: {looking:?}");
        }
    }

    #[test]
    fn few_seats_are_not_promised_to_hundreds() {
        let rush = |looks| Rush { rate: 100, seats: 10, thinks: 20.0, walk_away: 20, looks }.run();
        let (blind, looking) = (rush(false), rush(true));
        assert!(blind.admitted > 100, "{blind:?}");
        assert!(looking.admitted < 30, "{looking:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_hall_is_sold_whatever_visitors_do(
            seats in 1u32..400,
            thinks in 1.0f64..300.0,
            walk_away in 0u32..95,
        ) {
            // The run fails where the last seat is not sold within the hour.
            Rush { rate: 100, seats, thinks, walk_away, looks: true }.run();
        }
    }
}
