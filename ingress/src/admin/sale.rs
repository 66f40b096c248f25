//! The life of a sale: open, steer its waiting room, close.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    ShowId,
    api::{
        catalogue::{RoomSettings, RoomSettingsChange, Show},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, Body, PathId};
use store::{
    catalogue::shows,
    sale::{Sale, SaleState},
};

use super::{
    shows::{checked_room, read_back},
    write::Organiser,
};
use crate::{Ingress, errors::database, idempotency::Write};

/// How long opening waits for the queues before it answers 202.
const QUEUES_WAIT: Duration = Duration::from_secs(5);

/// Puts a show on sale.
///
/// 202 where its queues are not ready yet: ask again, or watch the show's status. The sale itself
/// begins at `saleOpensAt`. A show that was entered before its `saleOpensAt` is put on sale
/// automatically, one minute before that time. This call is for a show that was entered later, and
/// for an organiser who wants it on sale earlier.
#[utoipa::path(post, path = "/shows/{id}/open", tag = "administration", security(("bearer" = [])),
    params(("id" = ShowId, Path), ("Idempotency-Key" = Option<String>, Header)), responses(
        (status = 200, body = Show),
        (status = 202, body = Show, description = "its queues are not ready yet"),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 409, description = "SALE_CLOSED"),
    )
)]
pub(super) async fn open(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    PathId(show): PathId<ShowId>,
) -> ApiResult<(StatusCode, Json<Show>)> {
    let opening = organiser.once(&ingress, write, &(), StatusCode::OK, move |tx| {
        Box::pin(async move {
            organiser.must_run_show(tx, show).await?;
            match shows::locked_state(tx, show).await.map_err(database)? {
                None => Err(ApiError::not_found(Code::ShowNotFound)),
                Some(SaleState::Scheduled) => shows::open(tx, show).await.map_err(database),
                Some(SaleState::OnSale) => Ok(()),
                Some(SaleState::Closed | SaleState::Cancelled) => {
                    Err(ApiError::new(Code::SaleClosed, "the sale is over for good"))
                }
            }
        })
    });
    opening.await?;
    let mut board = ingress.board.clone();
    let ready = board.wait_for(|board| board.sale(show).is_some_and(|sale| is_ready(&sale)));
    _ = tokio::time::timeout(QUEUES_WAIT, ready).await;
    let sale = ingress.show(show).await?;
    let status = if is_ready(&sale) { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(ingress.as_seen(&sale))))
}

/// Whether the sale's queues are ready, so that it begins at `saleOpensAt`; true once it is over.
fn is_ready(sale: &Sale) -> bool {
    sale.state != SaleState::Scheduled && sale.tiers.iter().all(|tier| tier.ready)
}

/// Ends a sale for good.
#[utoipa::path(post, path = "/shows/{id}/close", tag = "administration", security(("bearer" = [])),
    params(("id" = ShowId, Path), ("Idempotency-Key" = Option<String>, Header)), responses(
        (status = 200, body = Show),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 409, description = "SHOW_NOT_ON_SALE"),
    )
)]
pub(super) async fn close(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    PathId(show): PathId<ShowId>,
) -> ApiResult<Json<Show>> {
    let node = Arc::clone(&ingress);
    let closing = organiser.once(&ingress, write, &(), StatusCode::OK, move |tx| {
        Box::pin(async move {
            organiser.must_run_show(tx, show).await?;
            match shows::locked_state(tx, show).await.map_err(database)? {
                None => return Err(ApiError::not_found(Code::ShowNotFound)),
                Some(SaleState::OnSale) => shows::close(tx, show).await.map_err(database)?,
                Some(SaleState::Closed) => {}
                Some(SaleState::Scheduled | SaleState::Cancelled) => {
                    return Err(ApiError::new(Code::ShowNotOnSale, "this show is not on sale"));
                }
            }
            read_back(&node, tx, show).await
        })
    });
    let closed = closing.await?;
    ingress.board_caught_up().await;
    Ok(Json(closed))
}

/// Changes how visitors are let in; an absent field keeps its value.
///
/// Every node acts on it within a second.
#[utoipa::path(patch, path = "/shows/{id}/waiting-room", tag = "administration",
    security(("bearer" = [])), params(("id" = ShowId, Path)), request_body = RoomSettingsChange,
    responses(
        (status = 200, body = RoomSettings),
        (status = 404, description = "SHOW_NOT_FOUND"),
    )
)]
pub(super) async fn change_waiting_room(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(show): PathId<ShowId>,
    Body(change): Body<RoomSettingsChange>,
) -> ApiResult<Json<RoomSettings>> {
    let changing = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_run_show(tx, show).await?;
            let before = shows::locked_waiting_room(tx, show).await.map_err(database)?;
            let before = before.ok_or_else(|| ApiError::not_found(Code::ShowNotFound))?;
            let room = changed(&before, &change);
            checked_room("", &room)?;
            shows::set_waiting_room(tx, show, &room).await.map_err(database)?;
            Ok(room)
        })
    });
    let room = changing.await?;
    ingress.board_caught_up().await;
    Ok(Json(room))
}

fn changed(room: &RoomSettings, change: &RoomSettingsChange) -> RoomSettings {
    RoomSettings {
        mode: change.mode.unwrap_or(room.mode),
        rate_per_second: change.rate_per_second.unwrap_or(room.rate_per_second),
        burst: change.burst.unwrap_or(room.burst),
        max_active: change.max_active.unwrap_or(room.max_active),
        paused: change.paused.unwrap_or(room.paused),
    }
}
