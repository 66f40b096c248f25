//! Bookings: taken in at the door, published, and answered 202 once the broker has them; then
//! read, held, ordered, paid and cancelled.

mod desk;
mod door;
mod submit;
mod repetition;
mod questions;
mod intake;
mod acceptances;
mod outcomes;
mod hall;
mod holds;
mod orders;

use axum::{
    Router,
    routing::{get, post},
};

pub(crate) use desk::Desk;

/// The routes, under the API's base path.
pub(crate) fn router(desk: Desk) -> Router {
    Router::new()
        .route("/bookings", post(submit::book))
        .route("/bookings/{id}", get(submit::read))
        .route("/bookings/reference/{reference}", get(orders::by_reference))
        .route("/holds", post(holds::hold))
        .route("/holds/{id}", get(holds::read).delete(holds::release))
        .route("/orders", post(orders::place))
        .route("/orders/{id}", get(orders::read))
        .route("/orders/{id}/confirm-payment", post(orders::confirm_payment))
        .route("/orders/{id}/cancel", post(orders::cancel))
        .route("/orders/{id}/ticket", get(orders::ticket))
        .route("/auth/bookings", get(orders::of_caller))
        .with_state(desk)
}

/// What the calls look like, for the OpenAPI document.
#[derive(utoipa::OpenApi)]
#[openapi(paths(
    submit::book,
    submit::read,
    holds::hold,
    holds::read,
    holds::release,
    orders::place,
    orders::read,
    orders::by_reference,
    orders::confirm_payment,
    orders::cancel,
    orders::ticket,
    orders::of_caller,
))]
pub(crate) struct Document;
