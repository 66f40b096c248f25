//! `POST /bookings` and `GET /bookings/{id}`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId,
    api::{
        BASE,
        bookings::{Accepted, Booking, Links, NewBooking},
        problem::Code,
    },
    booking::{Kind, Status},
    booking_id::RequestIdentity,
    deadline::BOOKING_DEADLINE,
    message::BookingRequested,
    topology::Partition,
};
use platform::{
    faults::{Guarantee, without},
    http::{ApiError, ApiResult, PathId, SignedIn},
};
use store::{
    StoreResult,
    bookings::{self, Fate, LastTry, View},
};

use super::{
    door::{self, BookingAsked, PreferWait},
    repetition::{self, Keyed, not_published},
};
use crate::pipeline::{intake::count_accepted, outcomes::Waiter};
use crate::{Ingress, errors::database, form::AccountForm, idempotency::IdempotencyKey};

/// Takes a booking in: 202 means that it is stored and will be decided.
#[utoipa::path(post, path = "/bookings", tag = "bookings", request_body = NewBooking,
    params(
        ("Admission-Pass" = Option<String>, Header, description = "where the show's waiting room is on"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key gives the same booking"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`, up to 30, to wait for the outcome")),
    responses(
        (status = 202, description = "stored, and decided soon", body = Accepted),
        (status = 200, description = "decided within the wait", body = Booking),
        (status = 403, description = "PASS_REQUIRED, PASS_INVALID"),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 409, description = "SALE_NOT_OPEN, SALE_CLOSED, SOLD_OUT, ALL_HELD"),
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
    let wait = wait.unwrap_or(Duration::ZERO);
    let taken = take_in(&ingress, account, key, &headers, asked, Kind::Order, wait).await?;
    Ok(match taken {
        Taken { decided: Some(view), .. } => Json(view.booking).into_response(),
        Taken { booking, decided: None } => accepted(booking),
    })
}

/// A booking of the caller: queued, or how it was decided.
#[utoipa::path(get, path = "/bookings/{id}", tag = "bookings",
    params(("id" = BookingId, Path), ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`, up to 30")),
    responses((status = 200, body = Booking), (status = 404, description = "BOOKING_NOT_FOUND")),
    security(("bearer" = [])))]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(id): PathId<BookingId>,
    PreferWait(wait): PreferWait,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Booking>> {
    if !ingress.pipeline.ids.belongs_to(id, caller.account) {
        return Err(ApiError::not_found(Code::BookingNotFound));
    }
    let waiter = ingress.pipeline.outcomes.register(id);
    let look = waiter
        .outcome(&ingress.pipeline.looker, wait.unwrap_or_default())
        .await
        .map_err(database)?;
    match look.view {
        Some(view) if view.owner == caller.account => Ok(Json(view.booking)),
        Some(_) => Err(ApiError::not_found(Code::BookingNotFound)),
        None => undecided(&ingress, id, caller.account, look.now).await.map(Json).map_err(database),
    }
}

/// A booking without an outcome at this time of PostgreSQL's clock, as its owner sees it.
async fn undecided(
    ingress: &Ingress,
    id: BookingId,
    owner: AccountId,
    now: DateTime<Utc>,
) -> StoreResult<Booking> {
    let (pool, cache) = (&ingress.pool, &ingress.cache);
    let accepted_at = ingress.pipeline.ids.accepted_at(id, owner);
    if bookings::fate(pool, cache, id, owner, accepted_at, now).await? == Fate::Queued {
        return Ok(Booking::queued(id));
    }
    // The booking may have been decided since the last look.
    let view = ingress.pipeline.looker.look(id).await?.view;
    Ok(view.map_or(Booking::expired(id), |view| view.booking))
}

/// An accepted request, and its outcome if that came within the wait.
pub(crate) struct Taken {
    pub(crate) booking: BookingId,
    pub(crate) decided: Option<View>,
}

/// The answer 202.
pub(crate) fn accepted(booking: BookingId) -> Response {
    let this = format!("{BASE}/bookings/{booking}");
    let links = Links { live: format!("{this}/live"), this: this.clone() };
    let body = Accepted { booking_id: booking, status: Status::Queued, links };
    (StatusCode::ACCEPTED, [(header::LOCATION, this)], Json(body)).into_response()
}

/// Checks a request, publishes it, and waits for the outcome for `wait`.
pub(crate) async fn take_in(
    ingress: &Arc<Ingress>,
    account: AccountId,
    key: IdempotencyKey,
    headers: &HeaderMap,
    asked: BookingAsked,
    kind: Kind,
    wait: Duration,
) -> ApiResult<Taken> {
    let key = key.0.filter(|_| !without(Guarantee::Idempotency));
    let board = ingress.board.borrow().clone();
    let sale = board.sale(asked.show).ok_or_else(|| board.no_sale(asked.show))?;
    let now = board.now();
    let booking = match &key {
        None => ingress.pipeline.ids.fresh(account, now),
        Some(key) => ingress.pipeline.ids.derive(&RequestIdentity {
            account,
            show: asked.show,
            tier: &asked.tier,
            kind,
            wish: &asked.wish,
            key,
        }),
    };
    let waiter = ingress.pipeline.outcomes.register(booking);
    let let_in = door::pass_through(ingress, &sale, now, account, &asked, headers).await;
    let partition = Partition { show: asked.show, tier: asked.tier };
    let keyed = key.clone().map(|key| Keyed {
        account,
        booking,
        last: LastTry { show: partition.show, tier: partition.tier.clone(), kind, key, at: now },
    });
    let request = |ticket| BookingRequested {
        booking_id: booking,
        account_id: account,
        kind,
        wish: asked.wish,
        idempotency_key: key,
        ticket_id: ticket,
        deadline: now + BOOKING_DEADLINE,
        traceparent: door::traceparent(headers),
        attempt: 0,
        number: None,
    };
    let before = match (keyed, let_in) {
        (None, let_in) => {
            let published = ingress.pipeline.intake.submit(&partition, request(let_in?)).await;
            published.map_err(|error| not_published(&error, false, booking))?;
            count_accepted(&partition);
            None
        }
        (Some(keyed), Ok(ticket)) => {
            repetition::once(ingress, &sale, keyed, partition, request(ticket)).await?
        }
        (Some(keyed), Err(refusal)) => repetition::refused(ingress, &sale, &keyed, refusal).await?,
    };
    match before {
        Some(view) => Ok(Taken { booking, decided: Some(view) }),
        None => Ok(outcome(ingress, &waiter, booking, wait).await),
    }
}

/// Waits for the outcome, if the client wants that.
async fn outcome(ingress: &Ingress, waiter: &Waiter, booking: BookingId, wait: Duration) -> Taken {
    let decided = match wait {
        Duration::ZERO => None,
        // The booking is accepted even if the database cannot be read now.
        wait => {
            waiter.outcome(&ingress.pipeline.looker, wait).await.ok().and_then(|look| look.view)
        }
    };
    Taken { booking, decided }
}
