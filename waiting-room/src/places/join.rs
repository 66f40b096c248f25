//! Joining a line, or coming back to it.

use contract::{AccountId, place_ticket::Place};
use store::{admissions, sale::Sale};

use super::{
    admitted,
    claim::claim,
    found::{Found, Life, Proof, known_place},
};
use crate::{
    LineError,
    line::{Line, gate},
    room::Room,
    scripts::{answers::Placed, spot::Spot},
};

/// Where a place ticket leads whoever joins with it.
pub(crate) enum Back {
    /// To a pass that is valid.
    Admitted(Found),
    /// To its place, in the line or lost with it; and whether it was drawn if it is not in a stretch.
    Place(Place, bool),
    /// The place has ended. Such a ticket proves nothing.
    Nowhere,
}

/// Finds out where a place ticket leads.
pub(crate) async fn back_to(
    room: &Room,
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
    Ok(Back::Admitted(Found { place, life: Life::Admitted(admission) }))
}

/// Gives an account its place in the line. Also says whether it is new.
pub(crate) async fn join(
    room: &Room,
    line: &Line,
    sale: &Sale,
    account: AccountId,
    back: Back,
) -> Result<(bool, Found), LineError> {
    let back = match back {
        Back::Admitted(found) => return Ok((false, found)),
        Back::Place(place, was_drawn) => Some((place, was_drawn)),
        Back::Nowhere => None,
    };
    let (how, at, spot) = claim(room, line, sale, account, back).await?;
    line.caught_up(at).await?;
    if how == Placed::Admitted
        && let Some(admission) = admitted::find(room, line, spot.place.ticket).await?
    {
        return Ok((false, Found { place: spot.place, life: Life::Admitted(admission) }));
    }
    if how == Placed::New
        && line.may_have_lost_passes()
        && let Some(found) = admitted_before_a_loss(room, line, &spot).await?
    {
        return Ok((false, found));
    }
    line.polled(&spot);
    Ok((how == Placed::New, Found::waiting(spot)))
}

/// The account's admission that the store has lost: then the place it was just given goes again.
async fn admitted_before_a_loss(
    room: &Room,
    line: &Line,
    spot: &Spot,
) -> Result<Option<Found>, LineError> {
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
    Ok(Some(Found { place, life: Life::Admitted(admission) }))
}
