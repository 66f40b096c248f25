//! A pool whose connections fall silent while they are used: the next user gets one that works.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use futures_util::future::join_all;
use store::Pool;
use testing::{
    Slot, eventually,
    proxy::{Mode, Proxy},
};
use uuid::Uuid;

use super::POSTGRES_NOTICED;
use crate::{beside::Beside, harness::SOON};

/// A pool of `n_connections` behind a proxy, the proxy, and a pool without it, with their slot.
async fn pool_of(n_connections: u32) -> ((Slot, Beside), Pool, Proxy, Pool) {
    let mut slot = Slot::take().await;
    let (database, beside) = (slot.pool(), Beside::of(&slot));
    let proxy = Proxy::before(&mut slot.database_url).await;
    let pool = store::connect(&slot.database_url, "test", n_connections).unwrap();
    ((slot, beside), pool, proxy, database)
}

async fn try_insert(pool: &Pool) -> sqlx::Result<Uuid> {
    let id = Uuid::new_v4();
    let insert = sqlx::query("insert into allocators (allocator_id, name) values ($1, 'test')");
    insert.bind(id).execute(pool).await.map(|_| id)
}

async fn insert(pool: &Pool) -> Uuid {
    try_insert(pool).await.expect("the row goes in")
}

async fn insert_soon(pool: &Pool) -> Uuid {
    eventually("a row goes in", SOON, async || try_insert(pool).await.ok()).await
}

async fn is_there(database: &Pool, id: Uuid) -> bool {
    let found = sqlx::query("select from allocators where allocator_id = $1").bind(id);
    found.fetch_optional(database).await.expect("a read").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_never_answered_ends_and_its_connection_is_replaced() {
    let ((_slot, beside), pool, wire, database) = pool_of(1).await;
    let mut tx = pool.begin().await.unwrap();
    wire.set(Mode::Stall);
    let (answer, took) = beside.timed(sqlx::query("select 1").execute(&mut *tx)).await;
    assert!(matches!(answer, Err(sqlx::Error::Io(_))), "{answer:?}");
    assert!(took < POSTGRES_NOTICED, "{took:?}");
    wire.forget();
    drop(tx);
    assert!(is_there(&database, insert(&pool).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_given_back_in_silence_keeps_no_place_in_the_pool() {
    let (_slot, pool, wire, database) = pool_of(1).await;
    let connection = pool.acquire().await.unwrap();
    wire.forget();
    drop(connection);
    assert!(is_there(&database, insert_soon(&pool).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fell_silent_are_not_tried_one_by_one() {
    let (_slot, pool, wire, database) = pool_of(16).await;
    let all = join_all((0..16).map(|_| pool.acquire())).await;
    drop(all);
    insert(&pool).await;
    wire.forget();
    for refused in join_all([pool.acquire(), pool.acquire()]).await {
        assert!(refused.is_err(), "both connections were silent");
    }
    // If the other connections were tried one by one, each would take three seconds.
    assert!(is_there(&database, insert_soon(&pool).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_every_connection_is_in_use_says_nothing_of_the_database() {
    let (_slot, pool, _wire, database) = pool_of(2).await;
    let in_use = join_all([pool.acquire(), pool.acquire()]).await;
    for refused in join_all((0..8).map(|_| pool.acquire())).await {
        assert!(matches!(refused, Err(sqlx::Error::PoolTimedOut)), "{refused:?}");
    }
    drop(in_use);
    assert!(is_there(&database, insert(&pool).await).await, "nobody is refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_whose_caller_goes_away_does_not_take_the_next_users_writes_with_it() {
    let (_slot, pool, _wire, database) = pool_of(1).await;
    insert(&pool).await;
    for polls in 1..12 {
        let begun = after(polls, pool.begin()).await;
        drop(begun);
        let id = insert(&pool).await;
        assert!(is_there(&database, id).await, "lost after {polls} polls");
    }
}

/// Drops a future once it has been polled this often.
async fn after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left <= 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
