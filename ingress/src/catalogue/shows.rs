//! Shows.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use contract::{
    ShowId,
    api::{Page, catalogue::Show},
};
use platform::http::{ApiResult, PathId};
use store::catalogue::shows;

use crate::{
    Ingress,
    errors::database,
    page::{PageParams, Window, page_to},
};

/// Shows to come, the soonest first.
#[utoipa::path(get, path = "/shows/upcoming", tag = "catalogue", params(PageParams), responses(
    (status = 200, body = Page<Show>),
))]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    window: Window<(DateTime<Utc>, ShowId)>,
) -> ApiResult<Json<Page<Show>>> {
    let filter = shows::Filter { after: window.after, limit: window.limit, ..Default::default() };
    let listed = shows::list(&ingress.read_pool, filter).await.map_err(database)?;
    let shows = listed.sales.iter().map(|sale| ingress.as_seen(sale)).collect();
    Ok(Json(page_to(shows, listed.last.as_ref())))
}

/// A show.
#[utoipa::path(get, path = "/shows/{id}", tag = "catalogue", params(("id" = ShowId, Path)),
    responses(
        (status = 200, body = Show),
        (status = 404, description = "SHOW_NOT_FOUND"),
    )
)]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(show): PathId<ShowId>,
) -> ApiResult<Json<Show>> {
    let sale = ingress.show(show).await?;
    Ok(Json(ingress.as_seen(&sale)))
}
