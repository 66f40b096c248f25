//! Claiming a place at the desk of its line.

use chrono::SubsecRound as _;
use contract::{AccountId, TicketId, place_ticket::Place};
use store::sale::Sale;

use crate::{
    LineError,
    line::{Line, desk::Claimed, gate},
    room::WaitingRoom,
    scripts::Joiner,
};

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
