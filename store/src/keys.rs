//! Keys that sign passes: in the database, sealed with the master key. At most two are live: the
//! key that signs, and the key before it, until its last pass is over.

use std::time::Duration;

use contract::{
    keys::MasterKey,
    pass::{NewKey, PassKeys, SigningKey},
};

use crate::{Pool, StoreError, StoreResult};

/// A new key is live this long before it signs: by then every node has read it and accepts its
/// passes.
pub(crate) const KNOWN_AFTER: Duration = Duration::from_mins(1);

/// All keys that verify, and the key that signs: the newest one that every node knows.
pub struct PassKeySet {
    pub verify: PassKeys,
    pub sign: Option<SigningKey>,
}

/// Loads the keys. A key that was sealed with another master key is an error, not a missing key.
pub async fn load(pool: &Pool, master: &MasterKey) -> StoreResult<PassKeySet> {
    let rows = sqlx::query!(
        r#"select kid, public_key, sealed_private_key,
               created_at < clock_timestamp() - make_interval(secs => $1) as "known!"
           from signing_keys
           where retired_at is null
           order by created_at desc, kid"#,
        KNOWN_AFTER.as_secs_f64(),
    )
    .fetch_all(pool)
    .await?;
    let sign = match rows.iter().find(|row| row.known).or(rows.last()) {
        None => None,
        Some(signs) => {
            let opened = master.open(&signs.sealed_private_key);
            let private = opened.map_err(|error| StoreError::Unreadable(error.to_string()))?;
            Some(SigningKey::new(signs.kid.clone(), &private))
        }
    };
    let verify = PassKeys::new(rows.into_iter().map(|row| (row.kid, row.public_key)));
    Ok(PassKeySet { verify, sign })
}

/// Makes the first key if there is none; of several nodes that try, one succeeds.
pub async fn ensure(pool: &Pool, master: &MasterKey) -> StoreResult<()> {
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

/// The result of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// This key signs after a minute; passes of the key before it stay valid.
    Rotated { kid: String },
    /// The key that would be retired may still have valid passes for this long.
    TooSoon { wait: Duration },
}

/// Makes a new key and retires the key before the last, unless the last key is younger than a
/// pass's lifetime.
pub async fn rotate(
    pool: &Pool,
    master: &MasterKey,
    passes_live: Duration,
) -> StoreResult<Rotation> {
    let mut tx = pool.begin().await?;
    sqlx::query!("lock table signing_keys in share row exclusive mode").execute(&mut *tx).await?;
    let live = sqlx::query!(
        r#"select extract(epoch from clock_timestamp() - created_at)::float8 as "age!"
           from signing_keys where retired_at is null
           order by created_at desc"#
    )
    .fetch_all(&mut *tx)
    .await?;
    let settled = passes_live + KNOWN_AFTER;
    if let [newest, _, ..] = live.as_slice()
        && let wait = settled.saturating_sub(Duration::from_secs_f64(newest.age.max(0.0)))
        && !wait.is_zero()
        && !passes_live.is_zero()
    {
        return Ok(Rotation::TooSoon { wait });
    }
    let new = NewKey::generate();
    sqlx::query!(
        "insert into signing_keys (kid, public_key, sealed_private_key) values ($1, $2, $3)",
        new.kid,
        new.public,
        master.seal(&new.private_pkcs8),
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update signing_keys set retired_at = clock_timestamp()
         where retired_at is null and kid not in (
             select kid from signing_keys where retired_at is null
             order by created_at desc, kid limit 2)"
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Rotation::Rotated { kid: new.kid })
}
