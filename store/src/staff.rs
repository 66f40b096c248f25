//! Who may do what in which theatre.

use contract::{
    AccountId, TheatreId,
    api::staff::{Membership, StaffMember, StaffRole},
};
use sqlx::PgExecutor;

use crate::{Connection, Pool, StoreError, StoreResult};

/// Most people who work for one theatre.
pub const STAFF_MAX: i64 = 500;

fn word(role: StaffRole) -> &'static str {
    match role {
        StaffRole::Organiser => "organiser",
        StaffRole::BoxOffice => "box_office",
        StaffRole::CheckIn => "check_in",
    }
}

fn role(word: &str) -> StoreResult<StaffRole> {
    match word {
        "organiser" => Ok(StaffRole::Organiser),
        "box_office" => Ok(StaffRole::BoxOffice),
        "check_in" => Ok(StaffRole::CheckIn),
        other => Err(StoreError::Unreadable(format!("{other} is no role of staff"))),
    }
}

/// Whether the account organises this theatre, or any if none is named.
pub async fn organises(
    executor: impl PgExecutor<'_>,
    account: AccountId,
    theatre: Option<TheatreId>,
) -> StoreResult<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from staff
               where account_id = $1 and role = 'organiser'
                   and ($2::uuid is null or theatre_id = $2)) as "found!""#,
        account.0,
        theatre.map(|theatre| theatre.0),
    );
    Ok(found.fetch_one(executor).await?)
}

/// What the account may do, by theatre.
pub async fn memberships(pool: &Pool, account: AccountId) -> StoreResult<Vec<Membership>> {
    let rows = sqlx::query!(
        r#"select theatre_id, name, role::text as "role!" from staff join theatres using (theatre_id)
           where account_id = $1 and retired_at is null
           order by name, theatre_id"#,
        account.0
    );
    let rows = rows.fetch_all(pool).await?.into_iter();
    rows.map(|row| {
        let theatre_id = TheatreId(row.theatre_id);
        Ok(Membership { theatre_id, theatre: row.name, role: role(&row.role)? })
    })
    .collect()
}

/// The staff of a theatre, by name.
pub async fn of_theatre(
    executor: impl PgExecutor<'_>,
    theatre: TheatreId,
) -> StoreResult<Vec<StaffMember>> {
    let rows = sqlx::query!(
        r#"select account_id, name, email, staff.role::text as "role!", since
           from staff join accounts using (account_id)
           where theatre_id = $1
           order by name, account_id"#,
        theatre.0
    );
    let rows = rows.fetch_all(executor).await?.into_iter();
    rows.map(|row| {
        Ok(StaffMember {
            account_id: AccountId(row.account_id),
            name: row.name,
            email: row.email,
            role: role(&row.role)?,
            since: row.since,
        })
    })
    .collect()
}

/// The role of an account in a theatre.
pub async fn role_of(
    tx: &mut Connection,
    theatre: TheatreId,
    account: AccountId,
) -> StoreResult<Option<StaffRole>> {
    let found = sqlx::query_scalar!(
        r#"select role::text as "role!" from staff where theatre_id = $1 and account_id = $2"#,
        theatre.0,
        account.0,
    );
    found.fetch_optional(tx).await?.as_deref().map(role).transpose()
}

/// Whether the theatre exists. If so, nobody else gives roles in it before the transaction ends: of two
/// that are given at once, the second counts the first.
pub async fn lock(tx: &mut Connection, theatre: TheatreId) -> StoreResult<bool> {
    let found = sqlx::query!(
        "select theatre_id from theatres
         where theatre_id = $1 and retired_at is null for no key update",
        theatre.0
    );
    Ok(found.fetch_optional(tx).await?.is_some())
}

/// Gives an account a role in a theatre, in the place of the one it had. Returns whether it was given:
/// the theatre may have [`STAFF_MAX`] others already. The theatre must be locked.
pub async fn give(
    tx: &mut Connection,
    theatre: TheatreId,
    account: AccountId,
    role: StaffRole,
) -> StoreResult<bool> {
    let given = sqlx::query!(
        "insert into staff (theatre_id, account_id, role)
         select $1, $2, $3::text::staff_role
         where (select count(*) from staff where theatre_id = $1 and account_id <> $2) < $4
         on conflict (theatre_id, account_id) do update set role = excluded.role",
        theatre.0,
        account.0,
        word(role),
        STAFF_MAX,
    );
    Ok(given.execute(tx).await?.rows_affected() == 1)
}

/// Takes an account's role in a theatre away. Returns whether it had one.
pub async fn take(
    tx: &mut Connection,
    theatre: TheatreId,
    account: AccountId,
) -> StoreResult<bool> {
    let taken = sqlx::query!(
        "delete from staff where theatre_id = $1 and account_id = $2",
        theatre.0,
        account.0,
    );
    Ok(taken.execute(tx).await?.rows_affected() == 1)
}
