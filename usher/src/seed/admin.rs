//! The admin of a seeded installation.

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use contract::{
    access::Role,
    api::accounts::{Login, Signup},
    keys::MasterKey,
};
use loadtest::Client;
use store::Pool;

/// The admin, signed in.
pub struct Admin {
    pub client: Client,
    pub email: String,
    pub password: String,
}

impl Admin {
    /// The address of the seeded admin, the same each time. Without the master key nobody can guess
    /// it and register it first.
    #[must_use]
    pub fn address(master: &MasterKey) -> String {
        let secret = master.derive("seeded-admin-address");
        let name = BASE64_URL_SAFE_NO_PAD.encode(&secret.as_bytes()[..12]);
        format!("box-office-{}@usher.example", name.to_ascii_lowercase().replace('_', "x"))
    }

    /// Signs the admin in, and makes the account if it is missing. The account becomes an admin
    /// only after the password has proved that it is ours.
    ///
    /// The password is derived from the master key, so it can be printed again.
    pub async fn ensure(pool: &Pool, master: &MasterKey, client: &Client) -> anyhow::Result<Self> {
        let secret = master.derive("seeded-admin-password");
        let password = BASE64_URL_SAFE_NO_PAD.encode(&secret.as_bytes()[..12]);
        let email = Self::address(master);
        if store::accounts::by_email(pool, &email).await?.is_none() {
            let signup = Signup {
                name: "Box Office".into(),
                email: email.clone(),
                password: password.clone(),
                phone: None,
            };
            client.sign_up(&signup).await.context("the administrator cannot sign up")?;
        }
        let login = Login { email: email.clone(), password: password.clone(), code: None };
        let proved = client.log_in(&login).await;
        let mut signed_in = proved.with_context(|| {
            format!("{email} cannot sign in: the account has another owner or another master key")
        })?;
        if signed_in.user.role != Role::Admin {
            store::accounts::set_role(pool, signed_in.user.user_id, Role::Admin).await?;
            // The role is in the token, and the tokens from before have just ended.
            signed_in = client.log_in(&login).await.context("the administrator cannot sign in")?;
        }
        Ok(Self { client: client.signed_in(&signed_in.access_token), email, password })
    }
}
