//! Seats that have just come back, for whatever reason. For a few seconds they are only for
//! accounts that have not given back seats of the show more than once. Otherwise an account that
//! gives seats back and takes them again at once could keep them for ever, because nobody else is
//! that fast.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use contract::{SeatLabel, deadline::CAME_BACK_FOR_OTHERS};

/// When each seat came back, by Postgres's clock. Bounded by the partition's seats. A seat that
/// came back before the session began is not known here, and is for everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct CameBack(HashMap<SeatLabel, DateTime<Utc>>);

impl CameBack {
    pub(crate) fn add(&mut self, seats: &[SeatLabel], at: DateTime<Utc>) {
        self.0.extend(seats.iter().map(|seat| (seat.clone(), at)));
    }

    /// The seats that came back shortly before `now`; the others are forgotten.
    pub(crate) fn lately(&mut self, now: DateTime<Utc>) -> HashSet<SeatLabel> {
        self.0.retain(|_, at| now < *at + CAME_BACK_FOR_OTHERS);
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_seat_is_for_everybody_again_after_some_seconds() {
        let mut came_back = CameBack::default();
        let (early, now) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::seconds(2));
        let seats = ["A1", "A2"].map(|label| label.parse::<SeatLabel>().unwrap());
        came_back.add(&seats, early);
        came_back.add(&seats[1..], now);
        assert_eq!(came_back.lately(now).len(), 2);
        let later = early + CAME_BACK_FOR_OTHERS;
        assert_eq!(came_back.lately(later), HashSet::from([seats[1].clone()]));
        assert!(came_back.lately(now + CAME_BACK_FOR_OTHERS).is_empty());
    }
}
