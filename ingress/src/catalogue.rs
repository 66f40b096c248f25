//! Reading the catalogue: what is shown where and when, and which seats are left.

mod movies;
mod theatres;
mod shows;
pub(crate) mod seat_maps;

use axum::{Router, routing::get};
use utoipa::OpenApi;

use crate::state::State;

#[derive(OpenApi)]
#[openapi(
    paths(
        movies::list,
        movies::one,
        movies::availability,
        movies::shows,
        theatres::list,
        theatres::one,
        theatres::screen,
        shows::upcoming,
        shows::one,
        seat_maps::one,
    ),
    tags((name = "catalogue", description = "What is shown where and when."))
)]
pub(crate) struct Docs;

pub(crate) fn router() -> Router<State> {
    Router::new()
        .route("/movies", get(movies::list))
        .route("/movies/{id}", get(movies::one))
        .route("/movies/{id}/availability", get(movies::availability))
        .route("/movies/{id}/shows", get(movies::shows))
        .route("/theatres", get(theatres::list))
        .route("/theatres/{id}", get(theatres::one))
        .route("/screens/{id}", get(theatres::screen))
        .route("/shows/upcoming", get(shows::upcoming))
        .route("/shows/{id}", get(shows::one))
        .route("/shows/{id}/seatmap", get(seat_maps::one))
}
