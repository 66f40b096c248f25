//! What the database itself forbids: to delete an account that has orders, also while the first of
//! them is written; and to lead an order back to a status that it had.

use contract::{BookingId, booking::Kind};
use store::{
    StoreError, StoreResult,
    bookings::{self, Decided, Outcome, Placement, SeatsInAdvance},
    partitions,
};

use crate::{command::customer, stage::Stage};

const DELETE: &str = "delete from accounts where account_id = $1";

fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .unwrap_or_default()
        .into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_an_order_that_is_being_written_and_is_refused() -> StoreResult<()> {
    let stage = Stage::build().await;
    let (hall, pool) = (stage.show().await, &stage.pool);
    let (tier, account) = (&hall.tiers[0], hall.accounts[0]);
    let epoch = partitions::begin_session(pool, tier, "clerk").await?;
    let terms = partitions::open(pool, tier).await?.terms;
    let decided = |account, kind, seat: usize| Decided {
        booking: BookingId::new(),
        account,
        kind,
        ticket: None,
        idempotency_key: None,
        outcome: Outcome::Allocated { seats: vec![hall.seats[0][seat].clone()] },
    };
    let mut tx = pool.begin().await?;
    let now = partitions::lock(&mut tx, tier, Some(epoch)).await?.now;
    bookings::lock_quotas(&mut tx, hall.show, &[account]).await?;
    let (order, hold) = (decided(account, Kind::Order, 0), decided(account, Kind::Hold, 1));
    let (both, nothing) = ([order, hold.clone()], SeatsInAdvance::default());
    bookings::write_outcomes(&mut tx, tier, epoch, &terms, &both, &nothing, now).await?;
    let mut deletion = pool.begin().await?;
    sqlx::query("set local lock_timeout = 300").execute(&mut *deletion).await?;
    let deleted = sqlx::query(DELETE).bind(account.0).execute(&mut *deletion).await;
    assert_eq!(code(&deleted.unwrap_err()), "55P03", "it waits");
    deletion.rollback().await?;
    tx.commit().await?;
    let deleted = sqlx::query(DELETE).bind(account.0).execute(pool).await;
    assert_eq!(code(&deleted.unwrap_err()), "23503");
    let becomes = async |status: &str| {
        let update = "update orders set status = $1::order_status";
        sqlx::query(update).bind(status).execute(pool).await.map_err(|error| code(&error))
    };
    becomes("EXPIRED").await.unwrap();
    assert_eq!(becomes("PAYMENT_PENDING").await.unwrap_err(), "23514");
    becomes("CANCELLED").await.unwrap();
    assert_eq!(becomes("EXPIRED").await.unwrap_err(), "23505");

    // Nor is an order made for an account that was deleted once its quota was locked.
    let gone = hall.accounts[1];
    let mut tx = pool.begin().await?;
    partitions::lock(&mut tx, tier, Some(epoch)).await?;
    bookings::lock_quotas(&mut tx, hall.show, &[gone]).await?;
    sqlx::query(DELETE).bind(gone.0).execute(pool).await?;
    let order = [decided(gone, Kind::Order, 2)];
    let made = bookings::write_outcomes(&mut tx, tier, epoch, &terms, &order, &nothing, now).await;
    let Err(StoreError::Constraint { constraint, .. }) = made else { panic!("{made:?}") };
    assert_eq!(constraint, "orders_account_exists");
    tx.rollback().await?;

    // An account with a hold may go, and its hold does not become an order.
    sqlx::query("delete from orders").execute(pool).await?;
    sqlx::query(DELETE).bind(account.0).execute(pool).await?;
    let mut tx = pool.begin().await?;
    let placed = bookings::place(&mut tx, hold.booking, account, &customer()).await?;
    assert!(matches!(placed, Placement::NoSuchHold), "{placed:?}");
    Ok(())
}
