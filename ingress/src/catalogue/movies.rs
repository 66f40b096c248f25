//! Movies, and when they are shown.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, NaiveDate, Utc};
use contract::{
    MovieId, ShowId, TheatreId,
    api::{
        Page,
        catalogue::{Availability, Movie, MovieWithShows, Show},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, Params, PathId};
use serde::Deserialize;
use store::catalogue::{movies, shows};
use utoipa::IntoParams;

use crate::{
    Ingress, check,
    errors::database,
    page::{Window, page_to},
};

/// Shows listed with a movie, and days of its availability.
const LISTED_MAX: u16 = 100;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MoviesWanted {
    /// A part of the title.
    q: Option<String>,
    /// A genre, such as `Drama`.
    genre: Option<String>,
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Movies by title.
#[utoipa::path(get, path = "/movies", tag = "catalogue", params(MoviesWanted), responses(
    (status = 200, body = Page<Movie>),
))]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    Params(wanted): Params<MoviesWanted>,
) -> ApiResult<Json<Page<Movie>>> {
    let window = Window::<(String, MovieId)>::new(wanted.limit, wanted.cursor.as_deref())?;
    for (name, text) in [("q", &wanted.q), ("genre", &wanted.genre)] {
        check::prose(name, text.as_deref().unwrap_or_default(), 100)?;
    }
    let filter = movies::Filter {
        title: wanted.q.as_deref().filter(|text| !text.is_empty()),
        genre: wanted.genre.as_deref().filter(|text| !text.is_empty()),
        after: window.after.as_ref().map(|(title, movie)| (title.as_str(), *movie)),
        limit: window.read(),
    };
    let found = movies::list(&ingress.read_pool, filter).await.map_err(database)?;
    Ok(Json(window.page(found, |movie| (movie.details.title.clone(), movie.movie_id))))
}

/// A movie with its upcoming shows.
#[utoipa::path(get, path = "/movies/{id}", tag = "catalogue", params(("id" = MovieId, Path)),
    responses(
        (status = 200, body = MovieWithShows),
        (status = 404, description = "MOVIE_NOT_FOUND"),
    )
)]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(movie): PathId<MovieId>,
) -> ApiResult<Json<MovieWithShows>> {
    let found = movie_of(&ingress, movie).await?;
    let filter = shows::Filter { movie: Some(movie), limit: LISTED_MAX, ..Default::default() };
    let listed = shows::list(&ingress.read_pool, filter).await.map_err(database)?;
    let shows = listed.sales.iter().map(|sale| ingress.as_seen(sale)).collect();
    Ok(Json(MovieWithShows { movie: found, shows }))
}

/// Days, in UTC, on which a movie is still to be shown.
#[utoipa::path(get, path = "/movies/{id}/availability", tag = "catalogue",
    params(("id" = MovieId, Path)), responses(
        (status = 200, body = Availability),
        (status = 404, description = "MOVIE_NOT_FOUND"),
    )
)]
pub(super) async fn read_availability(
    State(ingress): State<Arc<Ingress>>,
    PathId(movie): PathId<MovieId>,
) -> ApiResult<Json<Availability>> {
    movie_of(&ingress, movie).await?;
    let dates =
        movies::dates(&ingress.read_pool, movie, LISTED_MAX.into()).await.map_err(database)?;
    Ok(Json(Availability { dates }))
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ShowsWanted {
    /// A day in UTC, such as `2026-12-24`; every day where it is absent.
    date: Option<NaiveDate>,
    /// In this theatre alone.
    theatre_id: Option<TheatreId>,
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A movie's shows of a day.
#[utoipa::path(get, path = "/movies/{id}/shows", tag = "catalogue",
    params(("id" = MovieId, Path), ShowsWanted), responses(
        (status = 200, body = Page<Show>),
        (status = 404, description = "MOVIE_NOT_FOUND"),
    )
)]
pub(super) async fn list_shows(
    State(ingress): State<Arc<Ingress>>,
    PathId(movie): PathId<MovieId>,
    Params(wanted): Params<ShowsWanted>,
) -> ApiResult<Json<Page<Show>>> {
    let window = Window::<(DateTime<Utc>, ShowId)>::new(wanted.limit, wanted.cursor.as_deref())?;
    if let Some(date) = wanted.date {
        check::date("date", date)?;
    }
    movie_of(&ingress, movie).await?;
    let filter = shows::Filter {
        movie: Some(movie),
        theatre: wanted.theatre_id,
        date: wanted.date,
        after: window.after,
        limit: window.limit,
    };
    let listed = shows::list(&ingress.read_pool, filter).await.map_err(database)?;
    let shows = listed.sales.iter().map(|sale| ingress.as_seen(sale)).collect();
    Ok(Json(page_to(shows, listed.last.as_ref())))
}

async fn movie_of(ingress: &Ingress, movie: MovieId) -> Result<Movie, ApiError> {
    let found = movies::by_id(&ingress.read_pool, movie).await.map_err(database)?;
    found.ok_or_else(|| ApiError::not_found(Code::MovieNotFound))
}
