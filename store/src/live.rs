//! Copies of stored data that a node keeps in memory, a moment old, so that requests need no query.

pub mod board;
pub mod revoked;
pub mod keys;
