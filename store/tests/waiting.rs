//! Messages that wait for a newer version.

use chrono::{DateTime, TimeDelta, Utc};
use contract::deadline::BOOKING_DEADLINE;
use store::waiting;
use testing::Slot;

/// By the clock of Postgres: that of the allocator may be wrong.
#[tokio::test]
async fn a_message_waits_no_longer_than_a_request_accepted_now() {
    let slot = Slot::take().await;
    let pool = slot.pool();
    let now: DateTime<Utc> =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&pool).await.unwrap();
    let (early, late) = (now + TimeDelta::seconds(1), now + TimeDelta::days(1));
    for (given, least) in
        [(None, now + BOOKING_DEADLINE), (Some(early), early), (Some(late), now + BOOKING_DEADLINE)]
    {
        let mut tx = pool.begin().await.unwrap();
        assert!(waiting::set_aside(&mut tx, "key", b"{}", "words", given).await.unwrap());
        let kept = "select deadline from waiting_messages";
        let kept: DateTime<Utc> = sqlx::query_scalar(kept).fetch_one(&mut *tx).await.unwrap();
        assert!((least..least + TimeDelta::seconds(30)).contains(&kept), "{kept} for {given:?}");
    }
}
