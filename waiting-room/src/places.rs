//! What a visitor can do with a place: have one, ask about it, give it back.

pub(crate) mod admitted;
pub(crate) mod watch;

use chrono::{DateTime, SubsecRound as _, Utc};
use contract::{AccountId, TicketId, api::line::PlaceState, place_ticket::Place};
use store::{
    admissions::{self, Admission},
    board::Sale,
};

use crate::{
    LineError,
    line::{Line, desk::Claimed, gate},
    room::{Room, recover},
    scripts::{
        Joiner, Presence,
        answers::{GivenBack, Placed, Told, Whereabouts},
        spot::Spot,
    },
};

/// How somebody proves whose a place is.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Account(AccountId),
    Ticket(Place),
}

/// A place that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub place: Place,
    pub life: Life,
}

/// Where a place is in its life.
#[derive(Clone, Debug)]
pub(crate) enum Life {
    Waiting(Spot),
    Admitted(Admission),
    Ended(PlaceState),
}

impl Proof {
    /// Whom it speaks for.
    pub(crate) fn account(&self) -> AccountId {
        match self {
            Self::Account(account) => *account,
            Self::Ticket(place) => place.account,
        }
    }
}

impl Found {
    fn waiting(spot: Spot) -> Self {
        Self { place: spot.place.clone(), life: Life::Waiting(spot) }
    }
}

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

/// Gives an account its place in the store: the one it has, the one it comes back to, or the next.
pub(crate) async fn claim(
    room: &Room,
    line: &Line,
    sale: &Sale,
    account: AccountId,
    back: Option<(Place, bool)>,
) -> Result<Claimed, LineError> {
    // In ms, as the place ticket keeps it.
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

/// Finds a place; `None` where it is not theirs, or there is none.
pub(crate) async fn find(
    room: &Room,
    line: &Line,
    sale: &Sale,
    ticket: TicketId,
    proof: &Proof,
) -> Result<Option<Found>, LineError> {
    let touched = room.store.touch(&line.keys, &[ticket], Presence::Heard, true).await?;
    let (whereabouts, detail) = match touched {
        Told::Known(touched) => {
            line.heard();
            line.caught_up(touched.at).await?;
            touched.tickets.into_iter().next().unwrap_or((Whereabouts::Unknown, String::new()))
        }
        Told::Flushed => {
            if matches!(proof, Proof::Account(_)) {
                room.limits.question()?;
            }
            recover::open_again(room, line).await?;
            (Whereabouts::Unknown, String::new())
        }
    };
    let account = proof.account();
    let theirs = |found: Found| (found.place.account == account).then_some(found);
    match whereabouts {
        Whereabouts::Waiting | Whereabouts::Admitting if !detail.is_empty() => {
            let spot = Spot::parse(line.show, &ticket.to_string(), &detail)?;
            line.polled(&spot);
            Ok(theirs(Found::waiting(spot)))
        }
        Whereabouts::Left | Whereabouts::Expired => {
            let owner = detail.parse().map_err(|_| LineError::Unreadable(detail))?;
            let place = known_place(line, ticket, owner, proof, room.now());
            let ended = match whereabouts {
                Whereabouts::Left => PlaceState::Left,
                _ => PlaceState::Expired,
            };
            Ok(theirs(Found { place, life: Life::Ended(ended) }))
        }
        Whereabouts::Unknown if matches!(proof, Proof::Account(_)) => {
            room.limits.question()?;
            find_lost(room, line, sale, ticket, proof, &detail).await
        }
        _ => find_lost(room, line, sale, ticket, proof, &detail).await,
    }
}

/// A ticket that is not in the line: admitted, or lost and to be put back.
async fn find_lost(
    room: &Room,
    line: &Line,
    sale: &Sale,
    ticket: TicketId,
    proof: &Proof,
    record: &str,
) -> Result<Option<Found>, LineError> {
    if let Some(admission) = admitted::find(room, line, ticket).await? {
        let recorded = Spot::parse(line.show, &ticket.to_string(), record);
        let place = recorded.map_or_else(
            |_| known_place(line, ticket, admission.account, proof, admission.admitted_at),
            |spot| spot.place,
        );
        let found = Found { place, life: admitted::life(admission) };
        return Ok((admission.account == proof.account()).then_some(found));
    }
    let Proof::Ticket(place) = proof else { return Ok(None) };
    let ended = Found { place: place.clone(), life: Life::Ended(PlaceState::Expired) };
    if place.number == 0 {
        // Given out while there was no line.
        return Ok(Some(ended));
    }
    let back = (place.clone(), gate::was_drawn(sale, place.joined_at));
    let (how, at, spot) = claim(room, line, sale, place.account, Some(back)).await?;
    line.caught_up(at).await?;
    if spot.place.ticket != ticket || how == Placed::Admitted {
        return Ok(Some(ended));
    }
    line.polled(&spot);
    Ok(Some(Found::waiting(spot)))
}

/// Gives a place back at once, and the pass with it where there is one.
pub(crate) async fn leave(
    room: &Room,
    line: &Line,
    ticket: TicketId,
    may_have_pass: bool,
) -> Result<(), LineError> {
    // The pass first: a slot that is free is free of it.
    if may_have_pass {
        admissions::revoke(&room.pool, line.show, ticket).await?;
    }
    match room.store.leave(&line.keys, ticket).await? {
        Told::Known(GivenBack::Nothing) => {}
        Told::Known(given) => {
            metrics::counter!("usher_line_left_total").increment(1);
            if given == GivenBack::Pass && !may_have_pass {
                admissions::revoke(&room.pool, line.show, ticket).await?;
            }
        }
        Told::Flushed => recover::open_again(room, line).await?,
    }
    Ok(())
}

/// A place of which the store knows the owner only.
fn known_place(
    line: &Line,
    ticket: TicketId,
    account: AccountId,
    proof: &Proof,
    joined_at: DateTime<Utc>,
) -> Place {
    match proof {
        Proof::Ticket(place) if place.account == account => place.clone(),
        _ => Place {
            ticket,
            account,
            show: line.show,
            lane: 0,
            epoch: 0,
            number: 0,
            joined_at,
            told: None,
            stretch: None,
        },
    }
}
