//! Accounts for a load test. They have tokens only, since hashing a hundred thousand passwords
//! takes too long.

use std::{io::Write as _, path::Path};

use anyhow::Context as _;
use contract::{
    AccountId,
    access::{AccessKeys, Caller, Role, TOKEN_LIFETIME_MAX},
    keys::MasterKey,
};
use store::{Pool, accounts::NewAccount};
use uuid::Builder;

/// Accounts made by one statement.
const CHUNK: usize = 5_000;

/// Makes the first `n` accounts of the load test if they are missing; returns their tokens.
pub async fn tokens(pool: &Pool, master: &MasterKey, n: usize) -> anyhow::Result<Vec<String>> {
    let accounts: Vec<NewAccount> = (0..n).map(|at| account(master, at)).collect();
    for chunk in accounts.chunks(CHUNK) {
        store::accounts::create_many(pool, chunk).await.context("accounts could not be made")?;
    }
    let keys = AccessKeys::new(master);
    let expires_at = platform::clock::now() + TOKEN_LIFETIME_MAX;
    let issue = |account: &NewAccount| {
        keys.issue(Caller { account: account.id, role: Role::User }, expires_at)
    };
    Ok(accounts.iter().map(issue).collect())
}

/// Account number `n`, with the same id every time, so that seeding again makes no second one.
fn account(master: &MasterKey, n: usize) -> NewAccount {
    let hash = master.derive("seeded-account").mac(&[&n.to_be_bytes()]);
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    NewAccount {
        id: AccountId(Builder::from_custom_bytes(id).into_uuid()),
        name: format!("Visitor {n}"),
        email: format!("visitor.{n}@load.usher.example"),
        phone: None,
    }
}

/// Writes one token a line, to a file that only its owner may read.
pub(super) fn write(path: &Path, tokens: &[String]) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = std::io::BufWriter::new(file);
    for token in tokens {
        writeln!(file, "{token}")?;
    }
    file.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_the_same_one_each_time_it_is_seeded() {
        let master = MasterKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        assert_eq!(account(&master, 7).id, account(&master, 7).id);
        assert_ne!(account(&master, 7).id, account(&master, 8).id);
    }
}
