//! What became of a place, for its watchers.

use contract::api::line::PlaceState;
use store::admissions::Admission;

/// What a watcher must know about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Waiting,
    Admitted(Admission),
    Ended(PlaceState),
}
