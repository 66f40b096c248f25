//! Orders: placing, paying, cancelling and reading them, and their tickets.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use chrono::{DateTime, Utc};
use contract::{
    AccountId, OrderId,
    api::{
        BASE, Page,
        bookings::{ConfirmPayment, Customer, NewOrder, Order, Ticket},
        problem::Code,
    },
    booking::{Ending, OrderStatus},
    topology::Partition,
};
use platform::{
    faults::failpoint,
    http::{ApiError, ApiResult, PathId, SignedIn},
};
use serde::{Deserialize, Serialize};
use store::{
    Connection, PgExecutor,
    bookings::{self, Payment, Placement},
    orders, partitions,
};

use crate::{
    Ingress, check,
    errors::{self, database},
    form::{AccountForm, Form},
    idempotency::Write,
    page::{PageParams, Window},
};

/// The methods of the mock provider.
const ACCEPTED: &str = "mock";
const DECLINED: &str = "mock-decline";

/// Makes an order from a hold. The same hold gives the same order.
#[utoipa::path(post, path = "/orders", tag = "orders", request_body = NewOrder,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Order), (status = 404, description = "HOLD_NOT_FOUND"),
        (status = 409, description = "HOLD_EXPIRED")),
    security(("bearer" = [])))]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    write: Write,
    AccountForm(owner, body): AccountForm<NewOrder>,
) -> ApiResult<Response> {
    let (hold, customer) = (body.hold_id, body.customer.clone());
    let order = write
        .once(&ingress, owner, &body, StatusCode::CREATED, move |tx| {
            Box::pin(async move {
                let placed = bookings::place(tx, hold, owner, &customer).await;
                match placed.map_err(database)? {
                    Placement::Placed(order) => Ok(*order),
                    Placement::HoldExpired => {
                        let detail = "the hold is over and its seats are free again";
                        Err(ApiError::new(Code::HoldExpired, detail))
                    }
                    Placement::NoSuchHold => Err(ApiError::not_found(Code::HoldNotFound)),
                }
            })
        })
        .await?;
    let location = format!("{BASE}/orders/{}", order.order_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(order)).into_response())
}

impl Form for NewOrder {
    type Body = Self;

    fn check(order: Self) -> ApiResult<Self> {
        let Customer { name, email, phone } = &order.customer;
        check::line("/customer/name", name, 100)?;
        check::email("/customer/email", email)?;
        check::phone("/customer/phone", phone.as_deref())?;
        Ok(order)
    }
}

/// An order of the caller.
#[utoipa::path(get, path = "/orders/{id}", tag = "orders", params(("id" = OrderId, Path)),
    responses((status = 200, body = Order), (status = 404, description = "ORDER_NOT_FOUND")),
    security(("bearer" = [])))]
pub(super) async fn read(
    State(ingress): State<Arc<Ingress>>,
    PathId(id): PathId<OrderId>,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Order>> {
    find(&ingress.pool, id, caller.account).await.map(Json)
}

async fn find(database: impl PgExecutor<'_>, id: OrderId, owner: AccountId) -> ApiResult<Order> {
    let order = orders::by_id(database, id, owner).await.map_err(errors::database)?;
    order.ok_or_else(|| ApiError::not_found(Code::OrderNotFound))
}

/// The caller's order with this booking reference.
#[utoipa::path(get, path = "/bookings/reference/{reference}", tag = "orders",
    params(("reference" = String, Path)),
    responses((status = 200, body = Order), (status = 404, description = "ORDER_NOT_FOUND")),
    security(("bearer" = [])))]
pub(super) async fn read_by_reference(
    State(ingress): State<Arc<Ingress>>,
    Path(reference): Path<String>,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Order>> {
    // Postgres refuses NUL in a text; no reference has one.
    let found = if reference.contains('\0') {
        None
    } else {
        orders::by_reference(&ingress.pool, &reference, caller.account).await.map_err(database)?
    };
    found.map(Json).ok_or_else(|| ApiError::not_found(Code::OrderNotFound))
}

/// Pays with the mock provider: `mock` is accepted, `mock-decline` refused. Twice is once.
#[utoipa::path(post, path = "/orders/{id}/confirm-payment", tag = "orders",
    request_body = ConfirmPayment,
    params(("id" = OrderId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Order), (status = 402, description = "PAYMENT_FAILED"),
        (status = 404, description = "ORDER_NOT_FOUND"),
        (status = 409, description = "ORDER_EXPIRED, ORDER_CANCELLED, ORDER_FAILED")),
    security(("bearer" = [])))]
pub(super) async fn confirm_payment(
    State(ingress): State<Arc<Ingress>>,
    PathId(id): PathId<OrderId>,
    write: Write,
    AccountForm(owner, body): AccountForm<ConfirmPayment>,
) -> ApiResult<Json<Order>> {
    let is_accepted = body.method == ACCEPTED;
    let paid = write
        .once(&ingress, owner, &body, StatusCode::OK, move |tx| {
            Box::pin(async move {
                if is_accepted { accept(tx, id, owner).await } else { decline(tx, id, owner).await }
            })
        })
        .await?;
    match paid {
        Paid::Confirmed(order) => {
            failpoint("after-payment");
            Ok(Json(*order))
        }
        Paid::Declined => {
            let detail = "the payment was declined and the seats are free again";
            Err(ApiError::new(Code::PaymentFailed, detail))
        }
    }
}

impl Form for ConfirmPayment {
    type Body = Self;

