//! A buyer: sends a request again with the same key until there is an answer, asks for the outcome,
//! then pays, cancels, releases or lets the seats lapse.

use std::time::Duration;

use contract::AccountId;
use fastrand::Rng;
use futures_util::future::join;
use platform::clock;
use reqwest::Method;
use serde_json::{Value, json};
use testing::Answer;
use tokio::time::{Instant, sleep};

use crate::{
    api::{Api, Call},
    fleet::Service,
    history::Pen,
    listener, queue,
    sale::{HOLD_SECONDS, Hall},
    story::{OrderStory, Story},
};

const PAUSE: Duration = Duration::from_millis(150);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a buyer is going to do, drawn from the seed.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent habits, each drawn by itself")]
pub struct Wishes {
    pub hall: Hall,
    pub tier: usize,
    pub quantity: usize,
    pub chooses: bool,
    pub holds: bool,
    pub clicks_twice: bool,
    pub listens: bool,
    pub reuses_pass: bool,
    pub fate: Intent,
    pub rng: Rng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    Pays,
    Cancels,
    Lapses,
}

impl Wishes {
    pub fn draw(halls: &[Hall], rng: &mut Rng) -> Self {
        // Every seat gets the same number of requests, whichever hall it is in.
        let n: usize = halls.iter().map(Hall::n_seats).sum();
        let mut at = rng.usize(0..n.max(1));
        let mut wanted = (0, 0);
        'halls: for (h, hall) in halls.iter().enumerate() {
            for (t, tier) in hall.tiers.iter().enumerate() {
                if at < tier.seats.len() {
                    wanted = (h, t);
                    break 'halls;
                }
                at -= tier.seats.len();
            }
        }
        Self {
            hall: halls[wanted.0].clone(),
            tier: wanted.1,
            quantity: rng.usize(1..=3),
            chooses: rng.u8(0..100) < 50,
            holds: rng.u8(0..100) < 35,
            clicks_twice: rng.u8(0..100) < 15,
            listens: rng.u8(0..100) < 30,
            reuses_pass: rng.u8(0..100) < 30,
            fate: match rng.u8(0..100) {
                0..45 => Intent::Pays,
                45..65 => Intent::Cancels,
                _ => Intent::Lapses,
            },
            rng: Rng::with_seed(rng.u64(..)),
        }
    }

    fn story(&mut self, account: AccountId) -> Story {
        let tier = &self.hall.tiers[self.tier];
        let mut seats = Vec::new();
        if self.chooses {
            // People want neighbouring seats.
            let last = tier.seats.len().saturating_sub(self.quantity);
            let first = self.rng.usize(0..=last);
            seats = tier.seats.iter().skip(first).take(self.quantity).cloned().collect();
        }
        let key = format!("{:016x}{:016x}", self.rng.u64(..), self.rng.u64(..));
        Story {
            account,
            show: self.hall.show,
            tier: tier.tier,
            quantity: if seats.is_empty() { self.quantity } else { seats.len() },
            seats,
            key,
            ids: std::collections::BTreeSet::new(),
            asked_at: clock::now(),
            accepted_at: None,
            accepted: false,
            unknown: false,
            refused: None,
            told: Vec::new(),
            order: None,
            released: false,
            trouble: Vec::new(),
        }
    }
}

/// A buyer.
pub struct Buyer {
    pub name: String,
    pub account: AccountId,
    pub api: Api,
    pub wishes: Wishes,
    pub pen: Pen,
    /// When the buyer gives up.
    pub until: Instant,
}

/// The results of a buyer.
#[derive(Debug, Default)]
pub struct Visit {
    pub stories: Vec<Story>,
    /// Times a position rose while the place was kept.
    pub went_up: u64,
    /// Place tickets of the places it had in a line.
    pub places: Vec<String>,
}

impl Buyer {
    pub async fn shop(mut self) -> Visit {
        let mut visit = Visit::default();
        let mut pass = None;
        if self.wishes.hall.has_line {
            let turn = queue::wait(&self.api, self.wishes.hall.show, self.until).await;
            visit.went_up = turn.went_up;
            visit.places = turn.places;
            self.pen.note(
                &self.name,
                "turn",
                &json!({"hasPass": turn.pass.is_some(), "wentUp": turn.went_up}),
            );
            let Some(admitted) = turn.pass else { return visit };
            pass = Some(admitted);
        }
        let tries = if pass.is_some() && self.wishes.reuses_pass { 2 } else { 1 };
        for _ in 0..tries {
            let mut story = self.wishes.story(self.account);
            self.book(&mut story, pass.as_deref()).await;
            visit.stories.push(story);
        }
        visit
    }

    async fn book(&self, story: &mut Story, pass: Option<&str>) {
        self.pen.note(
            &self.name,
            "asks",
            &json!({
                "key": story.key, "account": story.account, "show": story.show, "tier": story.tier,
                "seats": story.seats, "quantity": story.quantity, "hold": self.wishes.holds,
            }),
        );
        if self.wishes.clicks_twice {
            let mut again = story.clone();
            join(self.submit(story, pass), self.submit(&mut again, pass)).await;
            merge(story, again);
        } else {
            self.submit(story, pass).await;
        }
        let Some(id) = story.ids.first().copied() else { return };
        let path = format!("/bookings/{id}");
        if self.wishes.listens {
            for frame in listener::listen(&self.api, &path, self.until).await {
                story.hear(&frame);
            }
        }
        let Some(booking) = self.outcome(story, &path).await else { return };
        self.pen.note(&self.name, "told", &booking);
        if story.has_won() {
            self.live_with(story, &booking).await;
        }
        // Asks once more, since a decided outcome must not change.
        let _ = self.outcome(story, &path).await;
    }

