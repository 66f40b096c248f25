//! A show's seats.

use std::sync::Arc;

use axum::{Json, extract::State};
use contract::{
    ShowId,
    api::{catalogue::SeatMap, problem::Code},
};
use platform::http::{ApiError, ApiResult, PathId};
use store::catalogue::seat_map;

use crate::{Ingress, errors::database};

/// A show's seats: layout, prices, what is held and what is sold.
///
/// Less than a second old, and older by the time that a large map takes to be compressed.
/// Places of general-admission tiers have no seats and are not listed.
#[utoipa::path(get, path = "/shows/{id}/seatmap", tag = "catalogue",
    params(("id" = ShowId, Path)), responses(
        (status = 200, body = SeatMap),
        (status = 404, description = "SHOW_NOT_FOUND"),
    )
)]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(show): PathId<ShowId>,
) -> ApiResult<Json<SeatMap>> {
    let pool = ingress.read_pool.clone();
    let map = store::detached(async move { seat_map::read(&pool, show).await }).await;
    map.map_err(database)?.map(Json).ok_or_else(|| ApiError::not_found(Code::ShowNotFound))
}
