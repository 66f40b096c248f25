//! After any change, reading what has changed on the board shows the same as reading all of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use contract::ShowId;
use store::{
    Pool,
    live::board::{self, Board},
    many,
};
use tokio::time::sleep;

use crate::stage::Stage;

fn seen(board: &Board) -> Vec<String> {
    let mut sales: Vec<String> = board.sales().map(|sale| format!("{sale:?}")).collect();
    sales.sort();
    sales
}

async fn change(pool: &Pool, statement: &'static str, show: ShowId) {
    let changed = sqlx::query(statement).bind(show.0).execute(pool).await.unwrap();
    assert!(changed.rows_affected() > 0, "{statement}");
}

#[tokio::test]
async fn a_board_read_by_changes_is_the_whole_board_and_takes_over_what_did_not_change() {
    let stage = Stage::build().await;
    let (pool, show) = (&stage.pool, stage.show().await.show);
    let others = many::copy_on_sale(pool, show, 3).await.unwrap();
    let mut last = board::read(pool).await.unwrap();
    assert_eq!(last.sales().count(), 4);
    for statement in [
        "update partitions set available = available - 1, version = version + 1 where show_id = $1",
        "update partitions set queue_ready_at = clock_timestamp() where show_id = $1",
        "update shows set room_paused = true where show_id = $1",
        "update shows set sale_state = 'CLOSED' where show_id = $1",
        "update shows set retired_at = clock_timestamp() where show_id = $1",
        "update shows set retired_at = null where show_id = $1",
    ] {
        change(pool, statement, show).await;
        let next = board::read_changes(pool, &last).await.unwrap();
        assert_eq!(seen(&next), seen(&board::read(pool).await.unwrap()), "{statement}");
        last = next;
    }
    // A show that did not change is copied once no transaction is open that began before the show
    // was written. A transaction of another test, in another database of this server, delays that.
    let patience = Instant::now() + Duration::from_mins(1);
    loop {
        let next = board::read_changes(pool, &last).await.unwrap();
        let same =
            |other: &ShowId| Arc::ptr_eq(&last.sale(*other).unwrap(), &next.sale(*other).unwrap());
        if others.iter().all(same) {
            break;
        }
        assert!(Instant::now() < patience, "what did not change is read again for ever");
        last = next;
        sleep(Duration::from_millis(50)).await;
    }
    change(pool, "update shows set room_paused = false where show_id = $1", show).await;
    let next = board::read_changes(pool, &last).await.unwrap();
    assert!(!next.sale(show).unwrap().room.paused);
}

#[tokio::test]
async fn what_was_written_before_a_reading_and_committed_after_it_is_in_the_next() {
    let stage = Stage::build().await;
    let (pool, show) = (&stage.pool, stage.show().await.show);
    let pause = "update shows set room_paused = true where show_id = $1";
    let mut unfinished = pool.begin().await.unwrap();
    sqlx::query(pause).bind(show.0).execute(&mut *unfinished).await.unwrap();
    // Another transaction begins later and commits earlier.
    let other = stage.show().await.show;
    change(pool, pause, other).await;
    let between = board::read(pool).await.unwrap();
    assert!(between.sale(other).unwrap().room.paused);
    assert!(!between.sale(show).unwrap().room.paused);
    unfinished.commit().await.unwrap();
    let after = board::read_changes(pool, &between).await.unwrap();
    assert!(after.sale(show).unwrap().room.paused);
}

/// A payment changes no row of the show, so the sale of the last held seat might be seen a minute
/// late.
#[tokio::test]
async fn that_no_seat_is_held_any_more_is_in_the_next_reading() {
    let stage = Stage::build().await;
    let (pool, show) = (&stage.pool, stage.show().await.show);
    change(pool, "update partitions set available = 0 where show_id = $1", show).await;
    let hold =
        "insert into bookings (show_id, booking_id, account_id, tier, kind, status, seat_ids,
                    state, expires_at)
                select $1, gen_random_uuid(), account_id, 'STALLS', 'ORDER', 'ALLOCATED', '{B1}',
                    'PAYMENT_PENDING', clock_timestamp() + interval '5 minutes'
                from accounts limit 1";
    change(pool, hold, show).await;
    let later = many::copy_on_sale(pool, show, 1).await.unwrap()[0];
    let mut last = board::read(pool).await.unwrap();
    let patience = Instant::now() + Duration::from_mins(1);
    loop {
        let next = board::read_changes(pool, &last).await.unwrap();
        assert!(next.sale(show).unwrap().is_any_held());
        let is_taken_over = Arc::ptr_eq(&last.sale(later).unwrap(), &next.sale(later).unwrap());
        last = next;
        if is_taken_over {
            break;
        }
        assert!(Instant::now() < patience, "what did not change is read again for ever");
        sleep(Duration::from_millis(50)).await;
    }
    change(pool, "update bookings set state = 'CONFIRMED' where show_id = $1", show).await;
    let next = board::read_changes(pool, &last).await.unwrap();
    assert!(!next.sale(show).unwrap().is_any_held(), "it is sold out");
}
