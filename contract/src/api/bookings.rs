//! Bookings, holds, orders, tickets.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    AccountId, BookingId, Money, OrderId, SeatLabel, ShowId, TierCode,
    booking::{HoldStatus, Limit, OrderStatus, Reason, Status},
};

/// Asks for chosen seats, or for the best available. Either `seats` or `quantity`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewBooking {
    pub show_id: ShowId,
    pub tier: TierCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 20)]
    pub seats: Option<Vec<SeatLabel>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 20)]
    pub quantity: Option<u16>,
}

/// The answer 202.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    pub booking_id: BookingId,
    pub status: Status,
    pub links: Links,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    #[serde(rename = "self")]
    pub this: String,
    pub live: String,
}

/// A booking as its owner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Booking {
    pub booking_id: BookingId,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Which limit, if the reason is `LIMIT_EXCEEDED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_seats: Option<Vec<SeatLabel>>,
    /// Free seats offered instead, as of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternatives: Option<Vec<SeatLabel>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

impl Booking {
    /// A booking that is not decided yet.
    #[must_use]
    pub fn queued(booking_id: BookingId) -> Self {
        Self {
            booking_id,
            status: Status::Queued,
            reason: None,
            taken_seats: None,
            limit: None,
            alternatives: None,
            hold: None,
            order: None,
        }
    }

    /// A booking that was not decided before its deadline.
    #[must_use]
    pub fn expired(booking_id: BookingId) -> Self {
        let status = Status::Rejected;
        Self { status, reason: Some(Reason::Expired), ..Self::queued(booking_id) }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    pub hold_id: BookingId,
    pub show_id: ShowId,
    pub user_id: AccountId,
    pub tier: TierCode,
    pub seat_ids: Vec<SeatLabel>,
    pub status: HoldStatus,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewOrder {
    pub hold_id: BookingId,
    pub customer: Customer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Customer {
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    #[schema(max_length = 254, pattern = "^[^@ ]{1,64}@[^@ ]+$")]
    pub email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[-0-9 +.()]{3,20}$")]
    pub phone: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub order_id: OrderId,
    pub reference: String,
    pub booking_id: BookingId,
    pub show_id: ShowId,
    pub tier: TierCode,
    pub seat_ids: Vec<SeatLabel>,
    pub lines: Vec<OrderLine>,
    pub amount: Money,
    pub status: OrderStatus,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "BMS-7K2M9Q")]
    pub ticket_code: Option<String>,
    pub customer: Customer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    pub kind: LineKind,
    pub label: String,
    /// Minor units of the order's currency; negative for a discount.
    pub amount: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    Seat,
    Fee,
    Discount,
    Tax,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfirmPayment {
    #[schema(example = "mock")]
    pub method: String,
}

/// A ticket as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    pub ticket_code: String,
    pub reference: String,
    pub order_id: OrderId,
    pub show_id: ShowId,
    pub movie_title: String,
    pub theatre_name: String,
    pub screen_name: String,
    pub starts_at: DateTime<Utc>,
    pub tier: TierCode,
    pub seat_ids: Vec<SeatLabel>,
}

/// What a booking's socket sends: the present state at once, then each change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BookingFrame {
    Booking(Booking),
}
