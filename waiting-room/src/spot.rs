//! A place and where it stands.

use chrono::DateTime;
use contract::{ShowId, TicketId, place_ticket::Place};

use crate::LineError;

/// A place, and its rank: the order in which the line is served. Those who were drawn by lot come
/// before all others (`DRAWN_MAX` in the scripts); without a lot the order is that of the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub place: Place,
    pub rank: u64,
}

impl Spot {
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
    let ticket: TicketId = ticket.parse().ok()?;
    let place = Place { ticket, account, show, lane: 0, epoch, number, joined_at, told: None };
    Some(Spot { place, rank })
}
