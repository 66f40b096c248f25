//! Keys that sign passes: in the database, sealed with the master key.

use contract::{
    keys::MasterKey,
    pass::{NewKey, PassKeys, SigningKey},
};

use crate::{PgPool, StoreError, StoreResult};

/// Every key that verifies, and the newest one, which signs.
pub struct Keys {
    pub verify: PassKeys,
    pub sign: Option<SigningKey>,
}

/// Loads the keys. A key that was sealed with another master key is an error, not a missing key.
pub async fn load(pool: &PgPool, master: &MasterKey) -> StoreResult<Keys> {
    let rows = sqlx::query!(
        "select kid, public_key, sealed_private_key from signing_keys
         where retired_at is null
         order by created_at desc, kid"
    )
    .fetch_all(pool)
    .await?;
    let sign = match rows.first() {
        None => None,
        Some(newest) => {
            let opened = master.open(&newest.sealed_private_key);
            let private = opened.map_err(|error| StoreError::Unreadable(error.to_string()))?;
            Some(SigningKey::new(newest.kid.clone(), &private))
        }
    };
    let verify = PassKeys::new(rows.into_iter().map(|row| (row.kid, row.public_key)));
    Ok(Keys { verify, sign })
}

/// Makes a first key where there is none; of several nodes that try, one wins.
pub async fn ensure(pool: &PgPool, master: &MasterKey) -> StoreResult<()> {
    let new = NewKey::generate();
    let sealed = master.seal(&new.private_pkcs8);
    let mut tx = pool.begin().await?;
    sqlx::query!("lock table signing_keys in share row exclusive mode").execute(&mut *tx).await?;
    sqlx::query!(
        "insert into signing_keys (kid, public_key, sealed_private_key)
         select $1, $2, $3
         where not exists (select from signing_keys where retired_at is null)",
        new.kid,
        new.public,
        sealed,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}
