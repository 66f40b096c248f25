//! What became of a place, for those who watch it.

use contract::api::line::PlaceState;
use store::admissions::Admission;

/// What a watcher must know of its own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Waiting,
    Admitted(Admission),
    Ended(PlaceState),
}
