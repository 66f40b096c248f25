//! The line in Redis: one Lua script per operation.

mod call;
mod open;
mod join;
mod presence;
mod admit;
pub(crate) mod keys;
pub(crate) mod spot;
pub(crate) mod progress;
pub(crate) mod answers;
pub(crate) mod change;

pub(crate) use admit::Bounds;
pub(crate) use call::LineStore;
pub(crate) use join::Joiner;
#[cfg(feature = "testing")]
pub(crate) use join::joining;
pub(crate) use presence::{NodeId, Presence};
