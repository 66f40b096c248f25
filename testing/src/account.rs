//! Accounts that went through no hashing of passwords.

use contract::{AccountId, access::Role};
use store::{Pool, accounts::NO_PASSWORD};

/// Makes an account that no password signs in to. Every version of the schema takes it: the
/// rehearsal of an upgrade begins on an old one.
///
/// # Panics
/// Where the database does not take it.
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
