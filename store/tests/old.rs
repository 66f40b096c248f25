//! Old rows are deleted in small portions, without reading rows that are not old.

use std::time::Duration;

use store::{Pool, acceptance, idempotency, partitions};
use testing::eventually;

use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(20);

/// Whether the index was used; a connection reports that about once a second.
async fn is_used(pool: &Pool, index: &str) -> bool {
    let scans =
        "select count(*) from pg_stat_user_indexes where indexrelname = $1 and idx_scan > 0";
    sqlx::query_scalar::<_, i64>(scans).bind(index).fetch_one(pool).await.unwrap() > 0
}

async fn run(pool: &Pool, statements: &[&'static str]) {
    for sql in statements {
        sqlx::query(*sql).execute(pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_numbers_are_forgotten_some_thousands_at_a_time() {
    let stage = Stage::build().await;
    run(
        &stage.pool,
        &[
            "insert into accepted (show_id, tier, producer_id, numbers, told_at)
             select md5('s')::uuid, 'A', md5('p' || n)::uuid, '{[0,9)}',
                 clock_timestamp() - interval '8 days'
             from generate_series(1, 25000) as n",
            "insert into decided (show_id, tier, producer_id, numbers)
             select show_id, tier, producer_id, numbers from accepted",
            "insert into accepted (show_id, tier, producer_id, numbers, told_at)
             values (md5('s')::uuid, 'A', md5('undecided')::uuid, '{[0,9)}',
                     clock_timestamp() - interval '8 days'),
                 (md5('s')::uuid, 'A', md5('nothing')::uuid, '{}',
                     clock_timestamp() - interval '8 days'),
                 (md5('s')::uuid, 'A', md5('young')::uuid, '{[0,9)}', clock_timestamp())",
            "insert into decided (show_id, tier, producer_id, numbers)
             values (md5('s')::uuid, 'A', md5('young')::uuid, '{[0,9)}')",
            "create function too_many() returns trigger language plpgsql as $$
             begin
                 if (select count(*) > 10000 from gone) then raise 'too many at once'; end if;
                 return null;
             end $$",
            "create trigger in_bites after delete on accepted referencing old table as gone
             for each statement execute function too_many()",
        ],
    )
    .await;
    assert_eq!(acceptance::forget_old(&stage.pool).await.unwrap(), 25_001);
    for (count, left) in [("select count(*) from accepted", 2), ("select count(*) from decided", 1)]
    {
        let n: i64 = sqlx::query_scalar(count).fetch_one(&stage.pool).await.unwrap();
        assert_eq!(n, left, "{count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_answers_are_found_by_their_age() {
    let stage = Stage::build().await;
    run(
        &stage.pool,
        &[
            "insert into idempotent_answers
                 (account_id, idempotency_key, fingerprint, status, body, created_at)
             select account_id, 'key ' || n, '', 200, '{}',
                 clock_timestamp() - case when n <= 5 then interval '25 hours' else '0' end
             from generate_series(1, 20000) as n, (select account_id from accounts limit 1) as a",
            "analyze idempotent_answers",
        ],
    )
    .await;
    assert_eq!(idempotency::forget_old(&stage.pool, 3).await.unwrap(), 3, "no more at once");
    assert_eq!(idempotency::forget_old(&stage.pool, 3).await.unwrap(), 2);
    eventually("the index is used", SOON, async || {
        assert_eq!(idempotency::forget_old(&stage.pool, 3).await.unwrap(), 0);
        is_used(&stage.pool, "idempotent_answers_by_age").await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_of_long_ago_cost_nothing_when_sales_are_opened() {
    let stage = Stage::build().await;
    stage.show().await;
    run(
        &stage.pool,
        &[
            "insert into shows (show_id, movie_id, theatre_id, screen_id, starts_at,
                 sale_opens_at, sale_closes_at, sale_state, currency, max_seats_per_user,
                 hold_seconds, order_seconds, opens_itself)
             select gen_random_uuid(), movie_id, theatre_id, screen_id, starts_at - ago,
                 sale_opens_at - ago, sale_closes_at - ago, 'SCHEDULED', currency,
                 max_seats_per_user, hold_seconds, order_seconds, true
             from shows, generate_series(0, 5000) as n,
                 lateral (select n * interval '1 day' as ago) as a",
            "analyze shows",
        ],
    )
    .await;
    assert_eq!(partitions::open_due_sales(&stage.pool).await.unwrap(), 1);
    eventually("the index is used", SOON, async || {
        assert_eq!(partitions::open_due_sales(&stage.pool).await.unwrap(), 0);
        is_used(&stage.pool, "shows_by_start").await.then_some(())
    })
    .await;
}
