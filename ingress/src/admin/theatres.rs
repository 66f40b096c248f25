//! Theatres, as organisers write them.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    TheatreId,
    api::{
        catalogue::{NewTheatre, Theatre, TheatreDetails},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, Body, PathId};
use store::catalogue::theatres;

use super::write::{AdminBody, Created, Organiser, created, retired};
use crate::{Ingress, check, errors::database, idempotency::Write};

/// Adds a theatre.
#[utoipa::path(post, path = "/theatres", tag = "administration", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)), request_body = NewTheatre, responses(
        (status = 201, body = Theatre),
    )
)]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    Body(new): AdminBody<NewTheatre>,
) -> ApiResult<Created<Theatre>> {
    organiser.must_be_admin()?;
    let mut details = TheatreDetails::from(new.clone());
    checked(&ingress, &details).await?;
    details.time_zone.get_or_insert_with(|| "UTC".into());
    let theatre = organiser
        .once(&ingress, write, &new, StatusCode::CREATED, |tx| {
            Box::pin(async move {
                let theatre_id = TheatreId::new();
                theatres::insert(tx, theatre_id, &details).await.map_err(database)?;
                Ok(Theatre { theatre_id, details, screens: Vec::new() })
            })
        })
        .await?;
    Ok(created("theatres", theatre.theatre_id, theatre))
}

/// Replaces what is known of a theatre.
#[utoipa::path(put, path = "/theatres/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = TheatreId, Path)), request_body = NewTheatre, responses(
        (status = 200, body = Theatre),
        (status = 404, description = "THEATRE_NOT_FOUND"),
    )
)]
pub(super) async fn change(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(theatre): PathId<TheatreId>,
    Body(new): AdminBody<NewTheatre>,
) -> ApiResult<Json<Theatre>> {
    let details = TheatreDetails::from(new);
    checked(&ingress, &details).await?;
    let changing = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_run(tx, theatre).await?;
            theatres::change(tx, theatre, &details).await.map_err(database)?;
            let changed = theatres::by_id(tx, theatre).await.map_err(database)?;
            changed.ok_or_else(|| ApiError::not_found(Code::TheatreNotFound))
        })
    });
    changing.await.map(Json)
}

/// Takes a theatre off the lists, if no show to come needs it; shows of the past stay.
#[utoipa::path(delete, path = "/theatres/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = TheatreId, Path)), responses(
        (status = 204),
        (status = 404, description = "THEATRE_NOT_FOUND"),
        (status = 409, description = "STILL_IN_USE"),
    )
)]
pub(super) async fn retire(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(theatre): PathId<TheatreId>,
) -> ApiResult<StatusCode> {
    organiser.must_be_admin()?;
    let retiring = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            retired(theatres::retire(tx, theatre).await.map_err(database)?, Code::TheatreNotFound)
        })
    });
    retiring.await
}

async fn checked(ingress: &Ingress, theatre: &TheatreDetails) -> ApiResult<()> {
    check::line("/name", &theatre.name, 100)?;
    check::line("/address", &theatre.address, 300)?;
    check::line("/city", &theatre.city, 100)?;
    check::within("/latitude", theatre.latitude, -90.0..=90.0)?;
    check::within("/longitude", theatre.longitude, -180.0..=180.0)?;
    let Some(zone) = &theatre.time_zone else { return Ok(()) };
    check::time_zone("/timeZone", zone)?;
    // The database tells the days, and may know other names.
    let known = theatres::knows_zone(&ingress.pool, zone).await.map_err(database)?;
    if known { Ok(()) } else { Err(check::not_a_zone("/timeZone")) }
}
