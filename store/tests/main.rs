//! The store against a real database: the whole life of a booking, alone under a model and in a
//! crowd.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stage;
mod board;
mod rules;
mod command;
mod commits;
mod records;
mod model;
mod life;
mod rush;
mod upgrade;
mod size;
mod new_show;
mod large_catalogue;
mod words;
mod looks;
mod backlogs;
mod sweep;
mod deletion;
mod old;
mod waiting;
