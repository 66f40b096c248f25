//! Movies.

use chrono::NaiveDate;
use contract::{
    AccountId, MovieId,
    api::catalogue::{Movie, MovieDetails},
};
use uuid::Uuid;

use super::{
    literal::literally,
    to_come::{self, Retirement},
};
use crate::{Connection, Pool, StoreResult};

/// Which movies are wanted; upper or lower case and accents make no difference.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    pub genre: Option<&'a str>,
    pub language: Option<&'a str>,
    /// Most movies to return.
    pub limit: i64,
}

/// Movies by title: those after `after`.
pub async fn list(
    pool: &Pool,
    filter: Filter<'_>,
    after: Option<(&str, MovieId)>,
) -> StoreResult<Vec<Movie>> {
    let (after_title, after_id) = after.unzip();
    let rows = sqlx::query_as!(
        Row,
        "select movie_id, title, description, genres, rating, duration_minutes, release_date,
             poster_url, language
         from movies
         where retired_at is null
             and ($1::text is null or folded(genres) @> array[folded($1)])
             and ($2::text is null or folded(language) = folded($2))
             and ($3::text is null or (title, movie_id) > ($3, $4))
         order by title, movie_id
         limit $5",
        filter.genre,
        filter.language,
        after_title,
        after_id.map(|movie| movie.0),
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Movie::from).collect())
}

/// How far a movie is from what was searched for, and the movie: 0 where the title begins with the
/// text, 1 where it contains the text, up to 1000.
pub type Found = (i32, Movie);

/// Movies by how well they match a text: by a part of the title, by a title that is almost the text,
/// or by words of title and description, which may be written in part. Those after `after`.
pub async fn search(
    pool: &Pool,
    text: &str,
    filter: Filter<'_>,
    after: Option<(i32, &str, MovieId)>,
) -> StoreResult<Vec<Found>> {
    let rows = sqlx::query!(
        r#"with found as (
               select case when folded(title) like folded($2) || '%' then 0
                       when folded(title) like '%' || folded($2) || '%' then 1
                       else 1000 - (500 * word_similarity(folded($1), folded(title)))::integer
                   end as distance, *
               from movies
               where retired_at is null
                   and (folded(title) like '%' || folded($2) || '%'
                       or folded($1) <% folded(title)
                       or to_tsvector('simple', folded(title || ' ' || description))
                           @@ words_of($1))
                   and ($3::text is null or folded(genres) @> array[folded($3)])
                   and ($4::text is null or folded(language) = folded($4)))
           select distance as "distance!", movie_id as "movie_id!", title as "title!",
               description as "description!", genres as "genres!", rating as "rating!",
               duration_minutes as "duration_minutes!", release_date as "release_date!",
               poster_url, language as "language!"
           from found
           where $5::integer is null or (distance, title, movie_id) > ($5, $6, $7)
           order by distance, title, movie_id
           limit $8"#,
        text,
        literally(text),
        filter.genre,
        filter.language,
        after.map(|(distance, ..)| distance),
        after.map(|(_, title, _)| title),
        after.map(|(.., movie)| movie.0),
        filter.limit,
    )
    .fetch_all(pool)
    .await?;
    let found = rows.into_iter().map(|row| {
        let movie = Row {
            movie_id: row.movie_id,
            title: row.title,
            description: row.description,
            genres: row.genres,
            rating: row.rating,
            duration_minutes: row.duration_minutes,
            release_date: row.release_date,
            poster_url: row.poster_url,
            language: row.language,
        };
        (row.distance, movie.into())
    });
    Ok(found.collect())
}

/// Finds a movie.
pub async fn by_id(pool: &Pool, movie: MovieId) -> StoreResult<Option<Movie>> {
    let row = sqlx::query_as!(
        Row,
        "select movie_id, title, description, genres, rating, duration_minutes, release_date,
             poster_url, language
         from movies where movie_id = $1 and retired_at is null",
        movie.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Movie::from))
}

/// Finds a movie, which cannot be retired before the transaction ends.
pub async fn locked(tx: &mut Connection, movie: MovieId) -> StoreResult<Option<Movie>> {
    let row = sqlx::query_as!(
        Row,
        "select movie_id, title, description, genres, rating, duration_minutes, release_date,
             poster_url, language
         from movies where movie_id = $1 and retired_at is null for share",
        movie.0
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(Movie::from))
}

/// Days on which the movie is still to be shown, each by the time zone of its theatre; the first
/// `limit`.
pub async fn dates(pool: &Pool, movie: MovieId, limit: i64) -> StoreResult<Vec<NaiveDate>> {
    let dates = sqlx::query_scalar!(
        r#"select distinct (starts_at at time zone time_zone)::date as "date!"
           from shows join theatres using (theatre_id)
           where movie_id = $1 and shows.retired_at is null and starts_at > clock_timestamp()
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

/// The account of the organiser who entered a movie: `None` where there is no such movie, and
/// `Some(None)` where it was an admin.
pub async fn owner(tx: &mut Connection, movie: MovieId) -> StoreResult<Option<Option<AccountId>>> {
    let owner = sqlx::query_scalar!(
        "select owner_id from movies where movie_id = $1 and retired_at is null",
        movie.0
    );
    Ok(owner.fetch_optional(tx).await?.map(|owner| owner.map(AccountId)))
}

/// Adds a movie, which an organiser has entered, or an admin.
pub async fn insert(
    tx: &mut Connection,
    movie: &Movie,
    owner: Option<AccountId>,
) -> StoreResult<()> {
    let details = &movie.details;
    sqlx::query!(
        "insert into movies (movie_id, title, description, genres, rating, duration_minutes,
             release_date, poster_url, language, owner_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        movie.movie_id.0,
        details.title,
        details.description,
        &details.genres,
        details.rating,
        details.duration_minutes,
        details.release_date,
        details.poster_url,
        details.language,
        owner.map(|account| account.0),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Replaces a movie's details. Returns whether the movie exists.
pub async fn change(tx: &mut Connection, movie: &Movie) -> StoreResult<bool> {
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
    .execute(tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Takes a movie off the lists. If shows to come need it, the transaction must not be committed.
pub async fn retire(tx: &mut Connection, movie: MovieId) -> StoreResult<Retirement> {
    let retired = sqlx::query!(
        "update movies set retired_at = clock_timestamp()
         where movie_id = $1 and retired_at is null",
        movie.0
    )
    .execute(&mut *tx)
    .await?;
    if retired.rows_affected() == 0 {
        return Ok(Retirement::NotFound);
    }
    to_come::retirement(tx, movie.0).await
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
