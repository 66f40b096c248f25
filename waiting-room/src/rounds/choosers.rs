//! Counting the visitors who choose seats: a visitor with an outcome no longer counts. The bound is
//! in [`stock`](mod@crate::line::stock).

use platform::number::float;
use store::{admissions, sale::Sale};

use crate::{
    LineError,
    line::{Line, gate::Gate, stock::choosers_max},
    room::WaitingRoom,
};

/// Choosers looked up at a time.
const PAGE: usize = 1_000;
/// Pages looked up in one round; choosers beyond them count until their time is over.
const PAGES_MAX: usize = 10;

/// Removes visitors from the count who no longer choose; called once a second.
pub(crate) async fn look_after(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
    gate: Gate,
) -> Result<(), LineError> {
    match gate {
        _ if line.is_empty() => Ok(()),
        Gate::Open => note_who_has_chosen(room, line, sale).await,
        // Every booking is refused now. Seats that come back are for the next visitors.
        Gate::AllHeld | Gate::SoldOut => room.store.forget_choosers(&line.keys).await,
        _ => Ok(()),
    }
}

/// Removes visitors with an outcome from the count. Does not ask the database while at most half of
/// the bound choose: then the bound holds nobody up.
async fn note_who_has_chosen(
    room: &WaitingRoom,
    line: &Line,
    sale: &Sale,
) -> Result<(), LineError> {
    let (choosing, most) = (room.store.choosers(&line.keys).await?, choosers_max(sale));
    let show = line.show.to_string();
    metrics::gauge!("usher_line_choosing", "show" => show.clone()).set(float(choosing));
    metrics::gauge!("usher_line_choosing_most", "show" => show).set(f64::from(most));
    if choosing <= u64::from(most / 2) {
        return Ok(());
    }
    let mut from = 0;
    for _ in 0..PAGES_MAX {
        let some = room.store.some_choosers(&line.keys, from, PAGE).await?;
        if some.is_empty() {
            break;
        }
        let chosen = admissions::with_outcome(&room.rounds, line.show, &some).await?;
        let gone = match &chosen[..] {
            [] => 0,
            chosen => room.store.have_chosen(&line.keys, chosen).await?,
        };
        from += some.len().saturating_sub(gone);
    }
    Ok(())
}
