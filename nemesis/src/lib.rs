//! The nemesis: a contended sale on the real binaries and private backends, faults drawn from a
//! seed, and checks that nothing was sold twice, lost, invented or changed.
//!
//! A [`run::Installation`] has its [`arena`] of backends and its [`fleet`] of services, two of each,
//! with a misbehaving [proxy](testing::proxy) on every link. A [`run::Script`] sends a crowd of
//! [`buyer`]s through the public API while the [`fault`]s happen; each leaves a [`story`], and the
//! [`check`]s compare the stories with the tables. [`control`] proves that the checks find the
//! damage if a guarantee is missing, [`failpoints`] that a process may die at every hand-off.

pub mod run;
mod ending;
pub mod arena;
pub mod fleet;
pub mod process;
pub mod probe;
pub mod fault;
pub mod schedule;
pub mod poison;
pub mod deadlock;
pub mod detour;
pub mod schema;
pub mod office;
pub mod sale;
pub mod buyer;
pub mod queue;
pub mod listener;
pub mod api;
pub mod story;
pub mod history;
pub mod check;
pub mod rare;
pub mod control;
pub mod failpoints;
pub mod rehearsal;
pub mod report;
