//! Accounts: who can sign in, and as what.

use chrono::{DateTime, Utc};
use contract::{AccountId, access::Role, api::accounts::User};
use uuid::Uuid;

use crate::{Connection, Pool, StoreError, StoreResult};

/// The constraint that a second account with the same address breaks.
pub const EMAIL_KEY: &str = "accounts_email_key";
/// The constraint that a second account with the same id breaks.
pub const ID_KEY: &str = "accounts_pkey";
/// Stored in place of a password's hash; no password matches it.
pub const NO_PASSWORD: &str = "!";

/// An account to create. The address must be in lower case.
#[derive(Clone, Debug)]
pub struct NewAccount {
    pub id: AccountId,
    pub name: String,
    pub email: String,
    pub phone: Option<String>,
}

/// An account with its password's hash: a PHC string, or [`NO_PASSWORD`].
#[derive(Clone)]
pub struct Credentials {
    pub user: User,
    pub password_hash: String,
    /// How often all tokens of the account were ended; new tokens are of this generation.
    pub generation: i64,
}

/// Makes an account with the role `user`. Breaks [`EMAIL_KEY`] if the address is taken.
pub(crate) async fn create_in(
    tx: &mut Connection,
    new: NewAccount,
    password_hash: &str,
) -> StoreResult<Credentials> {
    insert(tx, new, password_hash, Role::User).await
}

/// Makes an account with the role `admin`. Breaks [`EMAIL_KEY`] if the address is taken: the
/// account that has it is not promoted.
pub async fn create_admin(pool: &Pool, new: NewAccount, password_hash: &str) -> StoreResult<User> {
    let mut connection = pool.acquire().await?;
    Ok(insert(&mut connection, new, password_hash, Role::Admin).await?.user)
}

async fn insert(
    connection: &mut Connection,
    new: NewAccount,
    password_hash: &str,
    role: Role,
) -> StoreResult<Credentials> {
    let row = sqlx::query_as!(
        Row,
        r#"insert into accounts (account_id, name, email, phone, password_hash, role)
           values ($1, $2, $3, $4, $5, $6::text::account_role)
           returning account_id, name, email, phone, role::text as "role!", created_at,
               password_hash, token_generation,
               email_verified_at is not null as "email_verified!""#,
        new.id.0,
        new.name,
        new.email,
        new.phone,
        password_hash,
        word(role),
    )
    .fetch_one(connection)
    .await?;
    row.try_into()
}

/// Makes many accounts without a password, for load tests, which sign their own tokens. Skips
/// addresses that are taken. Returns how many accounts were made.
pub async fn create_many(pool: &Pool, new: &[NewAccount]) -> StoreResult<u64> {
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
pub async fn by_email(pool: &Pool, email: &str) -> StoreResult<Option<Credentials>> {
    let row = sqlx::query_as!(
        Row,
        r#"select account_id, name, email, phone, role::text as "role!", created_at, password_hash,
               token_generation, email_verified_at is not null as "email_verified!"
           from accounts where lower(email) = $1"#,
        email
    )
    .fetch_optional(pool)
    .await?;
    row.map(Credentials::try_from).transpose()
}

/// Finds an account.
pub async fn by_id(pool: &Pool, account: AccountId) -> StoreResult<Option<User>> {
    Ok(credentials(pool, account).await?.map(|found| found.user))
}

/// Finds an account with its password's hash.
pub async fn credentials(pool: &Pool, account: AccountId) -> StoreResult<Option<Credentials>> {
    credentials_in(&mut pool.acquire().await?, account).await
}

pub(crate) async fn credentials_in(
    connection: &mut Connection,
    account: AccountId,
) -> StoreResult<Option<Credentials>> {
    let row = sqlx::query_as!(
        Row,
        r#"select account_id, name, email, phone, role::text as "role!", created_at, password_hash,
               token_generation, email_verified_at is not null as "email_verified!"
           from accounts where account_id = $1"#,
        account.0
    )
    .fetch_optional(connection)
    .await?;
    row.map(Credentials::try_from).transpose()
}

/// Changes name and phone number; `None` if there is no such account.
pub async fn change_profile(
    pool: &Pool,
    account: AccountId,
    name: &str,
    phone: Option<&str>,
) -> StoreResult<Option<User>> {
    let row = sqlx::query_as!(
        Row,
        r#"update accounts set name = $2, phone = $3 where account_id = $1
           returning account_id, name, email, phone, role::text as "role!", created_at,
               password_hash, token_generation,
               email_verified_at is not null as "email_verified!""#,
        account.0,
        name,
        phone,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Credentials::try_from).transpose()?.map(|found| found.user))
}

