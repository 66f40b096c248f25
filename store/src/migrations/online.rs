//! Steps that replace migrations from the time when tables were small. They reach the same schema
//! without blocking sales, and are recorded as the migration that they replace.

/// The steps that replace a migration, if there are some. Each can be run again.
pub(super) fn steps(version: i64) -> Option<&'static [&'static str]> {
    (version == 20).then_some(&LINE)
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
