//! What a node keeps in memory of what is stored, a moment old, so that a request asks no database.

pub mod board;
pub mod revoked;
pub mod keys;
