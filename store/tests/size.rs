//! The audit of a large installation ends, and still finds what is wrong. A large hall is read, even
//! before PostgreSQL knows that it is large.

use std::{collections::HashMap, time::Duration};

use contract::SeatLabel;
use store::{
    audit::audit,
    catalogue::seat_map::{self, Taken},
    connect_patiently,
};
use tokio::time::Instant;

use crate::stage::Stage;

/// A nested loop over this many rows takes many minutes.
const SOON: Duration = Duration::from_mins(1);
/// Single seats that were sold, and accounts that have none.
const LARGE: [&str; 6] = [
    "insert into partitions (show_id, tier, name, price, general_admission, capacity, available)
     values ($1, 'VAST', 'vast', 100, false, 20000, 0)",
    "insert into show_seats (show_id, seat_id, tier, row_index, seat_index)
     select $1, 'X' || n, 'VAST', 9, n from generate_series(1, 20000) as n",
    "insert into bookings (show_id, booking_id, account_id, tier, kind, status, seat_ids, state)
     select $1, md5('b' || n)::uuid, md5('a' || n)::uuid, 'VAST', 'ORDER', 'ALLOCATED',
         array['X' || n], 'CONFIRMED'
     from generate_series(1, 20000) as n",
    "insert into seat_claims (show_id, seat_id, booking_id, state)
     select $1, 'X' || n, md5('b' || n)::uuid, 'SOLD' from generate_series(1, 20000) as n",
    "insert into account_quotas (show_id, account_id, live)
     select $1, md5('a' || n)::uuid, (n <= 20000)::integer from generate_series(1, 50000) as n",
    "analyze",
];

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_seats_and_fifty_thousand_buyers_are_counted() {
    let stage = Stage::build().await;
    let show = stage.show().await.show;
    let patient = connect_patiently(&stage.database_url(), "audit").unwrap();
    for sql in &LARGE[..5] {
        sqlx::query(*sql).bind(show.0).execute(&patient).await.unwrap();
    }
    let began = Instant::now();
    let found = audit(&patient, None, &[]).await.unwrap();
    assert!(found.is_clean(), "{found:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    sqlx::query(LARGE[5]).execute(&patient).await.unwrap();
    for sql in [
        "update account_quotas set live = 3 where account_id = md5('a7')::uuid",
        "update account_quotas set live = 1 where account_id = md5('a20007')::uuid",
        "update partitions set available = 1 where tier = 'VAST'",
    ] {
        sqlx::query(sql).execute(&patient).await.unwrap();
    }
    let found = audit(&patient, None, &[]).await.unwrap();
    assert_eq!((found.quotas_wrong, found.tiers_miscounted), (2, 1), "{found:?}");
    // And no limit ends a statement that takes long.
    sqlx::query("select pg_sleep(7)").execute(&patient).await.unwrap();
}

/// PostgreSQL's statistics know other shows alone, as until a minute after an opening.
#[tokio::test(flavor = "multi_thread")]
async fn the_taken_seats_of_a_large_hall_are_read_as_soon_as_it_is_open() {
    let stage = Stage::build().await;
    let small = stage.show().await.show;
    let claims = "insert into seat_claims (show_id, seat_id, booking_id, state)
                  select show_id, seat_id, gen_random_uuid(), 'SOLD' from show_seats";
    let bookings = "insert into bookings (show_id, booking_id, account_id, tier, kind, status,
                        seat_ids, state)
                    select show_id, booking_id, gen_random_uuid(), 'STALLS', 'ORDER', 'ALLOCATED',
                        array[seat_id], 'CONFIRMED'
                    from seat_claims";
    for sql in [claims, bookings, "analyze"] {
        sqlx::query(sql).execute(&stage.pool).await.unwrap();
    }
    let show = stage.show().await.show;
    for sql in &LARGE[..4] {
        sqlx::query(*sql).bind(show.0).execute(&stage.pool).await.unwrap();
    }
    let taken = seat_map::taken(&stage.pool, show).await.expect("within the time of a statement");
    assert_eq!(taken.len(), 20_000);
    let of = |label: &str| label.parse::<SeatLabel>().unwrap();
    let some = seat_map::taken_of(&stage.pool, show, &[of("X7"), of("A1")]).await.unwrap();
    assert_eq!(some, HashMap::from([(of("X7"), Taken::Sold)]));
    let map = seat_map::read(&stage.pool, show).await.expect("in time, too").unwrap();
    assert!(map.unavailable_seat_ids.contains(&of("X20000")));
    assert!(!seat_map::taken(&stage.pool, small).await.unwrap().is_empty());
}
