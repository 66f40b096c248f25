//! The test kit: what the tests of several crates need. Not part of the product.

mod slot;
mod eventually;
mod account;
mod answer;
pub mod address;
pub mod mailbox;
pub mod proxy;
pub mod show;

pub use account::{account, token};
pub use answer::Answer;
pub use eventually::eventually;
pub use slot::Slot;
