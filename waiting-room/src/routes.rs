//! The HTTP routes of the waiting room.

pub(crate) mod limits;
mod request;
mod guard;
mod place;
mod live;
mod events;

use std::sync::Arc;

use contract::api::{
    BASE,
    line::{LineFrame, Posed, VisitorFrame},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::room::WaitingRoom;

/// What no route says in its description: the frames, and the challenge inside a refusal.
#[derive(OpenApi)]
#[openapi(components(schemas(Posed, LineFrame, VisitorFrame)))]
struct Api;

/// Every route of the waiting room.
pub(crate) fn router(room: Arc<WaitingRoom>) -> OpenApiRouter {
    let routes = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(place::join))
        .routes(routes!(place::read, place::leave))
        .routes(routes!(live::watch))
        .with_state(room);
    OpenApiRouter::default().nest(BASE, routes)
}
