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

use super::write::{Admin, AdminBody, Created, created, retired};
use crate::{Ingress, check, errors::database, idempotency::Write};

/// Adds a theatre.
#[utoipa::path(post, path = "/theatres", tag = "administration", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)), request_body = NewTheatre, responses(
        (status = 201, body = Theatre),
    )
)]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    Admin(admin): Admin,
    write: Write,
    Body(new): AdminBody<NewTheatre>,
) -> ApiResult<Created<Theatre>> {
    let mut details = TheatreDetails::from(new.clone());
    checked(&ingress, &details).await?;
    details.time_zone.get_or_insert_with(|| "UTC".into());
    let theatre = write
        .once(&ingress, admin, &new, StatusCode::CREATED, |tx| {
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
    _: Admin,
    PathId(theatre): PathId<TheatreId>,
    Body(new): AdminBody<NewTheatre>,
) -> ApiResult<Json<Theatre>> {
    let details = TheatreDetails::from(new);
    checked(&ingress, &details).await?;
    if !theatres::change(&ingress.pool, theatre, &details).await.map_err(database)? {
        return Err(ApiError::not_found(Code::TheatreNotFound));
    }
    let changed = theatres::by_id(&ingress.pool, theatre).await.map_err(database)?;
    changed.map(Json).ok_or_else(|| ApiError::not_found(Code::TheatreNotFound))
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
    _: Admin,
    PathId(theatre): PathId<TheatreId>,
) -> ApiResult<StatusCode> {
    let pool = ingress.pool.clone();
    let retirement = store::detached(async move { theatres::retire(&pool, theatre).await }).await;
    retired(retirement.map_err(database)?, Code::TheatreNotFound)
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
