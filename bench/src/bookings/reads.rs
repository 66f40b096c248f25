//! How soon the catalogue and a seat map are read, beside the least that the HTTP server can answer,
//! each at half of its most per second.

use std::{net::Ipv4Addr, time::Duration};

use contract::{ShowId, api::BASE};
use http_body_util::Full;
use hyper::{Request, StatusCode, body::Bytes};

use super::asking::{healthz, p95_at, per_second};

/// First of the addresses that readers claim: many, so that limits by address can stay on.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([11, 0, 0, 1]);
const ADDRESSES: usize = 10_000;

/// Reads per second at most, and the time of 95 of 100 at half of that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) per_second: f64,
    pub(super) p95: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// Lists and single things, in turn.
    pub(super) catalogue: Pace,
    /// The map of a show of which seats are sold, compressed.
    pub(super) seat_map: Pace,
    pub(super) healthz: Pace,
}

impl Reads {
    /// Measures at the node on this port.
    pub(super) async fn measure(port: u16, show: ShowId) -> anyhow::Result<Self> {
        let lists = ["/shows/upcoming".to_owned(), "/movies".to_owned(), format!("/shows/{show}")];
        let catalogue = move |at: usize| read(at, &lists[at % lists.len()]);
        let map = format!("/shows/{show}/seatmap");
        let seat_map = move |at: usize| read(at, &map);
        Ok(Self {
            catalogue: Pace::measure(port, catalogue).await?,
            seat_map: Pace::measure(port, seat_map).await?,
            healthz: Pace::measure(port, healthz).await?,
        })
    }
}

impl Pace {
    async fn measure(
        port: u16,
        request: impl Fn(usize) -> anyhow::Result<Request<Full<Bytes>>> + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let most = per_second(port, StatusCode::OK, request.clone()).await?;
        let p95 = p95_at(port, most / 2.0, StatusCode::OK, request).await?;
        Ok(Self { per_second: most, p95 })
    }
}

fn read(at: usize, path: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    let address = Ipv4Addr::from(FIRST_ADDRESS + u32::try_from(at % ADDRESSES)?);
    let request = Request::get(format!("{BASE}{path}"))
        .header("host", "localhost")
        .header("accept-encoding", "br")
        .header("x-forwarded-for", address.to_string());
    Ok(request.body(Full::default())?)
}
