//! Times that two services must agree on, and how they relate.

use std::time::Duration;

/// Longest wait for a broker's confirm; past it the publish is *unknown*.
pub const CONFIRM_WAIT: Duration = Duration::from_secs(2);
/// How long after its acceptance a request may still be allocated; then it ends EXPIRED.
pub const BOOKING_DEADLINE: Duration = Duration::from_mins(15);
/// Longest time after its deadline until a queued request has its outcome.
pub const UNDECIDED_GRACE: Duration = Duration::from_mins(1);
/// Longest time after the deadline until an outcome is in the database. From then on, a request
/// without an outcome is shown as EXPIRED.
pub const BOOKING_GRACE: Duration = Duration::from_mins(2);
/// AMQP heartbeat: a frozen peer is noticed after about twice this.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a seat lock in Redis lasts while its booking is undecided.
pub const SEAT_LOCK_UNDECIDED: Duration = Duration::from_secs(30);
/// Longest `Prefer: wait`.
pub const PREFER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long `POST /holds` waits if the client does not say.
pub const HOLD_WAIT_DEFAULT: Duration = Duration::from_secs(5);
/// How long seats that came back are only for accounts that have not given back unpaid seats of the
/// show more than once.
pub const CAME_BACK_FOR_OTHERS: Duration = Duration::from_secs(3);
/// Leeway between the clocks of two nodes when a pass is checked.
pub const PASS_LEEWAY: Duration = Duration::from_secs(5);
/// Number of lifetimes after which a pass ends, however often it is renewed.
pub const PASS_LIFETIMES_MAX: u32 = 3;
/// Longest statement and longest idle transaction in Postgres.
pub const STATEMENT_MAX: Duration = Duration::from_secs(5);
/// Silence after which a store counts as unreachable. Shorter than [`STATEMENT_MAX`]: better hold
/// the line for one slow statement than admit visitors to a sale that does not go on.
pub const STORE_SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long an allocator may stay silent before its partitions move.
pub const ALLOCATOR_DEAD_AFTER: Duration = Duration::from_secs(3);
/// How often an allocator says it is alive.
pub const ALLOCATOR_HEARTBEAT: Duration = Duration::from_secs(1);

// A batch that begins just before a deadline has about ten statements to run.
const _: () = assert!(BOOKING_GRACE.as_secs() > 10 * STATEMENT_MAX.as_secs());
// An undecided seat lock must outlive the slowest transaction that decides it.
const _: () = assert!(SEAT_LOCK_UNDECIDED.as_secs() > 3 * STATEMENT_MAX.as_secs());
// A relay holds its rows locked while it publishes; the database must not cut it off before.
const _: () = assert!(CONFIRM_WAIT.as_secs() < STATEMENT_MAX.as_secs());
// Two missed heartbeats are a hiccup, three are a death.
const _: () = assert!(ALLOCATOR_DEAD_AFTER.as_secs() >= 3 * ALLOCATOR_HEARTBEAT.as_secs());
