//! Accounts without a password, so that tests need not hash any.

use contract::{
    AccountId,
    access::{AccessKeys, Caller, Role, TOKEN_LIFETIME_MAX},
    keys::MasterKey,
};
use platform::clock;
use store::{Pool, accounts::NO_PASSWORD};

/// Makes an account that no password signs in to. The statement fits every version of the schema,
/// since the rehearsal of an upgrade begins with an old one.
///
/// # Panics
/// If the insert fails.
pub async fn account(pool: &Pool, role: Role) -> AccountId {
    let id = AccountId::new();
    let role = match role {
        Role::Admin => "admin",
        Role::User => "user",
    };
    let insert = "insert into accounts (account_id, name, email, password_hash, role)
                  values ($1, 'Asha Rao', $2, $3, $4::account_role)";
    let insert = sqlx::query(insert)
        .bind(id.0)
        .bind(format!("{id}@visitor.example"))
        .bind(NO_PASSWORD)
        .bind(role)
        .execute(pool)
        .await;
    insert.expect("the database takes an account");
    id
}

/// An access token of this account, which outlives every test.
#[must_use]
pub fn token(master: &MasterKey, account: AccountId, role: Role) -> String {
    AccessKeys::new(master).issue(Caller { account, role }, clock::now() + TOKEN_LIFETIME_MAX)
}
