//! `POST /bookings` and `GET /bookings/{id}`.

use std::time::Duration;

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
        bookings::{Accepted, Booking, Links, NewBooking},
    },
    booking::{Kind, Status},
    booking_id::Asked as Identity,
    deadline::BOOKING_DEADLINE,
    message::BookingRequested,
    topology::Partition,
};
use platform::{
    broker::PublishError,
    faults::{Guarantee, sometimes, without},
    http::{ApiError, ApiResult, Body, PathId, SignedIn},
};
use store::{
    StoreResult,
    bookings::{self, Fate, LastTry, REMEMBERED, Seen},
};

use super::{
    Desk,
    door::{self, Asked},
    outcomes::Waiter,
};
use crate::{
    errors::{database, not_on_board},
    idempotency::{IdempotencyKey, key_reused},
};

/// Takes a booking in: 202 means that it is stored and will be decided.
#[utoipa::path(post, path = "/api/v1/bookings", tag = "bookings", request_body = NewBooking,
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
        (status = 429, description = "RATE_LIMITED"),
        (status = 503, description = "QUEUE_UNAVAILABLE: not stored; OUTCOME_UNKNOWN: ask again with the same key")),
    security(("bearer" = [])))]
pub(crate) async fn book(
    State(desk): State<Desk>,
    caller: Result<SignedIn, ApiError>,
    key: Result<IdempotencyKey, ApiError>,
    headers: HeaderMap,
    Body(body): Body<NewBooking>,
) -> ApiResult<Response> {
    let asked = Asked::try_from(body)?;
    let wait = door::prefer_wait(&headers)?.unwrap_or(Duration::ZERO);
    let taken = take_in(&desk, caller, key, &headers, asked, Kind::Order, wait).await?;
    Ok(match taken {
        Taken { decided: Some(seen), .. } => Json(seen.booking).into_response(),
        Taken { booking, decided: None } => accepted(booking),
    })
}

