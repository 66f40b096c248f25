//! The booking of the textbooks, for comparison: one transaction locks a free seat with `select … for
//! update`, marks it and inserts the order. It stands behind the same HTTP server as ingress and
//! checks the account's token as ingress does.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context as _, ensure};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use contract::{
    AccountId, OrderId, ShowId,
    access::AccessKeys,
    api::{BASE, bookings::NewBooking},
    keys::MasterKey,
};
use platform::number::float;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{net::TcpListener, task::JoinSet};

use super::sender::{self, Wanted};

/// Clients at once, and connections to PostgreSQL.
const CLIENTS: u16 = 64;
const PRICE: i64 = 25_000;
/// Most tries to get a seat, of as many clients at once.
const TRIES_MAX: u32 = 1_000;

struct Textbook {
    pool: PgPool,
    keys: AccessKeys,
}

/// Sells a seat to each of these visitors, on its tables in this database. Returns bookings per
/// second, each with its order durable.
pub(super) async fn sell(
    database_url: &str,
    port: u16,
    master: &MasterKey,
    wanted: Vec<Wanted>,
) -> anyhow::Result<f64> {
    let pool = PgPoolOptions::new().max_connections(CLIENTS.into()).connect(database_url).await?;
    make_tables(&pool, &wanted).await?;
    let textbook = Arc::new(Textbook { pool: pool.clone(), keys: AccessKeys::new(master) });
    let path = format!("{BASE}/bookings");
    let service = Router::new().route(&path, post(book)).with_state(textbook);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    // It ends when the set is dropped.
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, service).await });
    let n = wanted.len();
    let sent = sender::send(port, wanted, CLIENTS).await.context("the textbook's bookings")?;
    let sold: i64 =
        sqlx::query_scalar("select count(*) from textbook_orders").fetch_one(&pool).await?;
    ensure!(usize::try_from(sold)? >= n, "the textbook lost an order: {sold} of {n}");
    Ok(float(n) / sent.took.as_secs_f64())
}

async fn make_tables(pool: &PgPool, wanted: &[Wanted]) -> anyhow::Result<()> {
    for statement in [
        "create table textbook_seats (
             show_id uuid not null, tier text not null, seat integer not null, order_id uuid,
             primary key (show_id, tier, seat))",
        "create index on textbook_seats (show_id, tier, seat) where order_id is null",
        "create table textbook_orders (
             order_id uuid primary key, account_id uuid not null, show_id uuid not null,
             tier text not null, seat integer not null, amount bigint not null,
             created_at timestamptz not null default clock_timestamp())",
    ] {
        sqlx::query(statement).execute(pool).await?;
    }
    let shows: Vec<uuid::Uuid> = wanted.iter().map(|wanted| wanted.show.0).collect();
    let tiers: Vec<&str> = wanted.iter().map(|wanted| wanted.tier.as_str()).collect();
    sqlx::query(
        "insert into textbook_seats (show_id, tier, seat)
         select show_id, tier, row_number() over (partition by show_id, tier)
         from unnest($1::uuid[], $2::text[]) as w (show_id, tier)",
    )
    .bind(&shows)
    .bind(&tiers)
    .execute(pool)
    .await?;
    sqlx::query("analyze textbook_seats").execute(pool).await?;
    Ok(())
}

async fn book(
    State(textbook): State<Arc<Textbook>>,
    headers: HeaderMap,
    Json(wanted): Json<NewBooking>,
) -> StatusCode {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let caller = token.and_then(|token| textbook.keys.verify(token, platform::clock::now()));
    let Some(caller) = caller else { return StatusCode::UNAUTHORIZED };
    let tier = wanted.tier.as_str();
    for _ in 0..TRIES_MAX {
        match try_once(&textbook.pool, caller.account, wanted.show_id, tier).await {
            Ok(true) => return StatusCode::ACCEPTED,
            // Somebody else took the seat while this transaction waited for it.
            Ok(false) => {}
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
    StatusCode::CONFLICT
}

/// Returns whether there was a free seat once it was locked.
async fn try_once(
    pool: &PgPool,
    account: AccountId,
    show: ShowId,
    tier: &str,
) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    let seat: Option<i32> = sqlx::query_scalar(
        "select seat from textbook_seats
         where show_id = $1 and tier = $2 and order_id is null
         order by seat limit 1 for update",
    )
    .bind(show.0)
    .bind(tier)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(seat) = seat else { return Ok(false) };
    let order = OrderId::new();
    sqlx::query(
        "update textbook_seats set order_id = $4 where show_id = $1 and tier = $2 and seat = $3",
    )
    .bind(show.0)
    .bind(tier)
    .bind(seat)
    .bind(order.0)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into textbook_orders (order_id, account_id, show_id, tier, seat, amount)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(order.0)
    .bind(account.0)
    .bind(show.0)
    .bind(tier)
    .bind(seat)
    .bind(PRICE)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}
