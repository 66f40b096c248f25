//! Bookings: requests are checked, published, and answered 202 once the broker has confirmed them.
//! Also reading bookings, and holds, orders, payments and cancellations.

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

use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use desk::Desk;

pub(crate) fn router(desk: Desk) -> OpenApiRouter {
    OpenApiRouter::default()
        .routes(routes!(submit::book))
        .routes(routes!(submit::read))
        .routes(routes!(holds::hold))
        .routes(routes!(holds::read, holds::release))
        .routes(routes!(orders::place))
        .routes(routes!(orders::read))
        .routes(routes!(orders::by_reference))
        .routes(routes!(orders::confirm_payment))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::ticket))
        .routes(routes!(orders::of_caller))
        .with_state(desk)
}
