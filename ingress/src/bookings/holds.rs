//! Holds: seats kept for a while, through the same queue as a booking.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use contract::{
    AccountId, BookingId,
    api::{
        BASE,
        bookings::{Accepted, Hold, NewBooking},
        problem::Code,
    },
    booking::{Ending, Kind, Limit, Reason, Transition},
    deadline::{CAME_BACK_FOR_OTHERS, HOLD_WAIT_DEFAULT},
};
use platform::http::{ApiError, ApiResult, PathId, SignedIn};
use store::bookings::{self, View};

use super::{
    door::{BookingAsked, PreferWait},
    submit::{self, Taken},
};
use crate::{Ingress, errors::database, form::AccountForm, idempotency::IdempotencyKey};

/// Holds seats, all or none.
#[utoipa::path(post, path = "/holds", tag = "bookings", request_body = NewBooking,
    params(
        ("Admission-Pass" = Option<String>, Header, description = "where the show's waiting room is on"),
        ("Idempotency-Key" = Option<String>, Header),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`, up to 30; 5 by default")),
    responses(
        (status = 201, description = "held", body = Hold),
        (status = 202, description = "stored, and decided later than the wait", body = Accepted),
        (status = 403, description = "PASS_REQUIRED, PASS_INVALID"),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 409, description = "SEAT_TAKEN with takenSeats and alternatives, SOLD_OUT, ALL_HELD, SALE_NOT_OPEN, SALE_CLOSED, PASS_USED, EXPIRED"),
        (status = 422, description = "SEAT_UNKNOWN, LIMIT_EXCEEDED, IDEMPOTENCY_KEY_REUSED"),
        (status = 503, description = "QUEUE_UNAVAILABLE: not stored; OUTCOME_UNKNOWN: ask again with the same key")),
    security(("bearer" = [])))]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    key: IdempotencyKey,
    PreferWait(wait): PreferWait,
    headers: HeaderMap,
    AccountForm(account, asked): AccountForm<BookingAsked>,
) -> ApiResult<Response> {
    let wait = wait.unwrap_or(HOLD_WAIT_DEFAULT);
    match submit::take_in(&ingress, account, key, &headers, asked, Kind::Hold, wait).await? {
        Taken { booking, decided: None } => Ok(submit::accepted(booking)),
        Taken { decided: Some(view), .. } => decided(view),
    }
}

fn decided(view: View) -> ApiResult<Response> {
    if let Some(hold) = view.booking.hold {
        let location = format!("{BASE}/holds/{}", hold.hold_id);
        return Ok(
            (StatusCode::CREATED, [(header::LOCATION, location)], Json(hold)).into_response()
        );
    }
    let reason = view.booking.reason.unwrap_or(Reason::Internal);
    let detail = match reason {
        Reason::SeatTaken => "at least one of these seats is taken",
        Reason::SoldOut => "not enough seats are left",
        Reason::AllHeld => "too few seats are free; some are only held and may come back",
        Reason::LimitExceeded => match view.booking.limit {
            Some(Limit::UnpaidSeatTime) => {
                "the account has kept seats of this show unpaid for as long as an account may; \
                     other accounts come first now"
            }
            Some(Limit::JustCameBack) => {
                "these seats have just come back; for a few seconds they are only for accounts \
                     that have given back unpaid seats of this show at most once: ask again after \
                     that"
            }
            Some(Limit::Seats) | None => "the account would have too many seats of this show",
        },
        Reason::SaleClosed => "the sale of this show has ended",
        Reason::PassUsed => "this pass has bought something already",
        Reason::Expired => "the request waited too long; send it again",
        Reason::IdempotencyKeyReused => {
            "this Idempotency-Key came with another body before: use a fresh one"
        }
        Reason::Internal => "it could not be decided; nothing was held",
    };
    let mut error = ApiError::new(reason.into(), detail);
    if reason == Reason::Internal {
        // The request itself may be the cause, and a client gets no 5xx for what it sends.
        error = error.with_status(StatusCode::CONFLICT);
    }
    if reason == Reason::SeatTaken {
        let labels = |seats| serde_json::to_value(seats).unwrap_or_default();
        error = error
            .with("takenSeats", labels(view.booking.taken_seats.unwrap_or_default()))
            .with("alternatives", labels(view.booking.alternatives.unwrap_or_default()));
    }
    if let Some(limit) = view.booking.limit {
        error = error.with("limit", limit.as_str());
        if limit == Limit::JustCameBack {
            error = error.retry_after(CAME_BACK_FOR_OTHERS);
        }
    }
    Err(error)
}

/// A hold of the caller.
#[utoipa::path(get, path = "/holds/{id}", tag = "bookings", params(("id" = BookingId, Path)),
    responses((status = 200, body = Hold), (status = 404, description = "HOLD_NOT_FOUND")),
    security(("bearer" = [])))]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(id): PathId<BookingId>,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Hold>> {
    let found = bookings::view_hold(&ingress.pool, id, caller.account).await.map_err(database)?;
    let (_, hold) = found.ok_or_else(|| ApiError::not_found(Code::HoldNotFound))?;
    Ok(Json(hold))
}

/// Gives the seats of a hold back. Giving back what is over already is no error.
#[utoipa::path(delete, path = "/holds/{id}", tag = "bookings", params(("id" = BookingId, Path)),
    responses((status = 204, description = "free"), (status = 404, description = "HOLD_NOT_FOUND"),
        (status = 409, description = "HOLD_ORDERED: cancel the order instead")),
    security(("bearer" = [])))]
pub(super) async fn release(
    State(ingress): State<Arc<Ingress>>,
    PathId(id): PathId<BookingId>,
    SignedIn(caller): SignedIn,
) -> ApiResult<StatusCode> {
    let view = not_ordered(&ingress, id, caller.account).await?;
    let pool = ingress.pool.clone();
    let ended = store::detached(async move {
        bookings::end_one(&pool, &view.partition, id, caller.account, Ending::Released).await
    });
    if ended.await.map_err(database)?.is_none() {
        // The hold was over already, or became an order after the first look.
        not_ordered(&ingress, id, caller.account).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A hold of the caller; 409 where it has become an order that is not over.
async fn not_ordered(ingress: &Ingress, hold: BookingId, owner: AccountId) -> ApiResult<View> {
    let found = bookings::view_hold(&ingress.pool, hold, owner).await.map_err(database)?;
    let (view, _) = found.ok_or_else(|| ApiError::not_found(Code::HoldNotFound))?;
    let release = Transition::End(Ending::Released);
    if view.state.is_some_and(|state| state.is_live() && state.after(release).is_err()) {
        let detail = "an order was made of this hold: cancel the order";
        return Err(ApiError::new(Code::HoldOrdered, detail));
    }
    Ok(view)
}
