//! The calls of organisers: writing the catalogue, and running a sale. Admins may do everything, organisers
//! what belongs to their theatres.

mod movies;
mod theatres;
mod screens;
mod shows;
mod series;
mod sale;
mod staff;
mod log;
mod write;

use std::sync::Arc;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Ingress, kept::forgetting_answers};

pub(crate) fn router(ingress: &Ingress) -> OpenApiRouter<Arc<Ingress>> {
    let writes = OpenApiRouter::default()
        .routes(routes!(movies::create))
        .routes(routes!(movies::change, movies::retire))
        .routes(routes!(theatres::create))
        .routes(routes!(theatres::change, theatres::retire))
        .routes(routes!(screens::create))
        .routes(routes!(screens::change, screens::retire))
        .routes(routes!(shows::create))
        .routes(routes!(series::create))
        .routes(routes!(shows::change, shows::retire))
        .routes(routes!(sale::open))
        .routes(routes!(sale::close))
        .routes(routes!(sale::change_waiting_room));
    forgetting_answers(writes, &ingress.kept)
        .routes(routes!(staff::read_memberships))
        .routes(routes!(staff::list, staff::give))
        .routes(routes!(staff::take))
        .routes(routes!(log::read))
}
