//! The HTTP routes of the waiting room.

pub(crate) mod limits;
mod request;
mod guard;
mod place;
mod live;
mod events;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use contract::api::{
    line::{Interval, LineFrame, PlaceState, PlaceStatus, VisitorFrame},
    problem::{FieldError, Problem},
};
use utoipa::OpenApi;

use crate::room::Room;

/// Every route of the waiting room.
pub(crate) fn router(room: Arc<Room>) -> Router {
    Router::new()
        .route("/api/v1/shows/{id}/queue", post(place::join))
        .route("/api/v1/shows/{id}/queue/{ticketId}", get(place::show).delete(place::leave))
        .route("/api/v1/shows/{id}/queue/{ticketId}/live", get(live::live))
        .with_state(room)
}

/// What the waiting room adds to the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(place::join, place::show, place::leave, live::live),
    components(schemas(
        request::JoinRequest,
        crate::room::challenge::Posed,
        PlaceStatus,
        PlaceState,
        Interval,
        LineFrame,
        VisitorFrame,
        Problem,
        FieldError
    ))
)]
pub(crate) struct Api;
