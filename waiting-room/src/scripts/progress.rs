//! Numbers of a line's changes, counted from the start of each epoch.

/// The number of a change; a later change has a greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Progress {
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
}
