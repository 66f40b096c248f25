//! How far a line has got: its changes are counted, anew in each epoch.

/// A change of a line; a later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Progress {
    pub epoch: u32,
    pub seq: u64,
}
