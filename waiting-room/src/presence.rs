//! Who is there. Visitors who poll are heard of one by one; those with a socket are held by their
//! node, which says once a second that it is alive, so that presence costs the store the same
//! however many watch. What changes is told as it happens: sockets that closed, nodes that are
//! gone, visitors who have a socket here and whom the store counts as nobody's.

use contract::place_ticket::Place;
use tracing::{info, warn};

use crate::{
    LineError,
    answers::{Told, Whereabouts},
    line::Line,
    recover::{self, TICKETS_AT_ONCE},
    room::Room,
    scripts::Presence,
};

/// What a node still has to do about presence in a line.
#[derive(Default)]
pub(crate) struct Duties {
    /// The store does not know who has a socket here.
    pub hold_all: bool,
    /// A node is gone.
    pub forsake: bool,
    /// The store contradicts itself.
    pub mend: bool,
}

impl Duties {
    /// Does all of it. What fails is done in the next round.
    pub(crate) async fn run(&mut self, room: &Room, line: &Line) -> Result<(), LineError> {
        release(room, line).await?;
        if self.hold_all {
            let watched = line.visitors(|visitors| visitors.watched());
            if !watched.is_empty() {
                info!(show = %line.show, visitors = watched.len(), "this node holds its visitors anew");
            }
            hold(room, line, &watched).await?;
            self.hold_all = false;
        }
        let unheld = line.visitors(|visitors| visitors.take_unheld());
        if let Err(error) = hold(room, line, &unheld).await {
            self.hold_all = true;
            return Err(error);
        }
        if self.mend {
            let mended = room.store.mend(&line.keys).await?;
            self.mend = false;
            metrics::counter!("usher_line_mended_total").increment(mended);
            warn!(show = %line.show, visitors = mended, "redis had lost a part of the line");
        }
        if self.forsake {
            let forsaken = room.store.forsake(&line.keys).await?;
            self.forsake = false;
            metrics::counter!("usher_line_forsaken_total").increment(forsaken);
            warn!(show = %line.show, visitors = forsaken, "a node is gone; its visitors have their grace");
        }
        Ok(())
    }
}

/// Lets go of those whose sockets were closed.
async fn release(room: &Room, line: &Line) -> Result<(), LineError> {
    let gone = line.visitors(|visitors| visitors.take_gone());
    for (at, tickets) in gone.chunks(TICKETS_AT_ONCE).enumerate() {
        if let Err(error) = room.store.release(&line.keys, room.node, tickets).await {
            let left = gone[at * TICKETS_AT_ONCE..].iter().copied();
            line.visitors(|visitors| visitors.are_gone(left));
            return Err(error);
        }
    }
    Ok(())
}

/// Holds visitors who have a socket here, and puts those back into the line whom the store has
/// lost.
async fn hold(room: &Room, line: &Line, places: &[Place]) -> Result<(), LineError> {
    for some in places.chunks(TICKETS_AT_ONCE) {
        let missing = touch(room, line, some).await?;
        let back = recover::find_out(room, line, &missing).await?;
        if !back.is_empty() {
            touch(room, line, &back).await?;
        }
    }
    Ok(())
}

/// Those of them who are not in the line, and where they are.
async fn touch(
    room: &Room,
    line: &Line,
    places: &[Place],
) -> Result<Vec<(Place, Whereabouts)>, LineError> {
    let tickets: Vec<_> = places.iter().map(|place| place.ticket).collect();
    let held = Presence::HeldBy(room.node);
    let Told::Known(touched) = room.store.touch(&line.keys, &tickets, held, false).await? else {
        recover::open_again(room, line).await?;
        return Err(LineError::NotReady);
    };
    let missing = places.iter().zip(touched.tickets).filter_map(|(place, (whereabouts, _))| {
        let waits = whereabouts == Whereabouts::Waiting;
        (!waits).then(|| (place.clone(), whereabouts))
    });
    Ok(missing.collect())
}
