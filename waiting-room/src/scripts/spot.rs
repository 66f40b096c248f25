//! A place and its rank.

use chrono::DateTime;
use contract::{
    ShowId, TicketId,
    place_ticket::{InStretch, Place},
};

use crate::LineError;

/// A place, and its rank: the order in which the line is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) place: Place,
    pub(crate) rank: u64,
}

/// Highest rank of a drawn place from before there were stretches.
const OLD_DRAWN_MAX: u64 = 1 << 20;

impl Spot {
    /// Whether the place was drawn by lot.
    pub(crate) fn is_drawn(&self) -> bool {
        match self.place.stretch {
            Some(stretch) => stretch.past.is_some(),
            None => self.rank <= OLD_DRAWN_MAX,
        }
    }

    /// Reads the record of a ticket, as the scripts write it.
    pub(crate) fn parse(show: ShowId, ticket: &str, record: &str) -> Result<Self, LineError> {
        read(show, ticket, record)
            .ok_or_else(|| LineError::Unreadable(format!("ticket `{ticket}`, record `{record}`")))
    }
}

fn read(show: ShowId, ticket: &str, record: &str) -> Option<Spot> {
    let mut fields = record.split(' ');
    let account = fields.next()?.parse().ok()?;
    let number = fields.next()?.parse().ok()?;
    let rank = fields.next()?.parse().ok()?;
    let epoch = fields.next()?.parse().ok()?;
    let joined_at = DateTime::from_timestamp_millis(fields.next()?.parse().ok()?)?;
    let stretch = match (fields.next(), fields.next()) {
        (Some(base), Some(lot)) => {
            let past = if lot == "-" { None } else { Some(lot.parse().ok()?) };
            Some(InStretch { base: base.parse().ok()?, past })
        }
        _ => None,
    };
    let ticket: TicketId = ticket.parse().ok()?;
    let told = None;
    let place = Place { ticket, account, show, lane: 0, epoch, number, joined_at, told, stretch };
    Some(Spot { place, rank })
}
