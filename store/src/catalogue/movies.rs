//! Movies.

use chrono::NaiveDate;
use contract::{
    MovieId,
    api::catalogue::{Movie, MovieDetails},
};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{Connection, Pool, StoreResult};

/// Which movies are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// A part of the title, in upper or lower case.
    pub title: Option<&'a str>,
    /// A genre, in upper or lower case.
    pub genre: Option<&'a str>,
    /// Movies after this one, in the order of the list.
    pub after: Option<(&'a str, MovieId)>,
    /// Most movies to return.
    pub limit: i64,
}

/// Movies by title.
pub async fn list(pool: &Pool, filter: Filter<'_>) -> StoreResult<Vec<Movie>> {
    let pattern = filter.title.map(contains_pattern);
    let (after_title, after_id) = filter.after.unzip();
    let rows = sqlx::query_as!(
        Row,
        "select movie_id, title, description, genres, rating, duration_minutes, release_date,
             poster_url, language
         from movies
         where retired_at is null
             and ($1::text is null or title ilike $1)
             and ($2::text is null
                 or exists (select from unnest(genres) g where lower(g) = lower($2)))
             and ($3::text is null or (title, movie_id) > ($3, $4))
         order by title, movie_id
         limit $5",
        pattern,
        filter.genre,
        after_title,
        after_id.map(|movie| movie.0),
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Movie::from).collect())
}

/// A `like` pattern that finds the text anywhere.
fn contains_pattern(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// Finds a movie.
pub async fn by_id(executor: impl PgExecutor<'_>, movie: MovieId) -> StoreResult<Option<Movie>> {
    let row = sqlx::query_as!(
        Row,
        "select movie_id, title, description, genres, rating, duration_minutes, release_date,
             poster_url, language
         from movies where movie_id = $1 and retired_at is null",
        movie.0
    )
    .fetch_optional(executor)
    .await?;
    Ok(row.map(Movie::from))
}

/// Days, in UTC, on which the movie is still to be shown; the first `limit`.
pub async fn dates(pool: &Pool, movie: MovieId, limit: i64) -> StoreResult<Vec<NaiveDate>> {
    let dates = sqlx::query_scalar!(
        r#"select distinct (starts_at at time zone 'UTC')::date as "date!"
           from shows
           where movie_id = $1 and retired_at is null and starts_at > clock_timestamp()
               and sale_state <> 'CANCELLED'
           order by 1
           limit $2"#,
        movie.0,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(dates)
}

/// Adds a movie.
pub async fn insert(tx: &mut Connection, movie: &Movie) -> StoreResult<()> {
    let details = &movie.details;
    sqlx::query!(
        "insert into movies (movie_id, title, description, genres, rating, duration_minutes,
             release_date, poster_url, language)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        movie.movie_id.0,
        details.title,
        details.description,
        &details.genres,
        details.rating,
        details.duration_minutes,
        details.release_date,
        details.poster_url,
        details.language,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Replaces a movie's details. Returns whether the movie exists.
pub async fn change(pool: &Pool, movie: &Movie) -> StoreResult<bool> {
    let details = &movie.details;
    let changed = sqlx::query!(
        "update movies set title = $2, description = $3, genres = $4, rating = $5,
             duration_minutes = $6, release_date = $7, poster_url = $8, language = $9
         where movie_id = $1 and retired_at is null",
        movie.movie_id.0,
        details.title,
        details.description,
        &details.genres,
        details.rating,
        details.duration_minutes,
        details.release_date,
        details.poster_url,
        details.language,
    )
    .execute(pool)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Takes a movie off the lists. Returns whether it was there.
pub async fn retire(pool: &Pool, movie: MovieId) -> StoreResult<bool> {
    let retired = sqlx::query!(
        "update movies set retired_at = clock_timestamp()
         where movie_id = $1 and retired_at is null",
        movie.0
    )
    .execute(pool)
    .await?;
    Ok(retired.rows_affected() == 1)
}

struct Row {
    movie_id: Uuid,
    title: String,
    description: String,
    genres: Vec<String>,
    rating: String,
    duration_minutes: i32,
    release_date: NaiveDate,
    poster_url: Option<String>,
    language: String,
}

impl From<Row> for Movie {
    fn from(row: Row) -> Self {
        let details = MovieDetails {
            title: row.title,
            description: row.description,
            genres: row.genres,
            rating: row.rating,
            duration_minutes: row.duration_minutes,
            release_date: row.release_date,
            poster_url: row.poster_url,
            language: row.language,
        };
        Self { movie_id: MovieId(row.movie_id), details }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_for_is_taken_literally() {
        assert_eq!(contains_pattern(r"100%_\"), r"%100\%\_\\%");
    }
}
