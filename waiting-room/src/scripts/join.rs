//! Taking places, and giving them back.

use chrono::TimeDelta;
use contract::{
    AccountId, ShowId, TicketId,
    place_ticket::{InStretch, Place},
};
use redis::ScriptInvocation;
use store::line_marks::{ReservedNumbers, Rule};

use super::{
    answers::{GivenBack, Joined, ScriptAnswer},
    call::{JOIN, LEAVE, LineStore, add_stretch, note_behind, with_keys},
    keys::LineKeys,
    progress::Progress,
};
use crate::LineError;

/// An account that asks for a place.
pub(crate) struct Joiner {
    pub(crate) account: AccountId,
    /// The ticket of a new place.
    pub(crate) ticket: TicketId,
    /// Milliseconds since the epoch.
    pub(crate) joined_at: i64,
    /// How a new place is ordered; without a rule, as the line's last places.
    pub(crate) rule: Option<Rule>,
    /// The place to come back to, and whether a place from before there were stretches was drawn.
    pub(crate) back: Option<(Place, bool)>,
}

impl LineStore {
    /// Gives accounts their places.
    pub(crate) async fn join(
        &self,
        show: ShowId,
        keys: &LineKeys,
        joiners: impl Iterator<Item = &Joiner>,
        lot: &[u8],
        reserved: Option<ReservedNumbers>,
        known: Progress,
    ) -> Result<ScriptAnswer<Joined>, LineError> {
        let answer: Vec<String> =
            self.run("join", &joining(keys, joiners, lot, reserved, known)).await?;
        note_behind(show, &answer);
        Joined::read(show, &answer)
    }

    /// Gives a place back.
    pub(crate) async fn leave(
        &self,
        keys: &LineKeys,
        ticket: TicketId,
    ) -> Result<ScriptAnswer<GivenBack>, LineError> {
        let mut call = with_keys(&LEAVE, keys);
        call.arg(ticket.to_string());
        let answer: String = self.run("leave", &call).await?;
        GivenBack::read(&answer)
    }

    /// Whether the account has a place.
    pub(crate) async fn has_place(
        &self,
        keys: &LineKeys,
        account: AccountId,
    ) -> Result<bool, LineError> {
        let account = account.to_string();
        self.query(redis::cmd("HEXISTS").arg(keys.accounts()).arg(account)).await
    }

    /// Whether a place has ended; Redis remembers that for a day.
    pub(crate) async fn has_ended(
        &self,
        keys: &LineKeys,
        ticket: TicketId,
    ) -> Result<bool, LineError> {
        self.query(redis::cmd("HEXISTS").arg(keys.ended()).arg(ticket.to_string())).await
    }

    /// Notes that a challenge is used, until it expires after `left`; returns whether this is its
    /// first use.
    pub(crate) async fn is_first_use(
        &self,
        keys: &LineKeys,
        challenge: &str,
        left: TimeDelta,
    ) -> Result<bool, LineError> {
        let mut command = redis::cmd("SET");
        command.arg(keys.solved(challenge)).arg(1).arg("NX");
        // A time span and not a moment, since the clocks need not agree.
        command.arg("EX").arg(left.num_seconds().max(0) + 60);
        let was_set: Option<String> = self.query(&command).await?;
        Ok(was_set.is_some())
    }
}

/// The call that gives accounts their places.
pub(crate) fn joining<'a>(
    keys: &LineKeys,
    joiners: impl Iterator<Item = &'a Joiner>,
    lot: &[u8],
    reserved: Option<ReservedNumbers>,
    known: Progress,
) -> ScriptInvocation<'static> {
    let mut call = with_keys(&JOIN, keys);
    call.arg(lot);
    match reserved {
        Some(numbers) => {
            call.arg(numbers.epoch).arg(numbers.up_to);
            add_stretch(&mut call, numbers.stretch);
        }
        None => _ = call.arg(["0"; 5].as_slice()),
    }
    call.arg(known.epoch).arg(known.seq);
    for joiner in joiners {
        call.arg(joiner.account.to_string())
            .arg(joiner.ticket.to_string())
            .arg(joiner.joined_at)
            .arg(joiner.rule.map_or(0, |rule| rule.version))
            .arg(u8::from(joiner.rule.is_some_and(|rule| rule.drawn)));
        let Some((place, drawn)) = &joiner.back else {
            call.arg(["", "0", "0", "0", "", "0"].as_slice());
            continue;
        };
        call.arg(place.ticket.to_string())
            .arg(place.number)
            .arg(place.epoch)
            .arg(place.joined_at.timestamp_millis());
        match place.stretch {
            Some(InStretch { base, past: Some(past) }) => call.arg(base).arg(past),
            Some(InStretch { base, past: None }) => call.arg(base).arg("-"),
            None => call.arg("").arg(u8::from(*drawn)),
        };
    }
    call
}
