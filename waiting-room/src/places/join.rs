//! Joining a line, or coming back to it.

use chrono::SubsecRound as _;
use contract::{AccountId, TicketId, place_ticket::Place};
use store::{admissions, sale::Sale};

use super::{
    admitted,
    found::{FoundPlace, Life, Proof, known_place},
};
use crate::{
    LineError,
    line::{Line, desk::Claimed, gate},
    room::WaitingRoom,
    scripts::{Joiner, answers::Placed, spot::Spot},
};

/// Where a place ticket leads a visitor who joins with it.
pub(crate) enum Back {
    /// To a valid pass.
    Admitted(FoundPlace),
    /// To its place, in the line or lost with it. The flag says whether a place of before there
    /// were stretches was drawn.
    Place(Place, bool),
    /// To nothing: the place has ended, and its ticket proves nothing.
    Nowhere,
}

/// Finds out where a place ticket leads.
pub(crate) async fn back_to(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
    place: Place,
) -> Result<Back, LineError> {
    if place.number == 0 || room.store.has_ended(&line.keys, place.ticket).await? {
        return Ok(Back::Nowhere);
    }
    let Some(admission) = admitted::find(room, line, place.ticket).await? else {
        let was_drawn = gate::was_drawn(sale, place.joined_at);
        return Ok(Back::Place(place, was_drawn));
    };
    if admission.spent.is_some() || admitted::expiry(room, line, &admission).await.is_none() {
        return Ok(Back::Nowhere);
    }
    Ok(Back::Admitted(FoundPlace { place, life: Life::Admitted(admission) }))
}

/// Gives an account its place in the line; also returns whether the place is new.
pub(crate) async fn join(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
    account: AccountId,
    back: Back,
) -> Result<(bool, FoundPlace), LineError> {
    let back = match back {
        Back::Admitted(found) => return Ok((false, found)),
        Back::Place(place, was_drawn) => Some((place, was_drawn)),
        Back::Nowhere => None,
    };
    let shown = back.as_ref().map(|(place, _)| (place.ticket, place.told));
    let (how, at, spot) = claim(room, line, sale, account, back).await?;
    line.caught_up(at).await?;
    if how == Placed::Admitted
        && let Some(admission) = admitted::find(room, line, spot.place.ticket).await?
    {
        return Ok((false, FoundPlace { place: spot.place, life: Life::Admitted(admission) }));
    }
    if how == Placed::New
        && line.may_have_lost_passes()
        && let Some(found) = admitted_before_a_loss(room, line, &spot).await?
    {
        return Ok((false, found));
    }
    let told = shown.filter(|(ticket, _)| *ticket == spot.place.ticket).and_then(|(_, told)| told);
    Ok((how == Placed::New, FoundPlace::waiting(line, spot, told)))
}

/// Gives an account its place in the store: the one it has, the one it comes back to, or the next.
pub(crate) async fn claim(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
    account: AccountId,
    back: Option<(Place, bool)>,
) -> Result<Claimed, LineError> {
    // The place ticket keeps milliseconds.
    let joined_at = room.now().trunc_subsecs(3);
    let joiner = Joiner {
        account,
        ticket: TicketId::new(),
        joined_at: joined_at.timestamp_millis(),
        rule: gate::rule(sale, joined_at),
        back,
    };
    line.desk.claim(joiner).await
}

/// The valid admission of an account that Redis has lost. If there is one, the place the account
/// was just given is taken back.
async fn admitted_before_a_loss(
    room: &WaitingRoom,
    line: &Line,
    spot: &Spot,
) -> Result<Option<FoundPlace>, LineError> {
    let account = spot.place.account;
    metrics::counter!("usher_line_asked_after_loss_total").increment(1);
    let Some(admission) = admissions::of_account(&room.pool, line.show, account).await? else {
        return Ok(None);
    };
    if admission.spent.is_some() || admitted::expiry(room, line, &admission).await.is_none() {
        return Ok(None);
    }
    room.store.leave(&line.keys, spot.place.ticket).await?;
    let proof = Proof::Account(account);
    let place = known_place(line, admission.ticket, account, &proof, admission.admitted_at);
    Ok(Some(FoundPlace { place, life: Life::Admitted(admission) }))
}
