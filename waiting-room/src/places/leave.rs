//! Giving a place back.

use contract::TicketId;
use store::admissions;

use crate::{
    LineError,
    line::Line,
    room::{Room, recover},
    scripts::answers::{GivenBack, Told},
};

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
