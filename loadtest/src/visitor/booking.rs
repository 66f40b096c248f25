//! Choosing seats and booking them; tries again if others were faster.

use contract::{
    BookingId, SeatLabel,
    api::{
        bookings::{Booking, Hold, NewBooking, Order},
        problem::Code,
    },
    booking::{Reason, Status},
};
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::person::Visitor;
use crate::{
    CallError,
    calls::{BookAnswer, HoldAnswer},
    client::fresh_key,
    journal::FinalAnswer,
    outcome,
    seats::{self, Wanted},
    tally::{Step, VisitEnd},
};

/// Choices of seats before a visitor gives up.
const TRIES_MAX: usize = 5;

/// The result of a booking.
pub(super) enum Bought {
    Hold(Hold),
    Order(Order),
    /// The seats are taken; these are offered instead.
    Taken(Vec<SeatLabel>),
    End(VisitEnd),
}

impl Visitor {
    pub(super) async fn choose_and_book(&self, pass: Option<&str>) -> Result<Bought, CallError> {
        let mut rng = Rng::with_seed(self.plan.seed);
        let quantity = self.plan.quantity;
        let mut offered: Option<Wanted> = None;
        for _ in 0..TRIES_MAX {
            let wanted = match offered.take() {
                Some(wanted) => Some(wanted),
                None => self.choose(&mut rng).await?,
            };
            let Some(wanted) = wanted else { return Ok(Bought::End(VisitEnd::SoldOut)) };
            sleep(self.plan.thinks).await;
            let bought = self.book(&wanted, pass).await?;
            let Bought::Taken(alternatives) = bought else { return Ok(bought) };
            if alternatives.len() >= usize::from(quantity) {
                let seats = alternatives.into_iter().take(usize::from(quantity)).collect();
                offered = Some(Wanted { tier: wanted.tier, seats });
            }
        }
        Ok(Bought::Taken(Vec::new()))
    }

    async fn choose(&self, rng: &mut Rng) -> Result<Option<Wanted>, CallError> {
        let from = Instant::now();
        if self.plan.chooses_seats {
            let map = self.client.seat_map(self.show).await?;
            self.tally.took(Step::SeatMap, from);
            Ok(seats::on_the_map(&map, self.plan.quantity, rng))
        } else {
            let show = self.client.show(self.show).await?;
            self.tally.took(Step::Availability, from);
            Ok(seats::best_available(&show.available, rng))
        }
    }

    async fn book(&self, wanted: &Wanted, pass: Option<&str>) -> Result<Bought, CallError> {
        let best = wanted.seats.is_empty();
        let body = NewBooking {
            show_id: self.show,
            tier: wanted.tier.clone(),
            seats: (!best).then(|| wanted.seats.clone()),
            quantity: best.then_some(self.plan.quantity),
        };
        let sent = if self.plan.holds_first {
            self.book_by_hold(&body, pass).await
        } else {
            self.book_in_one_step(&body, pass).await
        };
        match sent {
            Err(CallError::Refused(problem)) if problem.code == Code::SeatTaken => {
                let offered = problem.more.get("alternatives").cloned().unwrap_or_default();
                Ok(Bought::Taken(serde_json::from_value(offered).unwrap_or_default()))
            }
            // This tier is full; the next look shows whether another has seats.
            Err(error) if matches!(error.code(), Some(Code::SoldOut | Code::AllHeld)) => {
                Ok(Bought::Taken(Vec::new()))
            }
            other => other,
        }
    }

    async fn book_by_hold(
        &self,
        body: &NewBooking,
        pass: Option<&str>,
    ) -> Result<Bought, CallError> {
        let from = Instant::now();
        match self.client.hold(body, pass, &fresh_key()).await? {
            HoldAnswer::Held(hold) => {
                self.tally.took(Step::Hold, from);
                self.note_accepted(hold.hold_id);
                self.note_told(hold.hold_id, Status::Allocated, None);
                Ok(Bought::Hold(hold))
            }
            HoldAnswer::Accepted(accepted) => {
                self.note_accepted(accepted.booking_id);
                let booking = outcome::hear(&self.client, &accepted, self.plan.listens).await?;
                self.tally.took(Step::Hold, from);
                self.outcome(booking)
            }
        }
    }

    async fn book_in_one_step(
        &self,
        body: &NewBooking,
        pass: Option<&str>,
    ) -> Result<Bought, CallError> {
        let key = fresh_key();
        let from = Instant::now();
        let answer = self.client.book(body, pass, &key).await?;
        self.tally.took(Step::Accept, from);
        let from = Instant::now();
        let id = self.note_answer(&answer);
        if self.plan.clicks_twice {
            let again = self.client.book(body, pass, &key).await?;
            if self.note_answer(&again) != id {
                return Err(CallError::Unexpected("one key, two bookings".into()));
            }
        }
        let booking = match answer {
            BookAnswer::Decided(booking) => booking,
            BookAnswer::Accepted(accepted) => {
                let booking = outcome::hear(&self.client, &accepted, self.plan.listens).await?;
                self.tally.took(Step::Decide, from);
                booking
            }
        };
        self.outcome(booking)
    }

    fn note_answer(&self, answer: &BookAnswer) -> BookingId {
        let id = match answer {
            BookAnswer::Accepted(accepted) => accepted.booking_id,
            BookAnswer::Decided(booking) => booking.booking_id,
        };
        self.note_accepted(id);
        id
    }

    fn outcome(&self, booking: Booking) -> Result<Bought, CallError> {
        self.note_told(booking.booking_id, booking.status, booking.reason);
        match (booking.status, booking.reason) {
            (Status::Rejected, Some(Reason::SeatTaken | Reason::SoldOut | Reason::AllHeld)) => {
                Ok(Bought::Taken(booking.alternatives.unwrap_or_default()))
            }
            (Status::Rejected, Some(reason)) => Ok(Bought::End(VisitEnd::Refused(reason.into()))),
            (Status::Allocated, None) => match (booking.order, booking.hold) {
                (Some(order), _) => Ok(Bought::Order(order)),
                (None, Some(hold)) => Ok(Bought::Hold(hold)),
                (None, None) => Err(CallError::Unexpected("ALLOCATED, but nothing with it".into())),
            },
            other => Err(CallError::Unexpected(format!("an outcome {other:?}"))),
        }
    }

    fn note_accepted(&self, id: BookingId) {
        if self.journal.accepted(id, &self.client) {
            self.tally.accepts(id);
        }
    }

    fn note_told(&self, id: BookingId, status: Status, reason: Option<Reason>) {
        self.journal.note_answer(id, FinalAnswer { status, reason });
        match status {
            Status::Allocated => self.tally.allocated.up(),
            Status::Rejected => self.tally.rejected.up(),
            Status::Queued => {}
        }
    }
}
