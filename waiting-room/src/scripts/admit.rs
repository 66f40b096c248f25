//! Admitting visitors, and the slots they take under the cap.

use std::time::Duration;

use contract::{ShowId, TicketId};
use platform::number::millis;
use store::admissions::Admission;

use super::{
    answers::{self, ScriptAnswer},
    call::{ADMIT, LineStore, SETTLE, USED, note_behind, with_keys},
    keys::LineKeys,
    progress::Progress,
    spot::Spot,
};
use crate::LineError;

/// The bounds of one call of admission.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) room: &'a contract::api::catalogue::RoomSettings,
    /// Most visitors admitted in one call.
    pub(crate) at_most: u32,
    /// How long a lapsed pass still takes its slot.
    pub(crate) slot_grace: Duration,
    /// Most visitors who may be choosing seats at once.
    pub(crate) choosers_max: u32,
    /// How long an admitted visitor counts as choosing.
    pub(crate) chooses_for: Duration,
}

impl LineStore {
    /// Takes visitors from the head of the line, as far as the bucket, the cap and the stock allow.
    pub(crate) async fn admit(
        &self,
        show: ShowId,
        keys: &LineKeys,
        bounds: Bounds<'_>,
        known: Progress,
    ) -> Result<ScriptAnswer<Vec<Spot>>, LineError> {
        let Bounds { room, at_most, slot_grace, choosers_max, chooses_for } = bounds;
        let mut call = with_keys(&ADMIT, keys);
        call.arg(room.rate_per_second)
            .arg(room.burst)
            .arg(room.max_active.unwrap_or(0))
            .arg(at_most)
            .arg(millis(slot_grace))
            .arg(known.epoch)
            .arg(known.seq)
            .arg(choosers_max)
            .arg(millis(chooses_for));
        let answer: Vec<String> = self.run("admit", &call).await?;
        note_behind(show, &answer);
        answers::taken(show, &answer)
    }

    /// Records that admissions are in the log, or passes renewed: the visitors are active for the
    /// time that comes with each, or longer. Returns how many were not active before; `None` where
    /// Redis has lost the line.
    pub(crate) async fn settle(
        &self,
        keys: &LineKeys,
        admissions: impl Iterator<Item = (Admission, Duration)>,
    ) -> Result<Option<u64>, LineError> {
        let mut call = with_keys(&SETTLE, keys);
        for (admission, left) in admissions {
            call.arg(admission.ticket.to_string())
                .arg(millis(left))
                .arg(admission.admitted_at.timestamp_millis());
        }
        self.run("settle", &call).await
    }

    /// Frees the slots of used passes; returns how many slots came free.
    pub(crate) async fn used(
        &self,
        keys: &LineKeys,
        tickets: &[TicketId],
    ) -> Result<u64, LineError> {
        let mut call = with_keys(&USED, keys);
        for ticket in tickets {
            call.arg(ticket.to_string());
        }
        self.run("used", &call).await
    }

    /// Whether Redis counts a visitor as active.
    pub(crate) async fn is_active(
        &self,
        keys: &LineKeys,
        ticket: TicketId,
    ) -> Result<bool, LineError> {
        let ticket = ticket.to_string();
        let score: Option<f64> =
            self.query(redis::cmd("ZSCORE").arg(keys.active()).arg(ticket)).await?;
        Ok(score.is_some())
    }

    /// How many visitors count as choosing seats.
    pub(crate) async fn choosers(&self, keys: &LineKeys) -> Result<u64, LineError> {
        self.query(redis::cmd("ZCARD").arg(keys.choosing())).await
    }

    /// A page of the visitors who count as choosing seats, the longest first.
    pub(crate) async fn some_choosers(
        &self,
        keys: &LineKeys,
        from: usize,
        count: usize,
    ) -> Result<Vec<TicketId>, LineError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(keys.choosing()).arg(from).arg(from + count - 1);
        let tickets: Vec<String> = self.query(&range).await?;
        Ok(tickets.iter().filter_map(|ticket| ticket.parse().ok()).collect())
    }

    /// Counts nobody as choosing seats any more.
    pub(crate) async fn forget_choosers(&self, keys: &LineKeys) -> Result<(), LineError> {
        self.query(redis::cmd("DEL").arg(keys.choosing())).await.map(|_: u64| ())
    }

    /// Counts these visitors as choosing no more; returns how many of them had counted.
    pub(crate) async fn have_chosen(
        &self,
        keys: &LineKeys,
        tickets: &[TicketId],
    ) -> Result<usize, LineError> {
        let tickets: Vec<String> = tickets.iter().map(TicketId::to_string).collect();
        self.query(redis::cmd("ZREM").arg(keys.choosing()).arg(tickets)).await
    }
}
