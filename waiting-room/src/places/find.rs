//! Finding a place: in the line, in the log of admissions, or lost and put back.

use contract::{TicketId, api::line::PlaceState};
use store::sale::Sale;

use super::{
    admitted,
    found::{FoundPlace, Life, Proof, known_place},
    join::claim,
};
use crate::{
    LineError,
    line::{Line, gate},
    room::{WaitingRoom, recover},
    scripts::{
        Presence,
        answers::{Placed, ScriptAnswer, Whereabouts},
        spot::Spot,
    },
};

/// Finds a place; `None` where there is none, or it belongs to another account.
pub(crate) async fn find(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
    ticket: TicketId,
    proof: &Proof,
) -> Result<Option<FoundPlace>, LineError> {
    let touched = room.store.touch(&line.keys, &[ticket], Presence::Heard, true).await?;
    let (whereabouts, detail) = match touched {
        ScriptAnswer::Known(touched) => {
            line.heard();
            line.caught_up(touched.at).await?;
            touched.tickets.into_iter().next().unwrap_or((Whereabouts::Unknown, String::new()))
        }
        ScriptAnswer::LineLost => {
            if matches!(proof, Proof::Account(_)) {
                room.limits.question()?;
            }
            recover::open_again(room, line).await?;
            (Whereabouts::Unknown, String::new())
        }
    };
    let account = proof.account();
    let theirs = |found: FoundPlace| (found.place.account == account).then_some(found);
    match whereabouts {
        Whereabouts::Waiting | Whereabouts::Admitting if !detail.is_empty() => {
            let spot = Spot::parse(line.show, &ticket.to_string(), &detail)?;
            Ok(theirs(FoundPlace::waiting(line, spot, proof.told())))
        }
        Whereabouts::Left | Whereabouts::Expired => {
            let owner = detail.parse().map_err(|_| LineError::Unreadable(detail))?;
            let place = known_place(line, ticket, owner, proof, room.now());
            let ended = match whereabouts {
                Whereabouts::Left => PlaceState::Left,
                _ => PlaceState::Expired,
            };
            Ok(theirs(FoundPlace { place, life: Life::Ended(ended) }))
        }
        Whereabouts::Unknown if matches!(proof, Proof::Account(_)) => {
            room.limits.question()?;
            find_lost(room, line, sale, ticket, proof, &detail).await
        }
        _ => find_lost(room, line, sale, ticket, proof, &detail).await,
    }
}

/// Finds a place that is not in the line: admitted, ended, or lost and now put back.
async fn find_lost(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
    ticket: TicketId,
    proof: &Proof,
    record: &str,
) -> Result<Option<FoundPlace>, LineError> {
    if let Some(admission) = admitted::find(room, line, ticket).await? {
        let recorded = Spot::parse(line.show, &ticket.to_string(), record);
        let place = recorded.map_or_else(
            |_| known_place(line, ticket, admission.account, proof, admission.admitted_at),
            |spot| spot.place,
        );
        let found = FoundPlace { place, life: admitted::life(admission) };
        return Ok((admission.account == proof.account()).then_some(found));
    }
    let Proof::Ticket(place) = proof else { return Ok(None) };
    let ended = FoundPlace { place: place.clone(), life: Life::Ended(PlaceState::Expired) };
    if place.number == 0 {
        // A place of a show without a waiting room.
        return Ok(Some(ended));
    }
    let back = (place.clone(), gate::was_drawn(sale, place.joined_at));
    let (how, at, spot) = claim(room, line, sale, place.account, Some(back)).await?;
    line.caught_up(at).await?;
    if spot.place.ticket != ticket || how == Placed::Admitted {
        return Ok(Some(ended));
    }
    Ok(Some(FoundPlace::waiting(line, spot, proof.told())))
}
