//! The calls of the API that a visitor makes.

use contract::{
    BookingId, OrderId, ShowId, TicketId,
    api::{
        accounts::{Login, SignInAnswer, Signup},
        bookings::{
            Accepted, Booking, ConfirmPayment, Customer, Hold, NewBooking, NewOrder, Order, Ticket,
        },
        catalogue::{SeatMap, Show},
        line::PlaceStatus,
    },
};
use reqwest::{Method, Response, StatusCode, header};

use crate::client::{CallError, Client, json};

/// What `POST /holds` answers: the hold, or a booking to wait for.
pub enum HoldAnswer {
    Held(Hold),
    Accepted(Accepted),
}

/// What `POST /bookings` answers.
#[expect(clippy::large_enum_variant, reason = "short-lived, one at a time per visitor")]
pub enum BookAnswer {
    Accepted(Accepted),
    /// The same request was accepted before, and has been decided since.
    Decided(Booking),
}

impl Client {
    /// `POST /auth/signup`
    pub async fn sign_up(&self, signup: &Signup) -> Result<SignInAnswer, CallError> {
        self.post("/auth/signup", signup).await
    }

    /// `POST /auth/login`
    pub async fn log_in(&self, login: &Login) -> Result<SignInAnswer, CallError> {
        self.post("/auth/login", login).await
    }

    /// `GET /shows/{id}`
    pub async fn show(&self, show: ShowId) -> Result<Show, CallError> {
        self.get(&format!("/shows/{show}")).await
    }

    /// `GET /shows/{id}/seatmap`
    pub async fn seat_map(&self, show: ShowId) -> Result<SeatMap, CallError> {
        self.get(&format!("/shows/{show}/seatmap")).await
    }

    /// `POST /shows/{id}/queue`: a place, the same one on every call.
    pub async fn join(&self, show: ShowId) -> Result<PlaceStatus, CallError> {
        self.post_empty(&format!("/shows/{show}/queue")).await
    }

    /// `GET /shows/{id}/queue/{ticketId}`
    pub async fn place(&self, show: ShowId, place: TicketId) -> Result<PlaceStatus, CallError> {
        self.get(&format!("/shows/{show}/queue/{place}")).await
    }

    /// The same as a stream of server-sent events.
    pub async fn place_stream(&self, show: ShowId, place: TicketId) -> Result<Response, CallError> {
        let request = self.request(Method::GET, &format!("/shows/{show}/queue/{place}"));
        let request = request.header(header::ACCEPT, "text/event-stream");
        // The stream lasts as long as the line does.
        self.send(request.timeout(std::time::Duration::from_hours(1))).await
    }

    /// `DELETE /shows/{id}/queue/{ticketId}`
    pub async fn leave(&self, show: ShowId, place: TicketId) -> Result<(), CallError> {
        let path = format!("/shows/{show}/queue/{place}");
        self.send(self.request(Method::DELETE, &path)).await.map(drop)
    }

    /// `POST /bookings`, with the pass where the room is on.
    pub async fn book(
        &self,
        wanted: &NewBooking,
        pass: Option<&str>,
        key: &str,
    ) -> Result<BookAnswer, CallError> {
        let pass = pass.map(|pass| ("admission-pass", pass));
        let answer = self.post_keyed("/bookings", wanted, key, pass.as_slice()).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return json(answer).await.map(BookAnswer::Accepted);
        }
        json(answer).await.map(BookAnswer::Decided)
    }

    /// `POST /holds`, waiting for the outcome as long as the server does by default.
    pub async fn hold(
        &self,
        wanted: &NewBooking,
        pass: Option<&str>,
        key: &str,
    ) -> Result<HoldAnswer, CallError> {
        let pass = pass.map(|pass| ("admission-pass", pass));
        let answer = self.post_keyed("/holds", wanted, key, pass.as_slice()).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return json(answer).await.map(HoldAnswer::Accepted);
        }
        json(answer).await.map(HoldAnswer::Held)
    }

    /// `GET /bookings/{id}`, waiting up to `wait_seconds` for an outcome.
    pub async fn booking(&self, id: BookingId, wait_seconds: u8) -> Result<Booking, CallError> {
        let mut request = self.request(Method::GET, &format!("/bookings/{id}"));
        if wait_seconds > 0 {
            request = request.header("prefer", format!("wait={wait_seconds}"));
        }
        json(self.send(request).await?).await
    }

    /// `GET /holds/{id}`
    pub async fn hold_now(&self, id: BookingId) -> Result<Hold, CallError> {
        self.get(&format!("/holds/{id}")).await
    }

    /// `POST /orders` from a hold.
    pub async fn order(&self, hold_id: BookingId, customer: Customer) -> Result<Order, CallError> {
        self.post("/orders", &NewOrder { hold_id, customer }).await
    }

    /// `GET /orders/{id}`
    pub async fn order_now(&self, id: OrderId) -> Result<Order, CallError> {
        self.get(&format!("/orders/{id}")).await
    }

    /// `POST /orders/{id}/confirm-payment` with the mock provider.
    pub async fn pay(&self, id: OrderId) -> Result<Order, CallError> {
        let method = ConfirmPayment { method: "mock".into() };
        self.post(&format!("/orders/{id}/confirm-payment"), &method).await
    }

    /// `POST /orders/{id}/cancel`
    pub async fn cancel(&self, id: OrderId) -> Result<Order, CallError> {
        self.post_empty(&format!("/orders/{id}/cancel")).await
    }

    /// `GET /orders/{id}/ticket` as JSON.
    pub async fn ticket(&self, id: OrderId) -> Result<Ticket, CallError> {
        let request = self.request(Method::GET, &format!("/orders/{id}/ticket"));
        json(self.send(request.header(header::ACCEPT, "application/json")).await?).await
    }
}
