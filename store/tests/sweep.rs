//! The sweep finds what is due, wherever it is.

use store::bookings;

use crate::stage::Stage;

#[tokio::test]
async fn a_partition_that_has_more_due_than_can_be_swept_keeps_no_other_from_being_found() {
    let stage = Stage::build().await;
    let pool = &stage.pool;
    let (large, small) = (stage.show().await, stage.show().await);
    for (partition, n) in [(&large.tiers[0], 20_000), (&small.tiers[1], 1)] {
        sqlx::query(
            "insert into bookings (show_id, booking_id, account_id, tier, kind, status, seat_ids,
                 state, expires_at)
             select $1, gen_random_uuid(), $2, $3, 'HOLD', 'ALLOCATED', '{A1}', 'HELD',
                 clock_timestamp() - interval '1 minute'
             from generate_series(1, $4)",
        )
        .bind(partition.show.0)
        .bind(large.accounts[0].0)
        .bind(partition.tier.as_str())
        .bind(n)
        .execute(pool)
        .await
        .unwrap();
    }
    // Neither due nor over.
    sqlx::query(
        "insert into bookings (show_id, booking_id, account_id, tier, kind, status, seat_ids, state,
             expires_at)
         select $1, gen_random_uuid(), $2, $3, 'HOLD', 'ALLOCATED', '{A1}', 'HELD',
             clock_timestamp() + interval '1 hour'",
    )
    .bind(small.show.0)
    .bind(small.accounts[0].0)
    .bind(small.tiers[0].tier.as_str())
    .execute(pool)
    .await
    .unwrap();
    let mut due = bookings::partitions_with_due(pool).await.unwrap();
    due.sort_by_key(ToString::to_string);
    let mut wanted = vec![large.tiers[0].clone(), small.tiers[1].clone()];
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(due, wanted);
}
