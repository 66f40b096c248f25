//! The admin of a seeded installation.

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use contract::{
    access::Role,
    api::accounts::{Login, Signup},
    keys::MasterKey,
};
use loadtest::Client;
use store::PgPool;

/// Who it is.
pub const EMAIL: &str = "admin@usher.example";

/// The admin, signed in.
pub struct Admin {
    pub client: Client,
    pub password: String,
}

impl Admin {
    /// Signs the admin in; makes the account where it is missing.
    ///
    /// The password is derived from the master key: nobody without the key can guess it, and it
    /// can be printed again.
    pub async fn ensure(
        pool: &PgPool,
        master: &MasterKey,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let secret = master.derive("seeded-admin-password");
        let password = BASE64_URL_SAFE_NO_PAD.encode(&secret.as_bytes()[..12]);
        let user = if let Some(account) = store::accounts::by_email(pool, EMAIL).await? {
            account.user
        } else {
            let signup = Signup {
                name: "Box Office".into(),
                email: EMAIL.into(),
                password: password.clone(),
                phone: None,
            };
            client.sign_up(&signup).await.context("the admin cannot sign up")?.user
        };
        store::accounts::set_role(pool, user.user_id, Role::Admin).await?;
        let login = Login { email: EMAIL.into(), password: password.clone() };
        let signed_in = client.log_in(&login).await.with_context(|| {
            format!("{EMAIL} cannot sign in: was it made with another master key?")
        })?;
        Ok(Self { client: client.signed_in(&signed_in.access_token), password })
    }
}
