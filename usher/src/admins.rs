//! The command that makes and removes administrators. Only a person with access to the database can
//! make one. The command never asks for or shows a password: the administrator sets it with a
//! one-time token.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use contract::{AccountId, access::Role, keys};
use store::{
    Pool,
    accounts::{self, EMAIL_KEY, NO_PASSWORD, NewAccount},
    password_links, second_factors,
};

/// How long a token is valid.
pub const LINK_LIFETIME: Duration = Duration::from_hours(1);

/// Makes, shows and removes administrators.
#[derive(Args)]
pub struct Admins {
    #[command(subcommand)]
    what: What,
    /// PostgreSQL, such as `postgres://usher:secret@127.0.0.1:5432/usher`.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, default_value = "")]
    database_url: String,
}

#[derive(Subcommand)]
enum What {
    /// Make an administrator's account, and print a one-time token that sets its password.
    Create {
        #[arg(long)]
        email: String,
        #[arg(long, default_value = "Administrator")]
        name: String,
    },
    /// Make an existing account an administrator: its password, sessions, API keys and second factor
    /// end; print a one-time token.
    Grant {
        #[arg(long)]
        email: String,
    },
    /// Print a new one-time token for an administrator; the earlier token ends.
    Link {
        #[arg(long)]
        email: String,
    },
    /// Make an administrator an ordinary user; all tokens of the account end within two seconds.
    Revoke {
        #[arg(long)]
        email: String,
    },
    /// Remove the second factor of an account whose owner has lost it: all its sessions end.
    ResetSecondFactor {
        #[arg(long)]
        email: String,
    },
    /// Print every administrator.
    List,
}

/// A one-time token that sets a password.
#[derive(Clone, Debug)]
pub struct PasswordLink {
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

impl Admins {
    /// Runs the command and prints what to do next.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        if self.database_url.is_empty() {
            bail!("DATABASE_URL is not set: it names Usher's PostgreSQL");
        }
        let pool = store::connect(&self.database_url, "admin", 1)?;
        match self.what {
            What::Create { email, name } => tell(&email, &create(&pool, &email, &name).await?),
            What::Grant { email } => tell(&email, &grant(&pool, &email).await?),
            What::Link { email } => tell(&email, &link(&pool, &email).await?),
            What::Revoke { email } => {
                revoke(&pool, &email).await?;
                println!(
                    "{email} is no longer an administrator; all tokens of the account have ended"
                );
            }
            What::ResetSecondFactor { email } => {
                reset_second_factor(&pool, &email).await?;
                println!("{email} signs in with the password alone; all sessions have ended");
            }
            What::List => list(&pool).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tell(email: &str, link: &PasswordLink) {
    println!("{email} is an administrator. Set the password before {}:", link.expires_at);
    println!("  curl -X POST https://YOUR-ADDRESS/api/v1/auth/password-reset \\");
    println!("    -H 'content-type: application/json' \\");
    println!("    -d '{{\"token\": \"{}\", \"password\": \"…\"}}'", link.token);
}

/// Makes an admin's account. Fails if an account has the address already.
pub async fn create(pool: &Pool, email: &str, name: &str) -> anyhow::Result<PasswordLink> {
    let id = AccountId::new();
    let new = NewAccount { id, name: name.to_owned(), email: address(email)?, phone: None };
    match accounts::create_admin(pool, new, NO_PASSWORD).await {
        Ok(_) => new_link(pool, id).await,
        Err(error) if error.is_constraint(EMAIL_KEY) => bail!(
            "an account has the address {email} already. If it belongs to the right person, use \
             `usher admin grant`, which ends its password and its sessions"
        ),
        Err(error) => Err(error.into()),
    }
}

/// Makes an existing account an admin. Its password ends, since addresses are not verified and
/// anybody may have registered it; the token sets a new one.
pub async fn grant(pool: &Pool, email: &str) -> anyhow::Result<PasswordLink> {
    let account = find(pool, email).await?;
    accounts::void_password(pool, account).await?;
    accounts::set_role(pool, account, Role::Admin).await?;
    new_link(pool, account).await
}

/// A new token for an admin.
pub async fn link(pool: &Pool, email: &str) -> anyhow::Result<PasswordLink> {
    let email = address(email)?;
    let found = accounts::by_email(pool, &email).await?.context("no account has this address")?;
    if found.user.role != Role::Admin {
        bail!("{email} is not an administrator; `usher admin grant` makes it one");
    }
    new_link(pool, found.user.user_id).await
}

/// Makes an admin an ordinary user.
pub async fn revoke(pool: &Pool, email: &str) -> anyhow::Result<()> {
    let account = find(pool, email).await?;
    accounts::set_role(pool, account, Role::User).await?;
    Ok(())
}

/// Removes the second factor of any account, and ends its sessions: whoever has the lost device may
/// be signed in with it.
pub async fn reset_second_factor(pool: &Pool, email: &str) -> anyhow::Result<()> {
    let account = find(pool, email).await?;
    if !second_factors::remove(pool, account).await? {
        bail!("{email} has no second factor");
    }
    accounts::end_tokens(pool, account).await?;
    Ok(())
}

async fn list(pool: &Pool) -> anyhow::Result<()> {
    for admin in accounts::admins(pool).await? {
        let seen = admin.seen_at.map_or("never".to_owned(), |at| at.to_rfc3339());
        let password = if admin.has_password { "" } else { ", no password yet" };
        println!(
            "{}  {}, since {}, {} sessions, last seen {seen}{password}",
            admin.user.email,
            admin.user.name,
            admin.user.created_at.to_rfc3339(),
            admin.sessions,
        );
    }
    Ok(())
}

async fn find(pool: &Pool, email: &str) -> anyhow::Result<AccountId> {
    let found = accounts::by_email(pool, &address(email)?).await?;
    Ok(found.context("no account has this address: `usher admin create` makes one")?.user.user_id)
}

async fn new_link(pool: &Pool, account: AccountId) -> anyhow::Result<PasswordLink> {
    let token = BASE64_URL_SAFE_NO_PAD.encode(keys::random::<32>());
    let expires_at = password_links::make(pool, account, &token, LINK_LIFETIME).await?;
    Ok(PasswordLink { token, expires_at })
}

/// An e-mail address in the form in which accounts keep it.
fn address(email: &str) -> anyhow::Result<String> {
    let email = email.trim().to_lowercase();
    let (local, domain) = email.split_once('@').context("this is not an e-mail address")?;
    if local.is_empty()
        || domain.is_empty()
        || domain.contains('@')
        || email.contains([' ', ',', ';'])
    {
        bail!("{email} is not one e-mail address");
    }
    Ok(email)
}