    fn check(payment: Self) -> ApiResult<Self> {
        if [ACCEPTED, DECLINED].contains(&payment.method.as_str()) {
            return Ok(payment);
        }
        Err(ApiError::invalid("/method", "must be mock or mock-decline"))
    }
}

/// The result of a payment, as it is kept for a repeated request.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Paid {
    Confirmed(Box<Order>),
    Declined,
}

async fn accept(tx: &mut Connection, id: OrderId, owner: AccountId) -> ApiResult<Paid> {
    match bookings::confirm(tx, id, owner).await.map_err(database)? {
        Payment::Confirmed(order) => Ok(Paid::Confirmed(order)),
        Payment::TooLate(order) => Err(over(order.status)),
        Payment::NoSuchOrder => Err(ApiError::not_found(Code::OrderNotFound)),
    }
}

async fn decline(tx: &mut Connection, id: OrderId, owner: AccountId) -> ApiResult<Paid> {
    let order = end(tx, id, owner, Ending::PaymentFailed).await?;
    match order.status {
        OrderStatus::Confirmed => Ok(Paid::Confirmed(Box::new(order))),
        OrderStatus::Failed => Ok(Paid::Declined),
        other => Err(over(other)),
    }
}

/// Cancels an order and frees its seats. Twice is once.
#[utoipa::path(post, path = "/orders/{id}/cancel", tag = "orders",
    params(("id" = OrderId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Order), (status = 404, description = "ORDER_NOT_FOUND"),
        (status = 409, description = "ORDER_EXPIRED, ORDER_FAILED, SHOW_STARTED")),
    security(("bearer" = [])))]
pub(super) async fn cancel(
    State(ingress): State<Arc<Ingress>>,
    PathId(id): PathId<OrderId>,
    write: Write,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Order>> {
    let owner = caller.account;
    let cancelled = write
        .once(&ingress, owner, &(), StatusCode::OK, move |tx| {
            Box::pin(async move {
                let order = end(tx, id, owner, Ending::Cancelled).await?;
                match order.status {
                    OrderStatus::Cancelled => Ok(order),
                    OrderStatus::Confirmed | OrderStatus::PaymentPending => {
                        Err(ApiError::new(Code::ShowStarted, "the show has begun"))
                    }
                    other => Err(over(other)),
                }
            })
        })
        .await?;
    Ok(Json(cancelled))
}

/// Ends an order if its state allows this ending. Returns the order as it is after that.
async fn end(
    tx: &mut Connection,
    id: OrderId,
    owner: AccountId,
    ending: Ending,
) -> ApiResult<Order> {
    let order = find(&mut *tx, id, owner).await?;
    let partition = Partition { show: order.show_id, tier: order.tier };
    partitions::lock(&mut *tx, &partition, None).await.map_err(database)?;
    let ended = bookings::end(&mut *tx, &partition, &[(order.booking_id, owner)], ending).await;
    ended.map_err(database)?;
    find(tx, id, owner).await
}

fn over(status: OrderStatus) -> ApiError {
    let (code, detail) = match status {
        OrderStatus::Cancelled => (Code::OrderCancelled, "the order was cancelled"),
        OrderStatus::Failed => (Code::OrderFailed, "the payment had failed and the seats are free"),
        _ => (Code::OrderExpired, "the time to pay is over and the seats are free again"),
    };
    ApiError::new(code, detail)
}

/// The ticket of a confirmed order, as JSON.
#[utoipa::path(get, path = "/orders/{id}/ticket", tag = "orders", params(("id" = OrderId, Path)),
    responses((status = 200, body = Ticket), (status = 404, description = "ORDER_NOT_FOUND"),
        (status = 406, description = "NOT_ACCEPTABLE"),
        (status = 409, description = "ORDER_NOT_CONFIRMED")),
    security(("bearer" = [])))]
pub(super) async fn read_ticket(
    State(ingress): State<Arc<Ingress>>,
    PathId(id): PathId<OrderId>,
    _: AcceptsJson,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Ticket>> {
    find(&ingress.pool, id, caller.account).await?;
    let ticket = orders::ticket(&ingress.pool, id, caller.account).await.map_err(database)?;
    let not_yet = || ApiError::new(Code::OrderNotConfirmed, "only a paid order has a ticket");
    ticket.map(Json).ok_or_else(not_yet)
}

/// A client that takes JSON; 406 for any other.
pub(crate) struct AcceptsJson;

impl<S: Send + Sync> FromRequestParts<S> for AcceptsJson {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let accepts = |kind: &&str| accept.is_none_or(|accept| accept.contains(kind));
        if ["*/*", "application/*", "application/json"].iter().any(accepts) {
            return Ok(Self);
        }
        let detail = "tickets are available as application/json only";
        Err(ApiError::new(Code::NotAcceptable, detail))
    }
}

/// The caller's orders, newest first.
#[utoipa::path(get, path = "/auth/bookings", tag = "orders", params(PageParams),
    responses((status = 200, body = Page<Order>)), security(("bearer" = [])))]
pub(super) async fn list(
    State(ingress): State<Arc<Ingress>>,
    window: Window<(DateTime<Utc>, OrderId)>,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<Page<Order>>> {
    let owned = orders::of_account(&ingress.pool, caller.account, window.after, window.read());
    let owned = owned.await.map_err(database)?;
    Ok(Json(window.page(owned, |order| (order.created_at, order.order_id))))
}
