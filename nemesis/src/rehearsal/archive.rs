//! The rows of past sales, as a large installation has them when it is upgraded.

use anyhow::Context as _;

use crate::run::Installation;

/// Bookings per insert, which then takes some seconds.
const AT_ONCE: u32 = 200_000;
/// The rows with the numbers from `$2` up to, but not including, `$3`, in each table that
/// migrations have changed since. One booking in ten was cancelled, the others were refused.
const ROWS: [&str; 4] = [
    "insert into bookings (show_id, booking_id, account_id, tier, kind, status, reason, ticket_id,
         state, seat_ids)
     select $1, ('00000000-0000-7000-8001-' || lpad(to_hex(n), 12, '0'))::uuid,
         ('00000000-0000-7000-8002-' || lpad(to_hex(n / 10), 12, '0'))::uuid, 'STANDARD', 'HOLD',
         (case n % 10 when 0 then 'ALLOCATED' else 'REJECTED' end)::booking_status,
         (case when n % 10 > 0 then 'SOLD_OUT' end)::rejection,
         ('00000000-0000-7000-8003-' || lpad(to_hex(n), 12, '0'))::uuid,
         (case n % 10 when 0 then 'CANCELLED' end)::booking_state,
         case n % 10 when 0 then array['A1'] end
     from generate_series($2::bigint, $3::bigint - 1) as n",
    "insert into account_quotas (show_id, account_id, live)
     select $1, ('00000000-0000-7000-8002-' || lpad(to_hex(n), 12, '0'))::uuid, 0
     from generate_series($2::bigint / 10, $3::bigint / 10 - 1) as n",
    "insert into accounts (account_id, name, email, password_hash)
     select ('00000000-0000-7000-8002-' || lpad(to_hex(n), 12, '0'))::uuid, 'Somebody',
         n || '@archive.example', '' from generate_series($2::bigint / 10, $3::bigint / 10 - 1) as n
     where $1::uuid is not null",
    "insert into idempotent_answers (account_id, idempotency_key, fingerprint, status, body)
     select ('00000000-0000-7000-8002-' || lpad(to_hex(n), 12, '0'))::uuid, 'a key', '', 200, '{}'
     from generate_series($2::bigint / 10, $3::bigint / 10 - 1) as n where $1::uuid is not null",
];

/// Adds bookings of past sales, and a tenth as many accounts.
pub(super) async fn fill(installation: &Installation, bookings: u32) -> anyhow::Result<()> {
    let show = installation.another_show().await?;
    let pool = store::connect_patiently(installation.arena.postgres_url()?, "archive")?;
    for from in (0..bookings).step_by(AT_ONCE as usize) {
        let end = from + AT_ONCE.min(bookings - from);
        for sql in ROWS {
            let insert = sqlx::query(sql).bind(show.0).bind(i64::from(from)).bind(i64::from(end));
            insert.execute(&pool).await.context("the archive is not filled")?;
        }
        println!("{end} of {bookings} bookings of before");
    }
    Ok(())
}
