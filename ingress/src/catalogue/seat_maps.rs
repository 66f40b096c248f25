//! A show's seats.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderName, header},
    response::IntoResponse,
};
use contract::{ShowId, api::catalogue::SeatMap};
use platform::http::{ApiResult, PathId};

use crate::Ingress;

/// A show's seats: layout, prices, what is held and what is sold
///
/// At most half a second old. Places of general-admission tiers have no seats and are not listed.
#[utoipa::path(get, path = "/shows/{id}/seatmap", tag = "catalogue",
    params(("id" = ShowId, Path)), responses(
        (status = 200, body = SeatMap),
        (status = 404, description = "SHOW_NOT_FOUND"),
    )
)]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(show): PathId<ShowId>,
) -> ApiResult<impl IntoResponse> {
    let map = ingress.seat_maps.of_show(show).await?;
    let headers: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    Ok((headers, map))
}