    /// Sends the request until an answer settles it, or it is accepted.
    async fn submit(&self, story: &mut Story, pass: Option<&str>) {
        let mut body = json!({"showId": story.show, "tier": story.tier});
        if story.seats.is_empty() {
            body["quantity"] = json!(story.quantity);
        } else {
            body["seats"] = json!(story.seats);
        }
        let path = if self.wishes.holds { "/holds" } else { "/bookings" };
        let mut call = Call::new(Service::Ingress, Method::POST, path)
            .header("idempotency-key", story.key.clone())
            .header("prefer", "wait=0")
            .body(body);
        if let Some(pass) = pass {
            call = call.header("admission-pass", pass);
        }
        let mut pause = PAUSE;
        while Instant::now() < self.until {
            let answer = self.api.call(&call).await;
            self.note(story, answer.as_ref());
            match answer {
                Some(answer) if answer.status == 202 => {
                    return story.accepted_as(&answer.body["bookingId"]);
                }
                Some(answer) if answer.status == 200 => {
                    story.accepted_as(&answer.body["bookingId"]);
                    story.hear(&answer.body);
                    return;
                }
                Some(answer) if answer.status == 201 => {
                    return story.accepted_as(&answer.body["holdId"]);
                }
                Some(answer) if answer.is_not_now() => {}
                Some(answer) if answer.is_unknown() => story.unknown = true,
                None => story.unknown = true,
                Some(answer) => {
                    story.refused = Some(answer.code().to_owned());
                    if answer.status.is_server_error() || answer.code().is_empty() {
                        story.trouble.push(format!("{} {}", answer.status, answer.body));
                    }
                    return;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn note(&self, story: &Story, answer: Option<&Answer>) {
        let detail = match answer {
            Some(answer) => json!({
                "key": story.key, "status": answer.status.as_u16(), "code": answer.code(),
                "id": answer.body["bookingId"],
            }),
            None => json!({"key": story.key, "status": null}),
        };
        self.pen.note(&self.name, "answered", &detail);
    }

    /// Asks until the booking is decided.
    async fn outcome(&self, story: &mut Story, path: &str) -> Option<Value> {
        let call = Call::new(Service::Ingress, Method::GET, path).header("prefer", "wait=2");
        let booking = self.settle(&call).await?;
        if booking.status == 404 {
            story.trouble.push("an accepted booking is not known to its owner".into());
            return None;
        }
        story.hear(&booking.body).then_some(booking.body)
    }

    /// Asks until there is an answer that is not "later" and, for a booking, not "queued".
    async fn settle(&self, call: &Call<'_>) -> Option<Answer> {
        while Instant::now() < self.until {
            let answer = self.api.call(call).await;
            if let Some(answer) = answer
                && !answer.is_not_now()
                && !answer.is_unknown()
                && answer.body["status"] != "QUEUED"
            {
                return Some(answer);
            }
            sleep(PAUSE).await;
        }
        None
    }

    async fn live_with(&self, story: &mut Story, booking: &Value) {
        let mut order = booking["order"].clone();
        if let Some(hold) = booking["hold"]["holdId"].as_str() {
            match self.wishes.fate {
                Intent::Lapses => return self.let_lapse().await,
                Intent::Cancels => {
                    let path = format!("/holds/{hold}");
                    let gone =
                        self.settle(&Call::new(Service::Ingress, Method::DELETE, &path)).await;
                    story.released = gone.is_some_and(|answer| answer.status == 204);
                    return;
                }
                Intent::Pays => {
                    let call = Call::new(Service::Ingress, Method::POST, "/orders")
                        .header("idempotency-key", format!("{}o", &story.key))
                        .body(json!({"holdId": hold, "customer": {"name": "A Buyer", "email": "a@buyer.example"}}));
                    order = self.settle(&call).await.map(|answer| answer.body).unwrap_or_default();
                }
            }
        }
        let Some(mut order) = OrderStory::of(&order) else { return };
        self.finish(story, &mut order).await;
        self.pen.note(
            &self.name,
            "order",
            &json!({"order": order.id, "paid": order.paid, "cancelled": order.cancelled}),
        );
        story.order = Some(order);
    }

    async fn finish(&self, story: &mut Story, order: &mut OrderStory) {
        match self.wishes.fate {
            Intent::Lapses => self.let_lapse().await,
            Intent::Cancels => {
                order.asked_to_cancel = true;
                let path = format!("/orders/{}/cancel", order.id);
                let done = self.settle(&Call::new(Service::Ingress, Method::POST, &path)).await;
                order.cancelled = done.is_some_and(|answer| answer.status == 200);
            }
            Intent::Pays => {
                order.asked_to_pay = true;
                let path = format!("/orders/{}/confirm-payment", order.id);
                let call = Call::new(Service::Ingress, Method::POST, &path)
                    .body(json!({"method": "mock"}));
                let Some(answer) = self.settle(&call).await else { return };
                match (answer.status.as_u16(), answer.body["ticketCode"].as_str()) {
                    (200, Some(code)) => order.paid = Some(code.to_owned()),
                    (409, _) => {}
                    _ => story.trouble.push(format!("paying: {} {}", answer.status, answer.body)),
                }
            }
        }
    }

    async fn let_lapse(&self) {
        sleep(Duration::from_secs(HOLD_SECONDS.into())).await;
    }
}

/// Two tries with one key are one request.
fn merge(story: &mut Story, again: Story) {
    story.ids.extend(again.ids);
    story.accepted |= again.accepted;
    story.accepted_at = story.accepted_at.into_iter().chain(again.accepted_at).min();
    story.unknown |= again.unknown;
    story.told.extend(again.told);
    story.trouble.extend(again.trouble);
    if story.refused.is_none() {
        story.refused = again.refused;
    }
}
