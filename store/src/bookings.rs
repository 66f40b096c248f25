//! Bookings: what was decided, the claims that go with it, the order that is made and paid, and how
//! a live booking ends. [`contract::booking`] says which states may follow each other.
//!
//! PostgreSQL does not know how many rows a show has that has just opened, and takes it for a few.
//! Then it joins a list by reading all rows of the show for each of the list. Where a list is
//! joined with a show's rows, a lateral subquery with `offset 0`, which the planner does not
//! rewrite, finds each by the index.

mod facts;
mod quotas;
mod claims;
mod prices;
mod codes;
mod outcome;
mod record;
mod refusal;
mod place;
mod confirm;
mod end;
mod sweep;
mod view;
mod looker;
mod fate;

pub use confirm::{Payment, confirm};
pub use end::{Ended, end, end_one};
pub use facts::{Asked, Known, known, seats_held};
pub use fate::{Fate, LastTry, expire, fate, is_over, remember};
pub use looker::{Look, Looker};
pub use outcome::{Decided, Outcome};
pub use place::{Placement, place};
pub use quotas::{Quota, SeatsInAdvance, lock_quotas};
pub use record::write_outcomes;
pub use refusal::{Refusal, keep_parked, refuse};
pub use sweep::{due, partitions_with_due, sweep};
pub use view::{View, Views, view, view_hold, view_many};
