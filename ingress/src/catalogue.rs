//! Reading the catalogue: movies, theatres, shows and seat maps.

mod movies;
mod theatres;
mod shows;
pub(crate) mod seat_maps;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::Ingress;

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default()
        .routes(routes!(movies::list))
        .routes(routes!(movies::one))
        .routes(routes!(movies::availability))
        .routes(routes!(movies::shows))
        .routes(routes!(theatres::list))
        .routes(routes!(theatres::one))
        .routes(routes!(theatres::screen))
        .routes(routes!(shows::upcoming))
        .routes(routes!(shows::one))
        .routes(routes!(seat_maps::one))
}
