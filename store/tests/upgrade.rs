//! The schema changes while tickets are sold, and the version before goes on beside the new one.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use contract::access::Role;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _};
use store::{MIGRATIONS, migrate};
use testing::{Slot, account, eventually};
use tokio::time::Instant;

/// The last migration of version 3f88f6e.
const BEFORE: i64 = 21;
/// A migration waits half a second for a lock at most; the rest is for a busy machine.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A write that takes longer waited for a lock.
const IS_PAUSED: Duration = Duration::from_millis(200);
/// How long a transaction stands in the way.
const IN_THE_WAY: Duration = Duration::from_secs(8);
/// Longest time that a writer waits in all: for four tries of 0.4 s, and the rest of a busy machine.
const PAUSED_MAX: Duration = Duration::from_millis(2400);
const SOON: Duration = Duration::from_secs(30);

/// A query of an earlier version, with the columns it had then.
#[derive(Deserialize)]
struct Query {
    query: String,
    /// Names, and types where they are built in.
    columns: Vec<(String, Option<String>)>,
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// The slot's database, emptied and brought to a version as the migrator of the time did.
async fn emptied(slot: &Slot, version: i64) -> PgConnection {
    let mut direct = connect(&slot.database_url).await;
    direct.execute("drop schema public cascade; create schema public").await.unwrap();
    let mut fresh = connect(&slot.database_url).await;
    MIGRATIONS.run_to(version, &mut fresh).await.unwrap();
    fresh
}

/// Every column, index, constraint, trigger and view there is.
async fn shape(direct: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', table_name, column_name, data_type, udt_name, is_nullable,
                          column_default)
         from information_schema.columns where table_schema = 'public'
         union all select indexdef from pg_indexes where schemaname = 'public'
         union all select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
                   from pg_constraint where connamespace = 'public'::regnamespace
         union all select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
         union all select concat_ws(' ', viewname, definition)
                   from pg_views where schemaname = 'public'
         union all select concat_ws(' ', typname, enumlabel)
                   from pg_enum e join pg_type t on t.oid = e.enumtypid
         order by 1",
    )
    .fetch_all(direct)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_version_before_fits_the_new_schema() {
    let slot = Slot::take().await;
    let mut direct = connect(&slot.database_url).await;
    let queries: Vec<Query> = serde_json::from_str(include_str!("before/3f88f6e.json")).unwrap();
    assert!(queries.len() > 100);
    for Query { query, columns } in queries {
        let described = direct.describe(AssertSqlSafe(query.clone()).into_sql_str()).await;
        let described = described.unwrap_or_else(|error| panic!("{query}: {error}"));
        let now: Vec<_> = described
            .columns()
            .iter()
            .map(|column| {
                use sqlx::{Column as _, TypeInfo as _};
                (column.name().to_owned(), column.type_info().name().to_lowercase())
            })
            .collect();
        assert_eq!(now.len(), columns.len(), "{query}");
        for ((name, kind), (old_name, old_kind)) in now.iter().zip(&columns) {
            assert_eq!(name, old_name, "{query}");
            let Some(old_kind) = old_kind else { continue };
            assert_eq!(*kind, in_words_of_postgres(old_kind), "{name} of {query}");
        }
    }
}

/// The rehearsal of an upgrade (`./dev rehearse`) begins with them.
#[tokio::test]
async fn the_kit_makes_accounts_in_the_schema_of_the_version_before() {
    let slot = Slot::take().await;
    let mut direct = emptied(&slot, BEFORE).await;
    let pool = slot.pool();
    let (admin, user) = (account(&pool, Role::Admin).await, account(&pool, Role::User).await);
    let roles = "select role::text from accounts where account_id in ($1, $2) order by 1";
    let roles: Vec<String> =
        sqlx::query_scalar(roles).bind(admin.0).bind(user.0).fetch_all(&mut direct).await.unwrap();
    assert_eq!(roles, ["admin", "user"]);
}

/// Types as `.sqlx` names them.
fn in_words_of_postgres(kind: &str) -> String {
    let (element, array) = match kind.strip_suffix("Array") {
        Some(element) => (element.to_lowercase(), "[]"),
        None => (kind.to_lowercase(), ""),
    };
    format!("{element}{array}")
}

