//! The waiting room against real backends.

mod harness;
mod joining;
mod admission;
mod sockets;
mod recovery;
