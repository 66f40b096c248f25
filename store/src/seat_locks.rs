//! seat_locks
