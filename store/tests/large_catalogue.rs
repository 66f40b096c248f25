//! A catalogue of thousands: what is looked for is found by an index.

use chrono::{NaiveDate, NaiveTime};
use contract::{MovieId, ScreenId, TheatreId};
use sqlx::Row as _;
use store::{
    Pool, StoreResult,
    catalogue::{self, movies, shows, theatres},
};
use testing::Slot;
use uuid::Uuid;

const MADE: [&str; 5] = [
    "insert into movies (movie_id, title, description, genres, rating, duration_minutes,
         release_date, language)
     select md5('m' || n)::uuid, initcap(md5(n::text)), md5('d' || n) || ' ' || md5('e' || n),
         array[case when n % 500 = 0 then 'Western' else 'Drama' end], 'U', 90, '2026-01-01',
         'Hindi'
     from generate_series(1, 5000) as n",
    "insert into movies (movie_id, title, description, genres, rating, duration_minutes,
         release_date, language)
     values (md5('one')::uuid, 'The Long Monsoon', 'It rains on Bandra.', '{Noir}', 'U', 90,
         '2026-01-01', 'Hindi')",
    "insert into theatres (theatre_id, name, address, city, latitude, longitude, time_zone)
     select md5('t' || n)::uuid, 'House ' || n, 'Street', 'City ' || n % 50, n / 10.0, n / 5.0,
         'Asia/Kolkata'
     from generate_series(1, 200) as n",
    "insert into screens (screen_id, theatre_id, name, tiers, layout)
     select md5('s' || n)::uuid, md5('t' || n)::uuid, 'Hall', '[]', '{\"rows\": []}'
     from generate_series(1, 200) as n",
    "insert into shows (show_id, movie_id, theatre_id, screen_id, starts_at, sale_opens_at,
         sale_closes_at, currency, max_seats_per_user)
     select md5('w' || n)::uuid, md5('m' || n % 5000 + 1)::uuid, md5('t' || n % 200 + 1)::uuid,
         md5('s' || n % 200 + 1)::uuid, '2040-01-01'::timestamptz + n * interval '20 minutes',
         '2026-01-01', '2041-01-01', 'INR', 4
     from generate_series(1, 20000) as n",
];
/// Most rows of one table that a search may read; a walk reads thousands.
const READ_MAX: i64 = 300;

/// Rows read of each table so far, by any connection.
async fn rows_read(pool: &Pool) -> Vec<(String, i64)> {
    // A connection tells its numbers now and then, unless it is asked to.
    sqlx::query("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    let rows = sqlx::query(
        "select relname::text as name, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as n
         from pg_stat_user_tables where relname in ('movies', 'shows', 'theatres')
         order by relname",
    );
    let rows = rows.fetch_all(pool).await.unwrap();
    rows.iter().map(|row| (row.get("name"), row.get("n"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_for_is_found_by_an_index() -> StoreResult<()> {
    let slot = Slot::take().await;
    // One connection, which is asked for its numbers.
    let pool = store::connect(&slot.database_url, "reader", 1).unwrap();
    for sql in MADE {
        sqlx::query(sql).execute(&pool).await?;
    }
    for table in ["movies", "shows", "theatres"] {
        let off = format!("alter table {table} set (autovacuum_enabled = off)");
        sqlx::query(sqlx::AssertSqlSafe(off)).execute(&pool).await?;
    }
    sqlx::query("analyze").execute(&pool).await?;

    let one = MovieId(md5(&pool, "one").await);
    let all = movies::Filter { limit: 21, ..movies::Filter::default() };
    let by = |genre| movies::Filter { genre: Some(genre), ..all };
    let day = NaiveDate::from_ymd_opt(2040, 3, 1);
    let page = shows::Filter { limit: 20, ..shows::Filter::default() };
    let theatre = TheatreId(md5(&pool, "t7").await);
    let evening = NaiveTime::from_hms_opt(18, 0, 0);
    // More often than PostgreSQL plans a statement anew: the plan that stays counts as well.
    for round in 0..8 {
        let mut before = rows_read(&pool).await;
        let mut costs = async |what: &str| {
            let after = rows_read(&pool).await;
            for ((table, was), (_, is)) in before.iter().zip(&after) {
                // Theatres are few, and read as a whole.
                let read = is - was;
                assert!(read <= READ_MAX, "{what}, round {round}: {read} rows of {table}");
            }
            before = after;
        };
        for text in ["monsoon", "mon rain", "monson", "long mons", "bandra"] {
            let found = movies::search(&pool, text, all, None).await?;
            assert_eq!(found.first().map(|(_, movie)| movie.movie_id), Some(one), "{text}");
            costs(text).await;
        }
        assert_eq!(movies::list(&pool, by("noir"), None).await?.len(), 1);
        costs("a rare genre").await;
        assert_eq!(movies::list(&pool, all, None).await?.len(), 21);
        costs("a page by title").await;
        let of_day = shows::Filter { from: day, until: day, ..page.clone() };
        assert!(shows::list(&pool, of_day).await?.last.is_some());
        costs("shows of a day").await;
        let of_theatre =
            shows::Filter { theatre: Some(theatre), not_before: evening, ..page.clone() };
        shows::list(&pool, of_theatre).await?;
        costs("evenings of a theatre").await;
        assert_eq!(
            theatres::list(&pool, theatres::Filter { limit: 21, ..Default::default() })
                .await?
                .len(),
            21
        );
        let mut tx = pool.begin().await?;
        let screen = ScreenId(md5(&mut *tx, "s7").await);
        let starts_at = "2040-03-01T00:00:00Z".parse().unwrap();
        catalogue::overlap(&mut tx, screen, starts_at, 90, None).await?;
        tx.commit().await?;
        costs("who is in the way").await;
    }
    pool.close().await;
    Ok(())
}

/// The id that was made of a text.
async fn md5(executor: impl sqlx::PgExecutor<'_>, text: &str) -> Uuid {
    sqlx::query_scalar("select md5($1)::uuid").bind(text).fetch_one(executor).await.unwrap()
}
