//! API keys: which programs may act as an account, and how far. No secret is stored: a key proves
//! itself ([`contract::api_key`]), and the row says whether it is still good.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{
    AccountId, ApiKeyId,
    access::Role,
    api::api_keys::{ApiKeyView, Scope},
};
use uuid::Uuid;

use crate::{Pool, StoreResult, accounts};

/// Most keys of one account.
pub const KEYS_MAX: i64 = 20;

/// Makes a key, unless the account has [`KEYS_MAX`] already.
pub async fn create(
    pool: &Pool,
    account: AccountId,
    name: &str,
    scopes: &[Scope],
    expires_at: Option<DateTime<Utc>>,
) -> StoreResult<Option<ApiKeyView>> {
    let mut tx = pool.begin().await?;
    // Of two that are made at once, the second counts the first.
    sqlx::query!("select from accounts where account_id = $1 for no key update", account.0)
        .fetch_optional(&mut *tx)
        .await?;
    let words: Vec<String> = scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
    let row = sqlx::query_as!(
        Row,
        "insert into api_keys (key_id, account_id, name, scopes, expires_at)
         select $1, account_id, $3, $4, $5 from accounts
         where account_id = $2 and (select count(*) from api_keys where account_id = $2) < $6
         returning key_id, name, scopes, turn, previous_until, created_at, expires_at, last_used_at",
        ApiKeyId::new().0,
        account.0,
        name,
        &words,
        expires_at,
        KEYS_MAX,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.map(ApiKeyView::from))
}

/// The keys of an account, the oldest first.
pub async fn of(pool: &Pool, account: AccountId) -> StoreResult<Vec<ApiKeyView>> {
    let rows = sqlx::query_as!(
        Row,
        "select key_id, name, scopes, turn, previous_until, created_at, expires_at, last_used_at
         from api_keys where account_id = $1
         order by created_at, key_id limit $2",
        account.0,
        KEYS_MAX,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(ApiKeyView::from).collect())
}

/// Deletes a key of the account. Returns whether there was one.
pub async fn delete(pool: &Pool, account: AccountId, key: ApiKeyId) -> StoreResult<bool> {
    let gone = sqlx::query!(
        "delete from api_keys where account_id = $1 and key_id = $2",
        account.0,
        key.0,
    )
    .execute(pool)
    .await?;
    Ok(gone.rows_affected() == 1)
}

/// The result of a rotation.
pub enum Rotated {
    /// The key has a new secret, the one of this turn.
    Next(Box<ApiKeyView>, i32),
    /// The secret before the present one is still good: two at a time are all.
    TooSoon,
    /// The account has no such key.
    None,
}

/// Gives a key a new secret. The present one stays good for the overlap; without an overlap every
/// earlier one ends.
pub async fn rotate(
    pool: &Pool,
    account: AccountId,
    key: ApiKeyId,
    overlap: Duration,
) -> StoreResult<Rotated> {
    let row = sqlx::query_as!(
        Row,
        "update api_keys set turn = turn + 1,
             previous_until = clock_timestamp() + make_interval(secs => $3::float8)
         where account_id = $1 and key_id = $2
             and ($3::float8 = 0 or previous_until is null or previous_until <= clock_timestamp())
         returning key_id, name, scopes, turn, previous_until, created_at, expires_at, last_used_at",
        account.0,
        key.0,
        overlap.as_secs_f64(),
    )
    .fetch_optional(pool)
    .await?;
    if let Some(row) = row {
        let turn = row.turn;
        return Ok(Rotated::Next(Box::new(row.into()), turn));
    }
    let known = of(pool, account).await?;
    let is_known = known.iter().any(|known| known.api_key_id == key);
    Ok(if is_known { Rotated::TooSoon } else { Rotated::None })
}

/// What a key may do, as of the moment it was read.
#[derive(Clone, Debug)]
pub struct KeyInForce {
    pub account: AccountId,
    pub role: Role,
    /// Of the account's tokens.
    pub generation: i64,
    pub scopes: Vec<Scope>,
    /// Number of the secret that is good.
    pub turn: i32,
    pub is_previous_good: bool,
}

/// Reads a key that is about to be used, unless it has ended, and notes the use if none was noted
/// for a minute.
pub async fn in_force(pool: &Pool, key: ApiKeyId) -> StoreResult<Option<KeyInForce>> {
    let row = sqlx::query!(
        r#"with used as (
               update api_keys set last_used_at = clock_timestamp()
               where key_id = $1
                   and coalesce(last_used_at < clock_timestamp() - interval '1 minute', true))
           select accounts.account_id, role::text as "role!", token_generation, scopes, turn,
               coalesce(previous_until > clock_timestamp(), false) as "is_previous_good!"
           from api_keys join accounts using (account_id)
           where key_id = $1 and (expires_at is null or expires_at > clock_timestamp())"#,
        key.0,
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(KeyInForce {
        account: AccountId(row.account_id),
        role: accounts::role(&row.role)?,
        generation: row.token_generation,
        scopes: scopes(&row.scopes),
        turn: row.turn,
        is_previous_good: row.is_previous_good,
    }))
}

/// The scopes with these words. A word of a newer version grants nothing here.
fn scopes(words: &[String]) -> Vec<Scope> {
    words.iter().filter_map(|word| Scope::parse(word)).collect()
}

struct Row {
    key_id: Uuid,
    name: String,
    scopes: Vec<String>,
    turn: i32,
    previous_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<Row> for ApiKeyView {
    fn from(row: Row) -> Self {
        Self {
            api_key_id: ApiKeyId(row.key_id),
            name: row.name,
            scopes: scopes(&row.scopes),
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
            previous_secret_until: row.previous_until,
        }
    }
}
