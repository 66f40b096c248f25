//! What a visitor can do with a place: have one, ask about it, watch it, give it back.

mod found;
mod join;
mod find;
mod leave;
pub(crate) mod admitted;
pub(crate) mod watch;

pub(crate) use find::find;
pub(crate) use found::{FoundPlace, Life, Proof};
pub(crate) use join::{Back, back_to, claim, join};
pub(crate) use leave::leave;
