//! Theatres and screens.

use std::sync::Arc;

use axum::{Json, extract::State};
use contract::{
    ScreenId, TheatreId,
    api::{
        Page,
        catalogue::{Screen, Theatre},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, Params, PathId};
use serde::Deserialize;
use store::catalogue::{screens, theatres};
use utoipa::IntoParams;

use super::wanted::{nearby, text};
use crate::{Ingress, errors::database, page::Window};

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TheatresWanted {
    /// A part of the name.
    q: Option<String>,
    /// In this city.
    city: Option<String>,
    /// Latitude and longitude in degrees, such as `19.05,72.83`.
    near: Option<String>,
    /// Most kilometres from `near`, by the great circle; 25 where it is absent.
    #[param(minimum = 0.1, maximum = 20_040)]
    radius_km: Option<f64>,
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Theatres by name; with `near`, the nearest first.
///
/// Upper or lower case and accents make no difference.
#[utoipa::path(get, path = "/theatres", tag = "catalogue", params(TheatresWanted), responses(
    (status = 200, body = Page<Theatre>),
))]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    Params(wanted): Params<TheatresWanted>,
) -> ApiResult<Json<Page<Theatre>>> {
    let cursor = wanted.cursor.as_deref();
    let window = Window::<(i32, String, TheatreId)>::new(wanted.limit, cursor)?;
    let filter = theatres::Filter {
        name: text("q", wanted.q.as_deref())?,
        city: text("city", wanted.city.as_deref())?,
        near: nearby(wanted.near.as_deref(), wanted.radius_km)?,
        after: window.after.as_ref().map(|(metres, name, id)| (*metres, name.as_str(), *id)),
        limit: window.read(),
    };
    let found = theatres::list(&ingress.read_pool, filter).await.map_err(database)?;
    let page = window.page(found, |(metres, theatre)| {
        (*metres, theatre.details.name.clone(), theatre.theatre_id)
    });
    Ok(Json(page.map(|(_, theatre)| theatre)))
}

/// A theatre with its screens.
#[utoipa::path(get, path = "/theatres/{id}", tag = "catalogue", params(("id" = TheatreId, Path)),
    responses(
        (status = 200, body = Theatre),
        (status = 404, description = "THEATRE_NOT_FOUND"),
    )
)]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(theatre): PathId<TheatreId>,
) -> ApiResult<Json<Theatre>> {
    let found = theatres::by_id(&ingress.read_pool, theatre).await.map_err(database)?;
    found.map(Json).ok_or_else(|| ApiError::not_found(Code::TheatreNotFound))
}

/// A screen with its layout.
#[utoipa::path(get, path = "/screens/{id}", tag = "catalogue", params(("id" = ScreenId, Path)),
    responses(
        (status = 200, body = Screen),
        (status = 404, description = "SCREEN_NOT_FOUND"),
    )
)]
pub(super) async fn read_screen(
    State(ingress): State<Arc<Ingress>>,
    PathId(screen): PathId<ScreenId>,
) -> ApiResult<Json<Screen>> {
    let found = screens::by_id(&ingress.read_pool, screen).await.map_err(database)?;
    found.map(Json).ok_or_else(|| ApiError::not_found(Code::ScreenNotFound))
}
