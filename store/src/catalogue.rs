//! What is shown, where, and when. Retired things keep their rows and no longer appear in answers.

mod literal;
mod to_come;
pub mod movies;
pub mod theatres;
pub mod screens;
pub mod seats;
pub mod shows;
pub mod seat_map;

pub use to_come::{Overlap, Retirement, overlap};
