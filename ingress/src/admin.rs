//! What organisers do: the catalogue's writes, and the life of a sale. Needs the role `admin`.

mod movies;
mod theatres;
mod screens;
mod shows;
mod sale;

use axum::{
    Json, Router,
    extract::FromRequestParts,
    http::{HeaderName, StatusCode, header, request::Parts},
    routing::{patch, post, put},
};
use contract::{AccountId, api::BASE};
use platform::http::{ADMIN_BODY_BYTES_MAX, AdminCaller, ApiError, Body};
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

/// An admin. Checked before the body is read: bodies here are large.
struct Admin(AccountId);

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let AdminCaller(caller) = AdminCaller::from_request_parts(parts, state).await?;
        Ok(Self(caller.account))
    }
}

/// A body of an admin.
type AdminBody<T> = Body<T, ADMIN_BODY_BYTES_MAX>;

/// 201 with the new thing and where it is.
type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

fn created<T>(path: &str, id: impl std::fmt::Display, thing: T) -> Created<T> {
    let location = [(header::LOCATION, format!("{BASE}/{path}/{id}"))];
    (StatusCode::CREATED, location, Json(thing))
}
