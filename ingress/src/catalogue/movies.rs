//! Movies, and when they are shown.

use std::sync::Arc;

use axum::{Json, extract::State};
use contract::{
    MovieId,
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

use super::wanted::{ShowsWanted, text};
use crate::{
    Ingress,
    errors::database,
    page::{Window, page_to},
};

/// Shows listed with a movie, and days of its availability.
const LISTED_MAX: u16 = 100;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MoviesWanted {
    /// A part of the title, or words of title and description, of which each may be cut short. A
    /// title that is almost the same is found, too.
    q: Option<String>,
    /// A genre, such as `Drama`.
    genre: Option<String>,
    /// A language, such as `Hindi`.
    language: Option<String>,
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Movies by title; with `q`, the best match first.
///
/// Upper or lower case and accents make no difference.
#[utoipa::path(get, path = "/movies", tag = "catalogue", params(MoviesWanted), responses(
    (status = 200, body = Page<Movie>),
))]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    Params(wanted): Params<MoviesWanted>,
) -> ApiResult<Json<Page<Movie>>> {
    let genre = text("genre", wanted.genre.as_deref())?;
    let language = text("language", wanted.language.as_deref())?;
    let (limit, cursor) = (wanted.limit, wanted.cursor.as_deref());
    let Some(q) = text("q", wanted.q.as_deref())? else {
        let window = Window::<(String, MovieId)>::new(limit, cursor)?;
        let filter = movies::Filter { genre, language, limit: window.read() };
        let after = window.after.as_ref().map(|(title, movie)| (title.as_str(), *movie));
        let found = movies::list(&ingress.read_pool, filter, after).await.map_err(database)?;
        return Ok(Json(window.page(found, |movie| (movie.details.title.clone(), movie.movie_id))));
    };
    let window = Window::<(i32, String, MovieId)>::new(limit, cursor)?;
    let filter = movies::Filter { genre, language, limit: window.read() };
    let after = window.after.as_ref().map(|(n, title, movie)| (*n, title.as_str(), *movie));
    let found = movies::search(&ingress.read_pool, q, filter, after).await.map_err(database)?;
    let page = window
        .page(found, |(distance, movie)| (*distance, movie.details.title.clone(), movie.movie_id));
    Ok(Json(page.map(|(_, movie)| movie)))
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

/// Days on which a movie is still to be shown, each by the time zone of its theatre.
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

/// A movie's shows to come, the soonest first.
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
    let filter = wanted.filter(Some(movie))?;
    movie_of(&ingress, movie).await?;
    let listed = shows::list(&ingress.read_pool, filter).await.map_err(database)?;
    let shows = listed.sales.iter().map(|sale| ingress.as_seen(sale)).collect();
    Ok(Json(page_to(shows, listed.last.as_ref())))
}

async fn movie_of(ingress: &Ingress, movie: MovieId) -> Result<Movie, ApiError> {
    let found = movies::by_id(&ingress.read_pool, movie).await.map_err(database)?;
    found.ok_or_else(|| ApiError::not_found(Code::MovieNotFound))
}
