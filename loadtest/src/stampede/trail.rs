//! The numbers on a visitor's screen, and when they appeared.

use contract::TicketId;
use serde::{Deserialize, Serialize};

/// The numbers one visitor was told during the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    pub ticket: TicketId,
    /// Whether the visitor was picked at random, and not for its place near the front.
    pub drawn: bool,
    /// One sitting per connection.
    pub sittings: Vec<Sitting>,
}

/// The numbers of visitors ahead that one connection showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sitting {
    /// Milliseconds since 1970, and how many were ahead from then on.
    pub shown: Vec<(u64, u64)>,
    /// When the connection, or the recording, ended.
    pub until_ms: u64,
}

impl Trail {
    pub(super) fn new(ticket: TicketId, drawn: bool) -> Self {
        Self { ticket, drawn, sittings: Vec::new() }
    }

    /// Begins a sitting: the connection is open.
    pub(super) fn sit(&mut self) {
        self.sittings.push(Sitting::default());
    }

    /// Notes that a number appears on the screen.
    pub(super) fn shows(&mut self, at_ms: u64, ahead: u64) {
        if let Some(sitting) = self.sittings.last_mut() {
            sitting.shown.push((at_ms, ahead));
        }
    }

    /// Ends the sitting: the connection is gone.
    pub(super) fn rise(&mut self, at_ms: u64) {
        if let Some(sitting) = self.sittings.last_mut()
            && sitting.until_ms == 0
        {
            sitting.until_ms = at_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_shows_nothing_until_the_next_one() {
        let mut trail = Trail::new(TicketId::new(), true);
        trail.sit();
        trail.shows(10, 7);
        trail.shows(20, 5);
        trail.rise(25);
        trail.rise(90);
        trail.sit();
        trail.shows(40, 3);
        trail.rise(50);
        let expected = [
            Sitting { shown: vec![(10, 7), (20, 5)], until_ms: 25 },
            Sitting { shown: vec![(40, 3)], until_ms: 50 },
        ];
        assert_eq!(trail.sittings, expected);
    }
}
