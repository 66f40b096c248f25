//! Shows.

use std::sync::Arc;

use axum::{Json, extract::State};
use contract::{
    ShowId,
    api::{Page, catalogue::Show},
};
use platform::http::{ApiResult, Params, PathId};
use store::catalogue::shows;

use super::wanted::ShowsWanted;
use crate::{Ingress, errors::database, page::page_to};

/// Shows to come, the soonest first.
#[utoipa::path(get, path = "/shows/upcoming", tag = "catalogue", params(ShowsWanted), responses(
    (status = 200, body = Page<Show>),
))]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    Params(wanted): Params<ShowsWanted>,
) -> ApiResult<Json<Page<Show>>> {
    let listed = shows::list(&ingress.read_pool, wanted.filter(None)?).await.map_err(database)?;
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
