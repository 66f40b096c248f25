//! Backends that no other test uses.
//!
//! Tests that run at the same time, in one run or in several, take different slots. An advisory
//! lock holds a slot until the test's process ends. A slot's database is made anew for each test;
//! its virtual host keeps the queues of earlier tests, which have other shows.

use std::{sync::Arc, time::Duration};

use contract::keys::MasterKey;
use redis::aio::MultiplexedConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use store::Pool;
use tokio::time::Instant;

/// Virtual hosts that `./dev` makes; a test waits until one is free.
const SLOTS: i32 = 4;
/// Advisory locks of slots: (this, number).
const LOCK_CLASS: i32 = 0x7573_6872;
/// Longest wait for autovacuum to leave a database that is to be dropped.
const DROP_WAIT: Duration = Duration::from_secs(20);
/// Longest wait for a free slot: a test takes some minutes at most.
const SLOT_WAIT: Duration = Duration::from_mins(5);
/// Redis databases below this are for running systems.
const REDIS_DATABASES_FROM: i32 = 20;

/// Backends that no other test uses.
#[derive(Clone)]
pub struct Slot {
    pub number: i32,
    pub database_url: String,
    pub redis_url: String,
    pub amqp_url: String,
    pub master_key_text: String,
    /// Holds the slot's lock.
    _lock: Arc<PgConnection>,
}

impl Slot {
    /// The slot of this test, with an empty, migrated database and an empty Redis database.
    ///
    /// # Panics
    /// If the backends do not run; `./dev test` starts them.
    pub async fn take() -> Self {
        let (number, mut lock) = lock_slot().await;
        let name = format!("usher_test_{number}");
        make_database(&mut lock, &name).await;
        let slot = Self {
            number,
            database_url: with_last_segment(&setting("DATABASE_URL"), &name),
            redis_url: with_last_segment(
                &format!("{}/0", setting("REDIS_URL").trim_end_matches("/0").trim_end_matches('/')),
                &(REDIS_DATABASES_FROM + number).to_string(),
            ),
            amqp_url: with_last_segment(&setting("AMQP_URL"), &name),
            master_key_text: setting("USHER_MASTER_KEY"),
            _lock: Arc::new(lock),
        };
        store::migrate(&slot.database_url, &|_| ())
            .await
            .expect("the migrations fit an empty database");
        let mut redis = slot.redis().await;
        let () = redis::cmd("FLUSHDB").query_async(&mut redis).await.expect("redis answers");
        slot
    }

    /// A pool on the slot's database.
    ///
    /// # Panics
    /// If the URL cannot be read.
    #[must_use]
    pub fn pool(&self) -> Pool {
        store::connect(&self.database_url, "test", 8).expect("DATABASE_URL is readable")
    }

    /// A connection to the slot's Redis.
    ///
    /// # Panics
    /// If Redis does not answer.
    pub async fn redis(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.redis_url.as_str()).expect("REDIS_URL is readable");
        client.get_multiplexed_async_connection().await.expect("redis answers")
    }

    /// The installation's key.
    ///
    /// # Panics
    /// If the key is malformed.
    #[must_use]
    pub fn master_key(&self) -> MasterKey {
        MasterKey::parse(&self.master_key_text).expect("USHER_MASTER_KEY is 32 bytes in base64")
    }

    /// The slot's addresses as environment variables, for processes that a test starts.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
            ("AMQP_URL", self.amqp_url.clone()),
            ("USHER_MASTER_KEY", self.master_key_text.clone()),
        ]
    }
}

#[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by ./dev test"))
}

/// Locks the first free slot; returns it with the connection that holds it.
async fn lock_slot() -> (i32, PgConnection) {
    // All tests lock in one database, since each database has advisory locks of its own.
    let url = with_last_segment(&setting("DATABASE_URL"), "postgres");
    let mut admin = PgConnection::connect(&url).await.expect("postgres answers");
    let end = Instant::now() + SLOT_WAIT;
    loop {
        for number in 0..SLOTS {
            let locked = sqlx::query_scalar::<_, bool>("select pg_try_advisory_lock($1, $2)")
                .bind(LOCK_CLASS)
                .bind(number)
                .fetch_one(&mut admin);
            if locked.await.expect("postgres answers") {
                return (number, admin);
            }
        }
        assert!(Instant::now() < end, "no slot came free in {SLOT_WAIT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn with_last_segment(url: &str, segment: &str) -> String {
    let (head, _) = url.rsplit_once('/').expect("a URL has a path");
    format!("{head}/{segment}")
}

async fn make_database(admin: &mut PgConnection, name: &str) {
    // Such statements take no parameters; the name is made of fixed words and digits.
    let drop = format!("drop database if exists {name} with (force)");
    let end = Instant::now() + DROP_WAIT;
    // Only a superuser may drop a database while autovacuum works in it.
    while let Err(error) = admin.execute(AssertSqlSafe(drop.as_str())).await {
        assert!(Instant::now() < end, "{name} cannot be dropped: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let create = format!("create database {name}");
    admin.execute(AssertSqlSafe(create)).await.expect("the role may create databases");
}