/// Gives an account a role. If it had another role, its sessions and tokens end. Returns whether it
/// exists.
pub async fn set_role(pool: &Pool, account: AccountId, role: Role) -> StoreResult<bool> {
    let changed = sqlx::query!(
        "update accounts set role = $2::text::account_role where account_id = $1",
        account.0,
        word(role),
    )
    .execute(pool)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Ends every session and token of an account. Returns whether it exists.
pub async fn end_tokens(pool: &Pool, account: AccountId) -> StoreResult<bool> {
    let changed = sqlx::query!(
        "update accounts set token_generation = token_generation + 1 where account_id = $1",
        account.0,
    )
    .execute(pool)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Ends every session and token of an account; returns it as it is then.
pub(crate) async fn end_tokens_in(
    tx: &mut Connection,
    account: AccountId,
) -> StoreResult<Option<Credentials>> {
    let row = sqlx::query_as!(
        Row,
        r#"update accounts set token_generation = token_generation + 1 where account_id = $1
           returning account_id, name, email, phone, role::text as "role!", created_at,
               password_hash, token_generation,
               email_verified_at is not null as "email_verified!""#,
        account.0,
    )
    .fetch_optional(tx)
    .await?;
    row.map(Credentials::try_from).transpose()
}

/// Sets [`NO_PASSWORD`]: nobody can sign in until a link is used to set a password. API keys and a
/// second factor end, which may be those of whoever knew the password.
pub async fn void_password(pool: &Pool, account: AccountId) -> StoreResult<bool> {
    let changed = sqlx::query!(
        "update accounts set password_hash = $2 where account_id = $1",
        account.0,
        NO_PASSWORD,
    )
    .execute(pool)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Changes the password if the credentials are unchanged. The account's sessions and tokens end.
pub(crate) async fn change_password_in(
    tx: &mut Connection,
    account: &Credentials,
    password_hash: &str,
) -> StoreResult<Option<Credentials>> {
    let row = sqlx::query_as!(
        Row,
        r#"update accounts set password_hash = $3
           where account_id = $1 and password_hash = $2
           returning account_id, name, email, phone, role::text as "role!", created_at,
               password_hash, token_generation,
               email_verified_at is not null as "email_verified!""#,
        account.user.user_id.0,
        account.password_hash,
        password_hash,
    )
    .fetch_optional(tx)
    .await?;
    row.map(Credentials::try_from).transpose()
}

/// Sets the password of an account, whatever it was; its sessions and tokens end.
pub(crate) async fn set_password_in(
    tx: &mut Connection,
    account: AccountId,
    password_hash: &str,
) -> StoreResult<()> {
    sqlx::query!(
        "update accounts set password_hash = $2 where account_id = $1",
        account.0,
        password_hash,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that the account's owner reads this address. `None` if it is not the account's any more.
pub(crate) async fn verify_address_in(
    tx: &mut Connection,
    account: AccountId,
    address: &str,
) -> StoreResult<Option<User>> {
    let row = sqlx::query_as!(
        Row,
        r#"update accounts set email_verified_at = coalesce(email_verified_at, clock_timestamp())
           where account_id = $1 and email = $2
           returning account_id, name, email, phone, role::text as "role!", created_at,
               password_hash, token_generation,
               email_verified_at is not null as "email_verified!""#,
        account.0,
        address,
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(Credentials::try_from).transpose()?.map(|found| found.user))
}

/// An admin, as other admins see them.
pub struct AdminAccount {
    pub user: User,
    /// Sessions that are not over.
    pub sessions: i64,
    /// When a session was last begun or refreshed.
    pub seen_at: Option<DateTime<Utc>>,
    pub has_password: bool,
}

/// Every admin, the oldest first; at most a thousand.
pub async fn admins(pool: &Pool) -> StoreResult<Vec<AdminAccount>> {
    let rows = sqlx::query!(
        r#"select accounts.account_id, name, email, phone, created_at,
               email_verified_at is not null as "email_verified!",
               password_hash <> $1 as "has_password!",
               count(session_id) as "sessions!", max(turned_at) as "seen_at?: DateTime<Utc>"
           from accounts left join sessions
               on sessions.account_id = accounts.account_id and expires_at > clock_timestamp()
           where role = 'admin'
           group by accounts.account_id
           order by created_at
           limit 1000"#,
        NO_PASSWORD,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| AdminAccount {
            user: User {
                user_id: AccountId(row.account_id),
                name: row.name,
                email: row.email,
                email_verified: row.email_verified,
                phone: row.phone,
                role: Role::Admin,
                created_at: row.created_at,
            },
            sessions: row.sessions,
            seen_at: row.seen_at,
            has_password: row.has_password,
        })
        .collect())
}

/// The role with this word in the database.
pub(crate) fn role(word: &str) -> StoreResult<Role> {
    match word {
        "user" => Ok(Role::User),
        "admin" => Ok(Role::Admin),
        other => Err(StoreError::Unreadable(format!("account role {other}"))),
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Admin => "admin",
    }
}

struct Row {
    account_id: Uuid,
    name: String,
    email: String,
    phone: Option<String>,
    role: String,
    created_at: DateTime<Utc>,
    password_hash: String,
    token_generation: i64,
    email_verified: bool,
}

impl TryFrom<Row> for Credentials {
    type Error = StoreError;

    fn try_from(row: Row) -> StoreResult<Self> {
        let role = role(&row.role)?;
        let user = User {
            user_id: AccountId(row.account_id),
            name: row.name,
            email: row.email,
            email_verified: row.email_verified,
            phone: row.phone,
            role,
            created_at: row.created_at,
        };
        Ok(Self { user, password_hash: row.password_hash, generation: row.token_generation })
    }
}
