//! Steps that replace migrations from the time when tables were small. They reach the same schema
//! without blocking sales, and are recorded as the migration that they replace.

/// The steps that replace a migration, if there are some. Each can be run again.
pub(super) fn steps(version: i64) -> Option<&'static [&'static str]> {
    match version {
        20 => Some(&LINE),
        22 => Some(&ACCEPTANCE),
        _ => None,
    }
}

/// `0020_line.sql` builds four indexes in the transaction that locks the table.
const LINE: [&str; 5] = [
    "alter table admissions add column if not exists valid_until timestamptz,
         add column if not exists revoked_at timestamptz",
    "create index concurrently if not exists admissions_by_account
         on admissions (show_id, account_id, admitted_at desc)",
    "create index concurrently if not exists admissions_by_time
         on admissions (show_id, admitted_at, ticket_id)",
    "create index concurrently if not exists admissions_revoked
         on admissions (revoked_at) where revoked_at is not null",
    "create index concurrently if not exists orders_confirmed
         on orders (show_id, confirmed_at) where confirmed_at is not null",
];

/// `0022_acceptance.sql` builds an index on a table that it has locked, and locks three tables that
/// sales write to, one after the other, until its end.
const ACCEPTANCE: [&str; 5] = [
    "create table if not exists accepted (
         show_id uuid not null,
         tier text not null,
         producer_id uuid not null,
         numbers int8multirange not null default '{}',
         began_at timestamptz not null default clock_timestamp(),
         told_at timestamptz not null default clock_timestamp(),
         sealed_at timestamptz,
         primary key (show_id, tier, producer_id)
     );
     comment on table accepted is 'Requests that the broker has confirmed, by number. What is here and not in decided was accepted and has no outcome.';
     create index if not exists accepted_told_at on accepted (told_at)",
    "create table if not exists decided (
         show_id uuid not null,
         tier text not null,
         producer_id uuid not null,
         numbers int8multirange not null,
         primary key (show_id, tier, producer_id)
     );
     comment on table decided is 'Requests that have their outcome, by number; written in the transaction that decides.'",
    // Whoever writes a backlog locks `backlogs` first, and then the row of `partitions`, as this does.
    "alter table backlogs add column if not exists served_by uuid,
         drop constraint if exists backlogs_show_id_tier_fkey",
    "create index concurrently if not exists partitions_with_queue
         on partitions (show_id, tier) where queue_ready_at is not null",
    "alter table allocators add column if not exists writes_numbers boolean not null default false",
];
