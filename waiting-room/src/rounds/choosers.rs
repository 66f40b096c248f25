//! Counting the visitors who choose seats: those who are not to be waited for are taken out of the
//! count. How many there may be is said by [`stock`](mod@crate::line::stock).

use store::{admissions, sale::Sale};

use crate::{
    LineError,
    line::{Line, gate::Gate, stock::choosers_max},
    room::Room,
};

/// Choosers looked up at a time.
const PAGE: usize = 1_000;
/// Pages looked up in one go: with more choosers than that the last ones are only waited for.
const PAGES_MAX: usize = 10;

/// Takes those out of the count who are not to be waited for; once a second.
pub(crate) async fn look_after(
    room: &Room,
    line: &Line,
    sale: &Sale,
    gate: Gate,
) -> Result<(), LineError> {
    match gate {
        _ if line.is_empty() => Ok(()),
        Gate::Open => note_who_has_chosen(room, line, sale).await,
        // The door tells all of them that nothing is left. What comes back is for the next.
        Gate::AllHeld | Gate::SoldOut => room.store.forget_choosers(&line.keys).await,
        _ => Ok(()),
    }
}

/// Takes those out of the count who have an outcome. Not asked while there is room for twice as many:
/// then nobody waits for it.
async fn note_who_has_chosen(room: &Room, line: &Line, sale: &Sale) -> Result<(), LineError> {
    let (choosing, most) = (room.store.choosers(&line.keys).await?, choosers_max(sale));
    let show = line.show.to_string();
    #[expect(clippy::cast_precision_loss, reason = "counts of people are far below 2^52")]
    metrics::gauge!("usher_line_choosing", "show" => show.clone()).set(choosing as f64);
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
        let chosen = admissions::with_outcome(&room.pool, line.show, &some).await?;
        let gone = match &chosen[..] {
            [] => 0,
            chosen => room.store.have_chosen(&line.keys, chosen).await?,
        };
        from += some.len().saturating_sub(gone);
    }
    Ok(())
}