/// The old version writes rows without the new columns, and reads words that it knows.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_version_before_writes_fits_the_new_schema() {
    let slot = Slot::take().await;
    let columns = "select table_name::text, column_name::text,
                       is_nullable = 'YES' or column_default is not null or is_identity = 'YES'
                           or is_generated = 'ALWAYS'
                   from information_schema.columns where table_schema = 'public'";
    let mut direct = emptied(&slot, BEFORE).await;
    let before: Vec<(String, String, bool)> =
        sqlx::query_as(columns).fetch_all(&mut direct).await.unwrap();
    migrate(&slot.database_url, &|_| ()).await.unwrap();
    let after: Vec<(String, String, bool)> =
        sqlx::query_as(columns).fetch_all(&mut direct).await.unwrap();
    let after: BTreeMap<(String, String), bool> =
        after.into_iter().map(|(table, column, optional)| ((table, column), optional)).collect();
    for (table, column, was_optional) in &before {
        let optional = after.get(&(table.clone(), column.clone()));
        let optional = optional.unwrap_or_else(|| panic!("{table}.{column} is gone"));
        assert!(*optional || !was_optional, "{table}.{column} has to be written now");
    }
    for ((table, column), optional) in &after {
        let is_new = !before.iter().any(|(t, c, _)| (t, c) == (table, column));
        let is_old_table = before.iter().any(|(t, ..)| t == table);
        assert!(
            !is_new || !is_old_table || *optional,
            "{table}.{column} is new and has to be written"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_beside_the_sale_end_where_the_written_ones_end() {
    let slot = Slot::take().await;
    let mut written = emptied(&slot, i64::MAX).await;
    let expected = shape(&mut written).await;
    let mut stepped = emptied(&slot, 8).await;
    migrate(&slot.database_url, &|_| ()).await.unwrap();
    assert_eq!(shape(&mut stepped).await, expected);
    // The migrator of the version before agrees with what was written down.
    MIGRATIONS.run(&mut stepped).await.unwrap();
    // A schema that is newer than the program is left alone: services may be rolled back.
    stepped
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'later', true, '', 0)",
        )
        .await
        .unwrap();
    let told = Mutex::new(Vec::new());
    migrate(&slot.database_url, &|line| told.lock().unwrap().push(line.to_owned())).await.unwrap();
    assert!(told.into_inner().unwrap().concat().contains("9999"));
}

/// How a writer fared.
#[derive(Default)]
struct Writing {
    longest: Duration,
    paused: Duration,
    n: u32,
}

const ADMIT: &str = "insert into admissions (show_id, ticket_id, account_id, lane, epoch, number)
                     values ($1, gen_random_uuid(), gen_random_uuid(), 0, 1, 1)";
const DECIDE: &str = "update partitions set version = version + 1 where show_id = $1";

/// Runs a statement of a sale again and again, until it is stopped.
async fn write(url: &str, statement: &'static str, show: uuid::Uuid, stop: &AtomicBool) -> Writing {
    let mut direct = connect(url).await;
    let mut writing = Writing::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        sqlx::query(statement).bind(show).execute(&mut direct).await.unwrap();
        let took = began.elapsed();
        writing.longest = writing.longest.max(took);
        if took > IS_PAUSED {
            writing.paused += took;
        }
        writing.n += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writing
}

async fn half_built(direct: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from pg_index where not indisvalid")
        .fetch_one(direct)
        .await
        .unwrap()
}

