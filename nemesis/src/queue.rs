//! A buyer in the line: it polls the nodes in turn, whose numbers must agree.

use std::time::Duration;

use contract::ShowId;
use reqwest::Method;
use tokio::time::{Instant, sleep};

use crate::{
    api::{Api, Call},
    fleet::Service,
};

const ASK_EVERY: Duration = Duration::from_millis(300);

/// How the line ended.
#[derive(Debug, Default)]
pub struct LineEnd {
    pub pass: Option<String>,
    /// Times the position rose while the place was kept.
    pub went_up: u64,
    /// The first place ticket of each place it had.
    pub places: Vec<String>,
}

/// Joins, and polls until it is admitted, the show is sold out, or the time is over.
pub async fn wait(api: &Api, show: ShowId, until: Instant) -> LineEnd {
    let mut turn = LineEnd::default();
    let mut place: Option<(String, String)> = None;
    let mut shown: Option<u64> = None;
    let join = format!("/shows/{show}/queue");
    while Instant::now() < until {
        let answer = match &place {
            None => api.call(&Call::new(Service::WaitingRoom, Method::POST, &join)).await,
            Some((ticket, proof)) => {
                let look = format!("{join}/{ticket}");
                let call = Call::new(Service::WaitingRoom, Method::GET, &look)
                    .header("place-ticket", proof.clone());
                api.call(&call).await
            }
        };
        if let Some(answer) = answer
            && matches!(answer.status.as_u16(), 200 | 201)
        {
            let text = |name: &str| answer.body[name].as_str().map(ToOwned::to_owned);
            let (ticket, proof) = (text("ticketId"), text("placeTicket"));
            if let (Some(ticket), Some(proof)) = (ticket, proof) {
                if place.as_ref().is_none_or(|(known, _)| *known != ticket) {
                    // A new place has a new number.
                    shown = None;
                    turn.places.push(proof.clone());
                }
                place = Some((ticket, proof));
            }
            if let Some(position) = answer.body["position"].as_u64() {
                if shown.is_some_and(|before| position > before) {
                    turn.went_up += 1;
                }
                shown = Some(position);
            }
            match answer.body["state"].as_str() {
                Some("ADMITTED") => {
                    turn.pass = text("pass");
                    return turn;
                }
                Some("SOLD_OUT" | "CLOSED") => return turn,
                // The place was lost, so the buyer joins again at the end.
                Some("EXPIRED" | "LEFT") => (place, shown) = (None, None),
                _ => {}
            }
        }
        sleep(ASK_EVERY).await;
    }
    turn
}
