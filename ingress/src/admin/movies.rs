//! Movies, as organisers write them.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    MovieId,
    api::{
        catalogue::{Movie, MovieDetails, NewMovie},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, Body, PathId};
use store::catalogue::movies;

use super::write::{AdminBody, Created, Organiser, created, retired};
use crate::{Ingress, check, errors::database, idempotency::Write};

/// Adds a movie.
#[utoipa::path(post, path = "/movies", tag = "administration", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)), request_body = NewMovie, responses(
        (status = 201, body = Movie),
    )
)]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    Body(new): AdminBody<NewMovie>,
) -> ApiResult<Created<Movie>> {
    let details = MovieDetails::from(new.clone());
    checked(&details)?;
    let owner = (!organiser.is_admin()).then_some(organiser.account());
    let movie = organiser
        .once(&ingress, write, &new, StatusCode::CREATED, move |tx| {
            Box::pin(async move {
                let movie = Movie { movie_id: MovieId::new(), details };
                movies::insert(tx, &movie, owner).await.map_err(database)?;
                Ok(movie)
            })
        })
        .await?;
    Ok(created("movies", movie.movie_id, movie))
}

/// Replaces what is known of a movie.
#[utoipa::path(put, path = "/movies/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = MovieId, Path)), request_body = NewMovie, responses(
        (status = 200, body = Movie),
        (status = 404, description = "MOVIE_NOT_FOUND"),
    )
)]
pub(super) async fn change(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(movie_id): PathId<MovieId>,
    Body(new): AdminBody<NewMovie>,
) -> ApiResult<Json<Movie>> {
    let movie = Movie { movie_id, details: new.into() };
    checked(&movie.details)?;
    let changing = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_have_entered(tx, movie_id).await?;
            let changed = movies::change(tx, &movie).await.map_err(database)?;
            if changed { Ok(movie) } else { Err(ApiError::not_found(Code::MovieNotFound)) }
        })
    });
    changing.await.map(Json)
}

/// Takes a movie off the lists, if no show to come needs it; shows of the past stay.
#[utoipa::path(delete, path = "/movies/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = MovieId, Path)), responses(
        (status = 204),
        (status = 404, description = "MOVIE_NOT_FOUND"),
        (status = 409, description = "STILL_IN_USE"),
    )
)]
pub(super) async fn retire(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(movie): PathId<MovieId>,
) -> ApiResult<StatusCode> {
    let retiring = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_have_entered(tx, movie).await?;
            retired(movies::retire(tx, movie).await.map_err(database)?, Code::MovieNotFound)
        })
    });
    retiring.await
}

fn checked(movie: &MovieDetails) -> ApiResult<()> {
    check::line("/title", &movie.title, 200)?;
    check::prose("/description", &movie.description, 5_000)?;
    check::within("/genres", movie.genres.len(), 0..=10)?;
    for (n, genre) in movie.genres.iter().enumerate() {
        check::line(&format!("/genres/{n}"), genre, 40)?;
    }
    check::line("/rating", &movie.rating, 20)?;
    check::within("/durationMinutes", movie.duration_minutes, 1..=1_000)?;
    check::date("/releaseDate", movie.release_date)?;
    if let Some(url) = &movie.poster_url {
        let web = url.starts_with("https://") || url.starts_with("http://");
        if !web || url.len() > 2_000 || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ApiError::invalid("/posterUrl", "is not a web address"));
        }
    }
    check::line("/language", &movie.language, 40)
}