/// Makes a show in a schema of any version, and this many admissions.
async fn show_with_admissions(direct: &mut PgConnection, n: i32) -> uuid::Uuid {
    sqlx::query(
        "with m as (insert into movies (movie_id, title, description, genres, rating,
                        duration_minutes, release_date, language)
                    values (gen_random_uuid(), 'x', '', '{}', 'U', 1, '2026-01-15', 'x')
                    returning movie_id),
              t as (insert into theatres (theatre_id, name, address, city, latitude, longitude)
                    values (gen_random_uuid(), 'x', 'x', 'x', 0, 0) returning theatre_id),
              s as (insert into screens (screen_id, theatre_id, name, tiers, layout)
                    select gen_random_uuid(), theatre_id, 'x', '[]', '{}' from t
                    returning screen_id, theatre_id)
         insert into shows (show_id, movie_id, theatre_id, screen_id, starts_at, sale_opens_at,
             sale_closes_at, currency, max_seats_per_user)
         select gen_random_uuid(), movie_id, theatre_id, screen_id, now() + interval '1 day',
             now(), now() + interval '1 hour', 'INR', 10 from m, s",
    )
    .execute(&mut *direct)
    .await
    .unwrap();
    let show: uuid::Uuid =
        sqlx::query_scalar("select show_id from shows").fetch_one(&mut *direct).await.unwrap();
    sqlx::query(
        "insert into admissions (show_id, ticket_id, account_id, lane, epoch, number)
         select $1, gen_random_uuid(), gen_random_uuid(), 0, 1, n from generate_series(1, $2) as n",
    )
    .bind(show)
    .bind(n)
    .execute(direct)
    .await
    .unwrap();
    show
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_hundred_thousand_rows_in_use_is_migrated_while_it_is_written() {
    let slot = Slot::take().await;
    let mut direct = emptied(&slot, 8).await;
    let show = show_with_admissions(&mut direct, 100_000).await;
    // What an interrupted run leaves behind.
    let broken = "create unique index concurrently admissions_by_time on admissions (lane)";
    direct.execute(broken).await.expect_err("all are in one lane");
    assert_eq!(half_built(&mut direct).await, 1);
    // A reader of the table, because of which no strong lock is granted for a while.
    let mut reader = connect(&slot.database_url).await;
    reader.execute("set idle_in_transaction_session_timeout = 0").await.unwrap();
    reader.execute("begin; lock table admissions in access share mode").await.unwrap();
    let (stop, told) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
    let migrating = async {
        // Two at a time: one does it, the other waits for its turn.
        let both = futures_util::future::join(
            migrate(&slot.database_url, &tell),
            migrate(&slot.database_url, &tell),
        );
        let (one, other) = both.await;
        one.unwrap();
        other.unwrap();
        stop.store(true, Ordering::Relaxed);
    };
    let reading = async {
        eventually("it is told who stands in the way", SOON, async || {
            let told = told.lock().unwrap().concat();
            (told.contains("waits for transactions")
                && told.contains("another process that is migrating"))
            .then_some(())
        })
        .await;
        tokio::time::sleep(IN_THE_WAY).await;
        reader.execute("commit").await.unwrap();
    };
    let (Writing { longest, paused, n }, (), ()) =
        futures_util::join!(write(&slot.database_url, ADMIT, show, &stop), migrating, reading);
    assert!(longest < PAUSE_MAX, "a writer waited {longest:?}");
    assert!(paused < PAUSED_MAX, "a writer waited {paused:?} in all");
    assert!(n > 100, "it was written all the time: {n}");
    assert_eq!(half_built(&mut direct).await, 0);
    let index: String = sqlx::query_scalar(
        "select indexdef from pg_indexes where indexname = 'admissions_by_time'",
    )
    .fetch_one(&mut direct)
    .await
    .unwrap();
    assert!(index.contains("show_id, admitted_at, ticket_id"), "{index}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_migration_22_waits_for_one_table_it_has_not_locked_the_others() {
    let slot = Slot::take().await;
    let mut direct = emptied(&slot, BEFORE).await;
    let show = show_with_admissions(&mut direct, 1).await;
    sqlx::query(
        "insert into partitions (show_id, tier, name, price, general_admission, capacity, available)
         values ($1, 'STANDARD', 'x', 1, true, 1, 1)",
    )
    .bind(show)
    .execute(&mut direct)
    .await
    .unwrap();
    direct.execute("set idle_in_transaction_session_timeout = 0").await.unwrap();
    direct.execute("begin; lock table allocators in access share mode").await.unwrap();
    let (stop, told) = (AtomicBool::new(false), Mutex::new(String::new()));
    let tell = |line: &str| told.lock().unwrap().push_str(line);
    let migrating = async { migrate(&slot.database_url, &tell).await.unwrap() };
    let writing = async {
        eventually("it is told who stands in the way", SOON, async || {
            told.lock().unwrap().contains("waits for transactions").then_some(())
        })
        .await;
        // The next two tries.
        let until = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            stop.store(true, Ordering::Relaxed);
            direct.execute("commit").await.unwrap();
        };
        futures_util::join!(write(&slot.database_url, DECIDE, show, &stop), until).0
    };
    let ((), Writing { paused, n, .. }) = futures_util::join!(migrating, writing);
    assert!(paused < 2 * IS_PAUSED, "a writer waited {paused:?} in all");
    assert!(n > 100, "it was written all the time: {n}");
}
