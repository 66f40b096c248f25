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
use platform::http::{ApiError, ApiResult, PathId};
use store::catalogue::{screens, theatres};

use crate::{
    Ingress,
    errors::database,
    page::{PageParams, Window},
};

/// Theatres by name.
#[utoipa::path(get, path = "/theatres", tag = "catalogue", params(PageParams), responses(
    (status = 200, body = Page<Theatre>),
))]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    window: Window<(String, TheatreId)>,
) -> ApiResult<Json<Page<Theatre>>> {
    let after = window.after.as_ref().map(|(name, theatre)| (name.as_str(), *theatre));
    let found = theatres::list(&ingress.read_pool, after, window.read()).await.map_err(database)?;
    Ok(Json(window.page(found, |theatre| (theatre.details.name.clone(), theatre.theatre_id))))
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
