//! Makes messages for a request queue, valid ones as ingress would and others.

use std::time::Duration;

use contract::{
    AccountId, BookingId, ShowId, TierCode,
    booking::{Kind, Wish},
    booking_id::{BookingIds, RequestIdentity},
    message::{BookingRequested, Envelope},
    topology::Partition,
};
use testing::eventually;

use crate::harness::{SOON, System, fresh_key};

/// Makes requests of an account for the tier STANDARD of a show.
pub(crate) struct Forge {
    ids: BookingIds,
    show: ShowId,
    tier: TierCode,
    account: AccountId,
}

impl Forge {
    pub(crate) fn new(system: &System, show: ShowId, account: AccountId) -> Self {
        let ids = BookingIds::new(&system.slot.master_key());
        Self { ids, show, tier: "STANDARD".parse().unwrap(), account }
    }

    /// A valid request for one seat.
    pub(crate) fn any(&self) -> BookingRequested {
        self.request(Wish::BestAvailable(1))
    }

    pub(crate) fn request(&self, wish: Wish) -> BookingRequested {
        self.request_of(self.account, wish)
    }

    /// A request without a key.
    pub(crate) fn request_of(&self, account: AccountId, wish: Wish) -> BookingRequested {
        let keyed = self.keyed(account, wish, &fresh_key());
        BookingRequested { idempotency_key: None, ..keyed }
    }

    pub(crate) fn with_key(&self, wish: Wish, key: &str) -> BookingRequested {
        self.keyed(self.account, wish, key)
    }

    fn keyed(&self, account: AccountId, wish: Wish, key: &str) -> BookingRequested {
        let (show, tier, kind) = (self.show, &self.tier, Kind::Order);
        let asked = RequestIdentity { account, show, tier, kind, wish: &wish, key };
        BookingRequested {
            booking_id: self.ids.derive(&asked),
            account_id: account,
            kind,
            wish,
            idempotency_key: Some(key.to_owned()),
            ticket_id: None,
            deadline: platform::clock::now() + Duration::from_mins(10),
            traceparent: None,
            attempt: 0,
            number: None,
        }
    }

    pub(crate) fn envelope(&self, bookings: Vec<BookingRequested>) -> Vec<u8> {
        self.versioned(1, bookings)
    }

    pub(crate) fn versioned(&self, v: u8, bookings: Vec<BookingRequested>) -> Vec<u8> {
        let partition = Partition { show: self.show, tier: self.tier.clone() };
        Envelope { v, ..Envelope::new(&partition, bookings) }.encode()
    }
}

/// Waits for the status and the reason of a booking.
pub(crate) async fn outcome(system: &System, booking: BookingId) -> (String, Option<String>) {
    eventually("the booking has an outcome", SOON, async || {
        sqlx::query_as("select status::text, reason::text from bookings where booking_id = $1")
            .bind(booking.0)
            .fetch_optional(&system.pool)
            .await
            .unwrap()
    })
    .await
}
