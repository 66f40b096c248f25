//! Orders: made from a hold or in one step, paid, cancelled.

mod read;
mod place;
mod pay;
mod codes;

pub(crate) use codes::new_reference;
pub use pay::{Payment, confirm};
pub use place::{Placement, place};
pub use read::{by_id, by_reference, of_account, of_booking, of_bookings, ticket};
