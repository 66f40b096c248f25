//! One visit by its plan, from the line to the ticket.

use std::time::Duration;

use contract::{
    BookingId, OrderId,
    api::{
        accounts::{Login, Signup},
        bookings::{Customer, Hold, Order},
        problem::Code,
    },
    booking::{HoldStatus, OrderStatus},
};
use tokio::time::{Instant, sleep};

use crate::{
    CallError,
    line::{self, LineEnd},
    plan::Intent,
    tally::{Step, VisitEnd},
};

mod booking;
mod person;

use booking::Bought;
pub use person::Visitor;

/// Longest wait for a lapse; a visitor whose hold lasts longer does not wait for it.
const LAPSE_WAIT_MAX: Duration = Duration::from_mins(1);
/// A lapsed hold or order must read EXPIRED at once; this allows for clocks that differ.
const LAPSE_LEEWAY: Duration = Duration::from_secs(5);

/// The hold or order that a visitor lets lapse.
#[derive(Clone, Copy)]
enum Lapsing {
    Hold(BookingId),
    Order(OrderId),
}

impl Visitor {
    /// Makes the whole visit; returns how it ended.
    pub async fn visit(mut self) -> VisitEnd {
        match self.journey().await {
            Ok(ending) => ending,
            Err(CallError::Refused(problem)) => match problem.code {
                Code::SoldOut | Code::AllHeld => VisitEnd::SoldOut,
                code if problem.status < 500 => VisitEnd::Refused(code),
                code => VisitEnd::Failed(code.as_str().to_owned()),
            },
            Err(error) => VisitEnd::Failed(error.to_string()),
        }
    }

    async fn journey(&mut self) -> Result<VisitEnd, CallError> {
        self.tally.arrived.up();
        self.tally.took(Step::Arrive, self.arrives_at);
        // A visitor who comes late because the crowd had no room has waited all the same.
        let mut ready_at = self.arrives_at;
        if let Some(signup) = self.signs_up.take() {
            self.sign_up(signup, self.arrives_at).await?;
            ready_at = Instant::now();
        }
        let turn = line::wait(&self.client, self.show, &self.plan, &self.tally, ready_at).await?;
        let pass = match turn {
            LineEnd::Admitted(pass) => pass,
            LineEnd::Left => return Ok(VisitEnd::LeftTheLine),
            LineEnd::SoldOut => return Ok(VisitEnd::SoldOut),
            LineEnd::Closed => return Ok(VisitEnd::Refused(Code::SaleClosed)),
        };
        match self.choose_and_book(pass.as_deref()).await? {
            Bought::Hold(hold) => self.after_hold(hold).await,
            Bought::Order(order) => self.after_order(order).await,
            Bought::Taken(_) => Ok(VisitEnd::Outrun),
            Bought::End(ending) => Ok(ending),
        }
    }

    async fn sign_up(&mut self, signup: Signup, from: Instant) -> Result<(), CallError> {
        let (email, password) = (signup.email.clone(), signup.password.clone());
        let login = Login { email, password, code: None };
        self.client.sign_up(&signup).await?;
        let signed_in = self.client.log_in(&login).await?;
        self.tally.took(Step::SignUp, from);
        self.client = self.client.signed_in(&signed_in.access_token);
        Ok(())
    }

    async fn after_hold(&self, hold: Hold) -> Result<VisitEnd, CallError> {
        if self.plan.intent == Intent::LetsHoldLapse {
            let lifetime = hold.expires_at - hold.created_at;
            return self.wait_for_lapse(lifetime, Lapsing::Hold(hold.hold_id)).await;
        }
        sleep(self.plan.thinks).await;
        let customer = Customer {
            name: "A Visitor".into(),
            email: format!("visitor.{}@example.com", self.client.address()),
            phone: None,
        };
        let from = Instant::now();
        let order = self.client.order(hold.hold_id, customer).await?;
        self.tally.took(Step::Order, from);
        self.after_order(order).await
    }

    async fn after_order(&self, order: Order) -> Result<VisitEnd, CallError> {
        if self.plan.intent == Intent::NeverPays {
            let lifetime = order.expires_at - order.created_at;
            return self.wait_for_lapse(lifetime, Lapsing::Order(order.order_id)).await;
        }
        sleep(self.plan.thinks).await;
        if self.plan.intent == Intent::Cancels {
            let order = self.client.cancel(order.order_id).await?;
            return match order.status {
                OrderStatus::Cancelled => Ok(VisitEnd::Cancelled),
                other => Err(CallError::Unexpected(format!("cancelled, but {other:?}"))),
            };
        }
        let from = Instant::now();
        let paid = self.client.pay(order.order_id).await?;
        self.tally.took(Step::Pay, from);
        let from = Instant::now();
        let ticket = self.client.ticket(order.order_id).await?;
        self.tally.took(Step::Ticket, from);
        if paid.ticket_code.as_deref() != Some(ticket.ticket_code.as_str())
            || ticket.seat_ids != order.seat_ids
        {
            return Err(CallError::Unexpected("the ticket is not what was paid for".into()));
        }
        self.tally.tickets.up();
        Ok(VisitEnd::Ticket)
    }

    /// Waits until the hold or order has lapsed, and checks that the API says so.
    async fn wait_for_lapse(
        &self,
        lifetime: chrono::TimeDelta,
        what: Lapsing,
    ) -> Result<VisitEnd, CallError> {
        let lifetime = lifetime.to_std().unwrap_or_default();
        let ending = match what {
            Lapsing::Hold(_) => VisitEnd::HoldLapsed,
            Lapsing::Order(_) => VisitEnd::OrderLapsed,
        };
        if lifetime > LAPSE_WAIT_MAX {
            return Ok(ending);
        }
        sleep(lifetime).await;
        let until = Instant::now() + LAPSE_LEEWAY;
        while !self.has_lapsed(what).await? {
            if Instant::now() > until {
                return Err(CallError::Unexpected("a lapse that did not come".into()));
            }
            sleep(Duration::from_millis(200)).await;
        }
        self.tally.lapses_seen.up();
        Ok(ending)
    }

    async fn has_lapsed(&self, what: Lapsing) -> Result<bool, CallError> {
        Ok(match what {
            Lapsing::Hold(id) => self.client.hold_now(id).await?.status == HoldStatus::Expired,
            Lapsing::Order(id) => self.client.order_now(id).await?.status == OrderStatus::Expired,
        })
    }
}