/// A booking of the caller: queued, or how it was decided.
#[utoipa::path(get, path = "/api/v1/bookings/{id}", tag = "bookings",
    params(("id" = Uuid, Path), ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`, up to 30")),
    responses((status = 200, body = Booking), (status = 404, description = "BOOKING_NOT_FOUND")),
    security(("bearer" = [])))]
pub(crate) async fn read(
    State(desk): State<Desk>,
    id: Result<PathId<BookingId>, ApiError>,
    headers: HeaderMap,
    caller: Result<SignedIn, ApiError>,
) -> ApiResult<Json<Booking>> {
    let PathId(id) = id?;
    let wait = door::prefer_wait(&headers)?.unwrap_or(Duration::ZERO);
    let SignedIn(caller) = caller?;
    if !desk.ids.belongs_to(id, caller.account) {
        return Err(ApiError::not_found("BOOKING_NOT_FOUND"));
    }
    let waiter = desk.outcomes.register(id);
    match waiter.outcome(&desk.state.pool, wait).await.map_err(database)? {
        Some(seen) if seen.owner == caller.account => Ok(Json(seen.booking)),
        Some(_) => Err(ApiError::not_found("BOOKING_NOT_FOUND")),
        None => Ok(Json(undecided(&desk, id, caller.account).await.map_err(database)?)),
    }
}

/// A booking that has no outcome, as its owner sees it.
async fn undecided(desk: &Desk, id: BookingId, owner: AccountId) -> StoreResult<Booking> {
    let (pool, cache) = (&desk.state.pool, &desk.state.cache);
    let accepted_at = desk.ids.accepted_at(id, owner);
    if bookings::fate(pool, cache, id, owner, accepted_at).await? == Fate::Queued {
        return Ok(Booking::queued(id));
    }
    // It may have been decided a moment ago.
    let seen = bookings::seen(pool, id).await?;
    Ok(seen.map_or(Booking::expired(id), |seen| seen.booking))
}

/// A request that is on the queue, and its outcome where that came within the wait.
pub(crate) struct Taken {
    pub(crate) booking: BookingId,
    pub(crate) decided: Option<Seen>,
}

/// The answer 202.
pub(crate) fn accepted(booking: BookingId) -> Response {
    let this = format!("{BASE}/bookings/{booking}");
    let links = Links { live: format!("{this}/live"), this: this.clone() };
    let body = Accepted { booking_id: booking, status: Status::Queued, links };
    (StatusCode::ACCEPTED, [(header::LOCATION, this)], Json(body)).into_response()
}

/// Checks a request and puts it on its queue; waits for the outcome as long as asked.
pub(crate) async fn take_in(
    desk: &Desk,
    caller: Result<SignedIn, ApiError>,
    key: Result<IdempotencyKey, ApiError>,
    headers: &HeaderMap,
    asked: Asked,
    kind: Kind,
    wait: Duration,
) -> ApiResult<Taken> {
    let key = key?.0.filter(|_| !without(Guarantee::Idempotency));
    let SignedIn(caller) = caller?;
    let board = desk.state.board.borrow().clone();
    let sale = board.sale(asked.show).ok_or_else(|| not_on_board(&board, asked.show))?;
    let booking = match &key {
        None => desk.ids.fresh(caller.account, board.now()),
        Some(key) => desk.ids.derive(&Identity {
            account: caller.account,
            show: asked.show,
            tier: &asked.tier,
            kind,
            wish: &asked.wish,
            key,
        }),
    };
    let waiter = desk.outcomes.register(booking);
    let known = match &key {
        Some(key) => known(desk, caller.account, key, booking).await?,
        None => Known::Not,
    };
    if known == Known::Accepted {
        return Ok(told(desk, &waiter, booking, wait).await);
    }
    let now = board.now();
    let ticket = match door::pass_through(desk, &sale, now, caller.account, &asked, headers).await {
        Ok(ticket) => ticket,
        // A keyed request that would be refused now may have been accepted before: so it is again.
        Err(_) if key.is_some() && is_decided(desk, booking).await => {
            return Ok(told(desk, &waiter, booking, wait).await);
        }
        // It may be on its queue all the same: then a refusal would be a lie.
        Err(_) if known == Known::Perhaps => return Err(unknown(booking, "asked before")),
        Err(refusal) => return Err(refusal),
    };
    if known == Known::Perhaps {
        sometimes("unknown publish retried");
    }
    let partition = Partition { show: asked.show, tier: asked.tier };
    let request = BookingRequested {
        booking_id: booking,
        account_id: caller.account,
        kind,
        wish: asked.wish,
        idempotency_key: key.clone(),
        ticket_id: ticket,
        deadline: now + BOOKING_DEADLINE,
        traceparent: door::traceparent(headers),
        attempt: 0,
        number: None,
    };
    let last = key.clone().map(|key| LastTry {
        show: asked.show,
        tier: partition.tier.clone(),
        kind,
        key,
        at: now,
    });
    let published = desk.intake.submit(&partition, request).await;
    let remembered = match &published {
        Ok(()) => Known::Accepted,
        Err(PublishError::Unknown(_)) => Known::Perhaps,
        Err(PublishError::Refused(_)) => Known::Not,
    };
    if let Some(last) = &last {
        remember(desk, caller.account, booking, last, remembered).await;
    }
    if let Err(error) = published {
        return Err(not_published(&error, known, booking));
    }
    metrics::counter!("usher_accepted_total",
        "show" => partition.show.to_string(), "tier" => partition.tier.to_string())
    .increment(1);
    Ok(told(desk, &waiter, booking, wait).await)
}

/// The outcome, where the client wants to wait for it and it comes in time.
async fn told(desk: &Desk, waiter: &Waiter, booking: BookingId, wait: Duration) -> Taken {
    let decided = match wait {
        Duration::ZERO => None,
        // A database that cannot tell the outcome does not make the booking less accepted.
        wait => waiter.outcome(&desk.state.pool, wait).await.unwrap_or_default(),
    };
    Taken { booking, decided }
}

async fn is_decided(desk: &Desk, booking: BookingId) -> bool {
    matches!(bookings::seen(&desk.state.pool, booking).await, Ok(Some(_)))
}

fn not_published(error: &PublishError, before: Known, booking: BookingId) -> ApiError {
    metrics::counter!("usher_not_accepted_total").increment(1);
    match error {
        // Not this time; but the time before it may have been.
        PublishError::Refused(why) if before == Known::Perhaps => unknown(booking, why),
        PublishError::Refused(why) => ApiError::unavailable(
            "QUEUE_UNAVAILABLE",
            format!("the booking was not accepted ({why}); send it again"),
            1,
        ),
        PublishError::Unknown(why) => unknown(booking, why),
    }
}

fn unknown(booking: BookingId, why: &str) -> ApiError {
    let detail = format!(
        "it is not known whether the booking was accepted ({why}); send it again with the same \
         Idempotency-Key, or look at the bookingId: where it was not, that ends as EXPIRED some 17 \
         minutes after the last try"
    );
    ApiError::unavailable("OUTCOME_UNKNOWN", detail, 1).with("bookingId", booking.to_string())
}

/// What is known of a key on the way in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Not,
    /// Published, and the broker did not say whether it has it.
    Perhaps,
    Accepted,
}

/// A key belongs to the account, whatever show it was first sent for.
fn key_of(account: AccountId, key: &str) -> String {
    format!("idempotency:{account}:{key}")
}

/// What came of this key before. Redis only makes the answer quick: what it does not know is found
/// by the allocator.
async fn known(desk: &Desk, account: AccountId, key: &str, booking: BookingId) -> ApiResult<Known> {
    let cache = &desk.state.cache;
    let found = async {
        let mut connection = cache.connection()?;
        let get = redis::cmd("GET").arg(key_of(account, key)).to_owned();
        cache.observe(get.query_async::<Option<String>>(&mut connection).await)
    };
    let Ok(Some(found)) = found.await else { return Ok(Known::Not) };
    let (id, known) = match found.strip_suffix(PERHAPS) {
        Some(id) => (id, Known::Perhaps),
        None => (found.as_str(), Known::Accepted),
    };
    if id == booking.to_string() {
        return Ok(known);
    }
    // Redis may have been told of the wrong one after it had forgotten the right one.
    if is_decided(desk, booking).await { Ok(Known::Accepted) } else { Err(key_reused()) }
}

/// Marks a booking that may or may not be on its queue.
const PERHAPS: &str = "?";

async fn remember(
    desk: &Desk,
    account: AccountId,
    booking: BookingId,
    last: &LastTry,
    known: Known,
) {
    let value = match known {
        Known::Not => return,
        Known::Perhaps => format!("{booking}{PERHAPS}"),
        Known::Accepted => booking.to_string(),
    };
    let cache = &desk.state.cache;
    let Ok(mut connection) = cache.connection() else { return };
    let mut both = redis::pipe();
    both.cmd("SET").arg(key_of(account, &last.key)).arg(value);
    both.arg("EX").arg(REMEMBERED.as_secs()).ignore();
    bookings::remember(&mut both, booking, last);
    let _ = cache.observe(both.query_async::<()>(&mut connection).await);
}
