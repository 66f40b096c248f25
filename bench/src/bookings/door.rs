//! How fast ingress refuses bookings of a show without free seats, beside the least that its HTTP
//! server can answer.

use hyper::StatusCode;

use super::{
    asking::{healthz, per_second},
    sender::{self, Wanted},
};

/// Answers per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    /// 409 for bookings of a show without free seats.
    pub(super) refusals_per_second: f64,
    /// `GET /healthz`.
    pub(super) healthz_per_second: f64,
}

impl Door {
    /// Measures at the node on this port. The visitors ask in turn for a show that has no free
    /// seat; too many requests of one visitor are refused by their number and do not count. They have
    /// no key: that a key is new is not known for two minutes after Redis has begun to remember keys.
    pub(super) async fn measure(port: u16, visitors: Vec<Wanted>) -> anyhow::Result<Self> {
        let n = visitors.len();
        let booking = move |at: usize| sender::request(at % n, &visitors[at % n], None, 0);
        let refusals_per_second = per_second(port, StatusCode::CONFLICT, booking).await?;
        let healthz_per_second = per_second(port, StatusCode::OK, healthz).await?;
        Ok(Self { refusals_per_second, healthz_per_second })
    }
}
