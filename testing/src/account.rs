//! Accounts that went through no hashing of passwords.

use contract::{AccountId, access::Role};
use store::{
    PgPool,
    accounts::{self, NO_PASSWORD, NewAccount},
};

/// Makes an account that no password signs in to.
///
/// # Panics
/// Where the database does not take it.
pub async fn account(pool: &PgPool, role: Role) -> AccountId {
    let id = AccountId::new();
    let (name, email) = ("Asha Rao".into(), format!("{id}@visitor.example"));
    let new = NewAccount { id, name, email, phone: None };
    if role == Role::Admin {
        // Not promoted: that would end its tokens.
        let made = accounts::create_admin(pool, new, NO_PASSWORD).await;
        made.expect("the database takes an account");
    } else {
        let made = accounts::create_many(pool, &[new]).await;
        made.expect("the database takes an account");
    }
    id
}
