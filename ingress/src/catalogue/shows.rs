//! Shows.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use contract::{
    ShowId,
    api::{Page, catalogue::Show},
};
use platform::http::{ApiResult, Params, PathId};
use serde::Deserialize;
use store::catalogue::shows;
use utoipa::IntoParams;

use crate::{
    Ingress,
    errors::database,
    page::{Window, page_to},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UpcomingWanted {
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Shows to come, the soonest first
#[utoipa::path(get, path = "/shows/upcoming", tag = "catalogue", params(UpcomingWanted), responses(
    (status = 200, body = Page<Show>),
))]
pub(super) async fn upcoming(
    State(ingress): State<Arc<Ingress>>,
    Params(wanted): Params<UpcomingWanted>,
) -> ApiResult<Json<Page<Show>>> {
    let window = Window::<(DateTime<Utc>, ShowId)>::new(wanted.limit, wanted.cursor.as_deref())?;
    let filter = shows::Filter { after: window.after, limit: window.limit, ..Default::default() };
    let listed = shows::list(&ingress.read_pool, filter).await.map_err(database)?;
    let shows = listed.sales.iter().map(|sale| ingress.as_seen(sale)).collect();
    Ok(Json(page_to(shows, listed.last.as_ref())))
}

/// A show
#[utoipa::path(get, path = "/shows/{id}", tag = "catalogue", params(("id" = ShowId, Path)),
    responses(
        (status = 200, body = Show),
        (status = 404, description = "SHOW_NOT_FOUND"),
    )
)]
pub(super) async fn one(
    State(ingress): State<Arc<Ingress>>,
    PathId(show): PathId<ShowId>,
) -> ApiResult<Json<Show>> {
    let sale = ingress.show(show).await?;
    Ok(Json(ingress.as_seen(&sale)))
}
