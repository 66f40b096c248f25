//! Bookings: what was decided, the claims that go with it, and how a live booking ends.

mod facts;
mod record;
mod refusal;
mod end;
mod view;
mod looker;
mod fate;

pub use end::{Ended, due, end, end_one};
pub use facts::{Quota, decided, keys_used, lock_quotas, passes_used, seats_held};
pub use fate::{Fate, LastTry, expire, fate, is_over, remember};
pub use looker::{Look, Looker};
pub use record::{Decided, Outcome, commit_outcomes};
pub use refusal::{Refusal, keep_parked, refuse};
pub use view::{Seen, Sight, seen, seen_hold, seen_many};
