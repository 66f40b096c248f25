//! The plan of a visitor, drawn from a seed: the same seed sends the same crowd.

use std::time::Duration;

use fastrand::Rng;

/// What one visitor is going to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent habits, each drawn by itself")]
pub struct Plan {
    pub watches: Watches,
    /// Leaves the line if it still waits after this time.
    pub leaves_after: Option<Duration>,
    /// How long it stays after it was told that the show is sold out, since seats may come back.
    pub hopes_for: Duration,
    /// Loses the connection once, after this time, and comes back.
    pub drops_after: Option<Duration>,
    /// Picks seats on the map; otherwise takes the best available of a tier.
    pub chooses_seats: bool,
    pub quantity: u16,
    /// Holds seats and then orders; otherwise books in one step.
    pub holds_first: bool,
    /// Sends the booking twice with one key.
    pub clicks_twice: bool,
    /// Hears the outcome over a socket; otherwise asks with `Prefer: wait`.
    pub listens: bool,
    pub intent: Intent,
    /// Time to think before booking and before paying.
    pub thinks: Duration,
    /// Seed of the choices during the visit.
    pub seed: u64,
}

/// How a visitor follows the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watches {
    Socket,
    Stream,
    Poll,
}

/// What a visitor does with the seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    Pays,
    /// Holds seats and walks away.
    LetsHoldLapse,
    /// Orders seats and never pays.
    NeverPays,
    Cancels,
}

/// Visitors in a hundred who leave the line.
const LEAVE: u32 = 6;
const HOPE: u32 = 40;
const LOSE_CONNECTION: u32 = 4;
const CHOOSE_SEATS: u32 = 35;
const HOLD_FIRST: u32 = 30;
const CLICK_TWICE: u32 = 5;
const LISTEN: u32 = 50;
const LET_HOLD_LAPSE: u32 = 8;
const CANCEL: u32 = 10;
const NEVER_PAY: u32 = 5;
const STREAM: u32 = 3;
const POLL: u32 = 3;

impl Plan {
    /// Draws the next visitor.
    pub fn draw(rng: &mut Rng) -> Self {
        let intent = match rng.u32(0..100) {
            n if n < LET_HOLD_LAPSE => Intent::LetsHoldLapse,
            n if n < LET_HOLD_LAPSE + CANCEL => Intent::Cancels,
            n if n < LET_HOLD_LAPSE + CANCEL + NEVER_PAY => Intent::NeverPays,
            _ => Intent::Pays,
        };
        Self {
            watches: match rng.u32(0..100) {
                n if n < STREAM => Watches::Stream,
                n if n < STREAM + POLL => Watches::Poll,
                _ => Watches::Socket,
            },
            leaves_after: one_in_hundred(rng, LEAVE).then(|| millis(rng, 500..8_000)),
            hopes_for: if one_in_hundred(rng, HOPE) {
                millis(rng, 5_000..25_000)
            } else {
                Duration::ZERO
            },
            drops_after: one_in_hundred(rng, LOSE_CONNECTION).then(|| millis(rng, 200..4_000)),
            chooses_seats: one_in_hundred(rng, CHOOSE_SEATS),
            quantity: rng.u16(1..=4),
            holds_first: one_in_hundred(rng, HOLD_FIRST) || intent == Intent::LetsHoldLapse,
            clicks_twice: one_in_hundred(rng, CLICK_TWICE),
            listens: one_in_hundred(rng, LISTEN),
            intent,
            thinks: millis(rng, 50..1_500),
            seed: rng.u64(..),
        }
    }

    /// Draws the next visitor, who stays in the line, takes the best seat available and pays.
    pub fn buyer(rng: &mut Rng) -> Self {
        Self {
            leaves_after: None,
            drops_after: None,
            chooses_seats: false,
            quantity: 1,
            intent: Intent::Pays,
            ..Self::draw(rng)
        }
    }
}

/// True for `share` visitors in a hundred.
fn one_in_hundred(rng: &mut Rng, share: u32) -> bool {
    rng.u32(0..100) < share
}

fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(seed: u64, n: usize) -> Vec<Plan> {
        let mut rng = Rng::with_seed(seed);
        (0..n).map(|_| Plan::draw(&mut rng)).collect()
    }

    #[test]
    fn a_seed_sends_the_same_crowd_again() {
        assert_eq!(crowd(1, 500), crowd(1, 500));
        assert_ne!(crowd(1, 500), crowd(2, 500));
        // A larger crowd begins with the same visitors.
        assert_eq!(crowd(1, 500), crowd(1, 800)[..500]);
    }

    #[test]
    fn buyers_pay_for_one_seat_and_are_otherwise_like_all() {
        let mut rng = Rng::with_seed(3);
        for one in crowd(3, 500) {
            let pays = Plan { leaves_after: None, drops_after: None, intent: Intent::Pays, ..one };
            let buyer = Plan { quantity: 1, chooses_seats: false, ..pays };
            assert_eq!(Plan::buyer(&mut rng), buyer);
        }
    }

    #[test]
    fn the_mix_is_what_it_says() {
        let crowd = crowd(7, 20_000);
        let share = |which: fn(&Plan) -> bool| {
            crowd.iter().filter(|plan| which(plan)).count() * 100 / crowd.len()
        };
        assert!((5..=6).contains(&share(|plan| plan.leaves_after.is_some())));
        assert!((7..=8).contains(&share(|plan| plan.intent == Intent::LetsHoldLapse)));
        assert!((9..=10).contains(&share(|plan| plan.intent == Intent::Cancels)));
        assert!((34..=35).contains(&share(|plan| plan.chooses_seats)));
        assert!(crowd.iter().all(|plan| plan.intent != Intent::LetsHoldLapse || plan.holds_first));
    }
}
