//! What organisers do: the catalogue's writes, and the life of a sale. Needs the role `admin`.

mod movies;
mod theatres;
mod screens;
mod shows;
mod sale;
mod write;

use axum::{
    Router,
    routing::{patch, post, put},
};
use utoipa::OpenApi;

use crate::state::State;

#[derive(OpenApi)]
#[openapi(
    paths(
        movies::create,
        movies::change,
        movies::retire,
        theatres::create,
        theatres::change,
        theatres::retire,
        screens::create,
        screens::change,
        screens::retire,
        shows::create,
        shows::change,
        shows::retire,
        sale::open,
        sale::close,
        sale::change_waiting_room,
    ),
    tags((name = "administration", description = "What organisers do. Needs the role admin."))
)]
pub(crate) struct Docs;

pub(crate) fn router() -> Router<State> {
    Router::new()
        .route("/movies", post(movies::create))
        .route("/movies/{id}", put(movies::change).delete(movies::retire))
        .route("/theatres", post(theatres::create))
        .route("/theatres/{id}", put(theatres::change).delete(theatres::retire))
        .route("/screens", post(screens::create))
        .route("/screens/{id}", put(screens::change).delete(screens::retire))
        .route("/shows", post(shows::create))
        .route("/shows/{id}", put(shows::change).delete(shows::retire))
        .route("/shows/{id}/open", post(sale::open))
        .route("/shows/{id}/close", post(sale::close))
        .route("/shows/{id}/waiting-room", patch(sale::change_waiting_room))
}
