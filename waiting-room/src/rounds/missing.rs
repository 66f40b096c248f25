//! Finding out what became of visitors who have a socket here but are not in the line.

use contract::{api::line::PlaceState, place_ticket::Place};
use futures_util::future::try_join_all;
use store::admissions;

use crate::{
    LineError,
    line::{Line, gate, signal::Signal},
    places::{self, Life, admitted},
    room::WaitingRoom,
    scripts::answers::Whereabouts,
};

/// Finds out what became of visitors who are not in the line, and tells them. Places that Redis has
/// lost are put back and returned.
pub(crate) async fn find_out(
    room: &WaitingRoom,
    line: &Line,
    missing: &[(Place, Whereabouts)],
) -> Result<Vec<Place>, LineError> {
    for (place, whereabouts) in missing {
        let ended = match whereabouts {
            Whereabouts::Left => PlaceState::Left,
            Whereabouts::Expired => PlaceState::Expired,
            _ => continue,
        };
        line.signal(place.ticket, Signal::Ended(ended));
    }
    let unsure = missing.iter().filter(|(_, whereabouts)| {
        matches!(whereabouts, Whereabouts::Admitted | Whereabouts::Unknown)
    });
    let unsure: Vec<Place> = unsure.map(|(place, _)| place.clone()).collect();
    let lost = tell_admitted(room, line, &unsure).await?;
    let mut back = Vec::new();
    for place in &lost {
        back.push(put_back(room, line, place));
    }
    try_join_all(back).await?;
    Ok(lost)
}

/// Tells visitors who are in the log that they are admitted; returns the other places.
async fn tell_admitted(
    room: &WaitingRoom,
    line: &Line,
    places: &[Place],
) -> Result<Vec<Place>, LineError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let tickets: Vec<_> = places.iter().map(|place| place.ticket).collect();
    let logged = admissions::of_tickets(&room.rounds, line.show, &tickets).await?;
    for admission in &logged {
        let signal = match admitted::life(*admission) {
            Life::Ended(ended) => Signal::Ended(ended),
            _ => Signal::Admitted(*admission),
        };
        line.signal(admission.ticket, signal);
    }
    let waits = |place: &&Place| !logged.iter().any(|known| known.ticket == place.ticket);
    Ok(places.iter().filter(waits).cloned().collect())
}

async fn put_back(room: &WaitingRoom, line: &Line, place: &Place) -> Result<(), LineError> {
    let Some((sale, _)) = room.sale(line.show) else { return Ok(()) };
    let back = Some((place.clone(), gate::was_drawn(&sale, place.joined_at)));
    let (_, _, spot) = places::claim(room, line, &sale, place.account, back).await?;
    if spot.place.ticket != place.ticket {
        // The account has another place by now.
        let ended = PlaceState::Expired;
        line.signal(place.ticket, Signal::Ended(ended));
    }
    Ok(())
}
