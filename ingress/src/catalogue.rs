//! Reading the catalogue: movies, theatres, shows and seat maps. The same for every caller.

mod wanted;
mod movies;
mod theatres;
mod shows;
mod seat_maps;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Ingress, kept::with_kept_answers};

pub(crate) fn router(ingress: &Ingress) -> OpenApiRouter<Arc<Ingress>> {
    let reads = OpenApiRouter::default()
        .routes(routes!(movies::list))
        .routes(routes!(movies::read))
        .routes(routes!(movies::read_availability))
        .routes(routes!(movies::list_shows))
        .routes(routes!(theatres::list))
        .routes(routes!(theatres::read))
        .routes(routes!(theatres::read_screen))
        .routes(routes!(shows::list))
        .routes(routes!(shows::read))
        .routes(routes!(seat_maps::read));
    with_kept_answers(reads, &ingress.kept)
}
