//! Accounts: who can sign in, and as what.

use chrono::{DateTime, Utc};
use contract::{AccountId, access::Role, api::accounts::User};
use uuid::Uuid;

use crate::{PgPool, StoreError, StoreResult};

/// The constraint that a second account of one address breaks.
pub const EMAIL_KEY: &str = "accounts_email_key";
/// Stands where a password's hash would; no password matches it.
pub const NO_PASSWORD: &str = "!";

/// An account to be. The address must be in lower case.
#[derive(Clone, Debug)]
pub struct NewAccount {
    pub id: AccountId,
    pub name: String,
    pub email: String,
    pub phone: Option<String>,
}

/// An account with what proves its password: a PHC string, or [`NO_PASSWORD`].
#[derive(Clone)]
pub struct Credentials {
    pub user: User,
    pub password_hash: String,
}

/// Makes an account with the role `user`. Breaks [`EMAIL_KEY`] where the address is taken.
pub async fn create(pool: &PgPool, new: NewAccount, password_hash: &str) -> StoreResult<User> {
    let created_at = sqlx::query_scalar!(
        "insert into accounts (account_id, name, email, phone, password_hash)
         values ($1, $2, $3, $4, $5)
         returning created_at",
        new.id.0,
        new.name,
        new.email,
        new.phone,
        password_hash,
    )
    .fetch_one(pool)
    .await?;
    let NewAccount { id, name, email, phone } = new;
    Ok(User { user_id: id, name, email, phone, role: Role::User, created_at })
}

/// Makes many accounts that nobody can sign in to with a password: those of a load test, which
/// get their tokens elsewhere. Addresses that are taken are left out; returns how many were made.
pub async fn create_many(pool: &PgPool, new: &[NewAccount]) -> StoreResult<u64> {
    let ids: Vec<Uuid> = new.iter().map(|account| account.id.0).collect();
    let names: Vec<String> = new.iter().map(|account| account.name.clone()).collect();
    let emails: Vec<String> = new.iter().map(|account| account.email.clone()).collect();
    let made = sqlx::query!(
        "insert into accounts (account_id, name, email, password_hash)
         select id, name, email, $4
         from unnest($1::uuid[], $2::text[], $3::text[]) as new (id, name, email)
         on conflict do nothing",
        &ids,
        &names,
        &emails,
        NO_PASSWORD,
    )
    .execute(pool)
    .await?;
    Ok(made.rows_affected())
}

/// Finds an account by its address, in lower case.
pub async fn by_email(pool: &PgPool, email: &str) -> StoreResult<Option<Credentials>> {
    let row = sqlx::query_as!(
        Row,
        r#"select account_id, name, email, phone, role::text as "role!", created_at, password_hash
           from accounts where lower(email) = $1"#,
        email
    )
    .fetch_optional(pool)
    .await?;
    row.map(Credentials::try_from).transpose()
}

/// Finds an account.
pub async fn by_id(pool: &PgPool, account: AccountId) -> StoreResult<Option<User>> {
    let row = sqlx::query_as!(
        Row,
        r#"select account_id, name, email, phone, role::text as "role!", created_at, password_hash
           from accounts where account_id = $1"#,
        account.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Credentials::try_from).transpose()?.map(|found| found.user))
}

/// Changes name and phone number; `None` where there is no such account.
pub async fn change_profile(
    pool: &PgPool,
    account: AccountId,
    name: &str,
    phone: Option<&str>,
) -> StoreResult<Option<User>> {
    let row = sqlx::query_as!(
        Row,
        r#"update accounts set name = $2, phone = $3 where account_id = $1
           returning account_id, name, email, phone, role::text as "role!", created_at,
               password_hash"#,
        account.0,
        name,
        phone,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Credentials::try_from).transpose()?.map(|found| found.user))
}

/// Gives an account a role; tokens issued from then on carry it. Returns whether it exists.
pub async fn set_role(pool: &PgPool, account: AccountId, role: Role) -> StoreResult<bool> {
    let word = match role {
        Role::User => "user",
        Role::Admin => "admin",
    };
    let changed = sqlx::query!(
        "update accounts set role = $2::text::account_role where account_id = $1",
        account.0,
        word
    )
    .execute(pool)
    .await?;
    Ok(changed.rows_affected() == 1)
}

struct Row {
    account_id: Uuid,
    name: String,
    email: String,
    phone: Option<String>,
    role: String,
    created_at: DateTime<Utc>,
    password_hash: String,
}

impl TryFrom<Row> for Credentials {
    type Error = StoreError;

    fn try_from(row: Row) -> StoreResult<Self> {
        let role = match row.role.as_str() {
            "user" => Role::User,
            "admin" => Role::Admin,
            other => return Err(StoreError::Unreadable(format!("account role {other}"))),
        };
        let user = User {
            user_id: AccountId(row.account_id),
            name: row.name,
            email: row.email,
            phone: row.phone,
            role,
            created_at: row.created_at,
        };
        Ok(Self { user, password_hash: row.password_hash })
    }
}
