//! A show that has just opened, of which PostgreSQL's statistics know nothing.

use std::collections::HashMap;

use contract::{AccountId, BookingId, TicketId, booking::Kind};
use store::{
    StoreResult, acceptance,
    bookings::{self, Asked, Decided, Outcome, SeatsInAdvance},
    partitions,
};

use crate::stage::{Hall, Stage};

/// A large hall, of which every third seat was sold. Large, because the planner prefers an index with
/// fewer levels, and one that begins with the show and a tier has few.
const SOLD: [&str; 6] = [
    "insert into partitions (show_id, tier, name, price, general_admission, capacity, available)
     values ($1, 'VAST', 'vast', 100, false, 60000, 40000)",
    "insert into show_seats (show_id, seat_id, tier, row_index, seat_index)
     select $1, 'X' || n, 'VAST', 9, n from generate_series(1, 60000) as n",
    "insert into bookings (show_id, booking_id, account_id, tier, kind, status, seat_ids, state,
         ticket_id, idempotency_key, expires_at)
     select $1, md5($1::text || n)::uuid, md5('a' || n)::uuid, 'VAST', 'ORDER', 'ALLOCATED',
         array['X' || n], case n % 2 when 0 then 'CONFIRMED' else 'PAYMENT_PENDING' end::booking_state,
         md5($1::text || 't' || n)::uuid, 'k', clock_timestamp() + interval '1 hour'
     from generate_series(1, 20000) as n",
    "insert into seat_claims (show_id, seat_id, booking_id, state)
     select $1, 'X' || n, md5($1::text || n)::uuid, 'SOLD' from generate_series(1, 20000) as n",
    "insert into account_quotas (show_id, account_id, live)
     select $1, md5('a' || n)::uuid, 1 from generate_series(1, 20000) as n",
    "insert into admissions (show_id, ticket_id, account_id, lane, epoch, number)
     select $1, md5($1::text || 't' || n)::uuid, md5('a' || n)::uuid, 0, 0, n
     from generate_series(1, 20000) as n",
];
/// Most rows of one table that a batch of three bookings may read.
const READ_MAX: i64 = 50;

/// An index that begins with the show, of whatever else, looks as good then as the one that was
/// meant, and leads over every row of the show.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_reads_the_rows_of_its_bookings_and_not_those_of_the_show() -> StoreResult<()> {
    let stage = Stage::build().await;
    let sell = async |hall: &Hall| {
        for sql in SOLD {
            sqlx::query(sql).bind(hall.show.0).execute(&stage.pool).await.unwrap();
        }
    };
    // Autovacuum may come between, or not: once it has read the pages, an index alone answers.
    let off = "alter table show_seats set (autovacuum_enabled = off)";
    sqlx::query(off).execute(&stage.pool).await?;
    sell(&stage.show().await).await;
    sqlx::query("analyze").execute(&stage.pool).await?;
    let new = stage.show().await;
    sell(&new).await;
    let (show, tier) = (new.show, &new.tiers[0]);
    let epoch = partitions::begin_session(&stage.pool, tier, "clerk").await?;
    let terms = partitions::open(&stage.pool, tier).await?.terms;
    let accounts = &new.accounts[..3];
    let decided: Vec<Decided> = accounts
        .iter()
        .zip(&new.seats[0])
        .map(|(account, seat)| Decided {
            booking: BookingId::new(),
            account: *account,
            kind: Kind::Order,
            ticket: Some(TicketId::new()),
            idempotency_key: Some("key".into()),
            outcome: Outcome::Allocated { seats: vec![seat.clone()] },
        })
        .collect();
    // A connection that has read nothing yet.
    let pool = store::connect(&stage.database_url(), "clerk", 1).unwrap();
    let mut tx = pool.begin().await?;
    let now = partitions::lock(&mut tx, tier, Some(epoch)).await?.now;
    assert!(bookings::due(&mut tx, tier).await?.is_empty());
    let mut advance = SeatsInAdvance::default();
    let wanted: HashMap<AccountId, i32> = accounts.iter().map(|account| (*account, 1)).collect();
    advance.lock(&mut tx, show, &wanted).await?;
    let asked = Asked {
        bookings: decided.iter().map(|one| one.booking).collect(),
        keys: accounts.iter().map(|account| (*account, "key".into())).collect(),
        tickets: decided.iter().filter_map(|one| one.ticket).collect(),
    };
    bookings::known(&mut tx, show, &asked).await?;
    bookings::seats_held(&mut tx, tier, 20).await?;
    bookings::write_outcomes(&mut tx, tier, epoch, &terms, &decided, &advance, now).await?;
    acceptance::are_decided(&mut tx, tier, []).await?;
    let read: Vec<(String, i64)> = sqlx::query_as(
        "select relname::text, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
         from pg_stat_xact_user_tables where schemaname = 'public'",
    )
    .fetch_all(&mut *tx)
    .await?;
    let seats = read.iter().find(|(table, _)| table == "show_seats").map_or(0, |(_, rows)| *rows);
    assert!(seats >= 3, "what is read is counted: {read:?}");
    let walked: Vec<_> = read.into_iter().filter(|(_, rows)| *rows > READ_MAX).collect();
    assert!(walked.is_empty(), "{walked:?}");
    tx.commit().await?;
    Ok(())
}
