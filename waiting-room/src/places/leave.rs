//! Giving a place back.

use contract::TicketId;
use store::admissions;

use crate::{
    LineError,
    line::Line,
    room::{WaitingRoom, recover},
    scripts::answers::{GivenBack, ScriptAnswer},
};

/// Gives a place back at once, and the pass with it where there is one.
pub(crate) async fn leave(
    room: &WaitingRoom,
    line: &Line,
    ticket: TicketId,
    may_have_pass: bool,
) -> Result<(), LineError> {
    // The pass is revoked before its slot is freed, so that a free slot has no valid pass.
    if may_have_pass {
        admissions::revoke(&room.pool, line.show, ticket).await?;
    }
    match room.store.leave(&line.keys, ticket).await? {
        ScriptAnswer::Known(GivenBack::Nothing) => {}
        ScriptAnswer::Known(given) => {
            metrics::counter!("usher_line_left_total").increment(1);
            if given == GivenBack::Pass && !may_have_pass {
                admissions::revoke(&room.pool, line.show, ticket).await?;
            }
        }
        ScriptAnswer::LineLost => recover::open_again(room, line).await?,
    }
    Ok(())
}
