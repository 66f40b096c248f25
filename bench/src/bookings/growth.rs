//! Whether a decision costs more in a large hall than in a small one, and how long the seat map of
//! the large one is.

use std::time::Duration;

use anyhow::ensure;
use contract::api::BASE;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use platform::number::float;
use tokio::time::Instant;

use super::{
    house::House,
    sender::{self, Server, Wanted},
};

const SMALL: usize = 1_000;
/// Bookings in each hall; the small one has seats for more.
const BOOKINGS_MAX: usize = 200;
/// Bookings that do not count: a session begins with the first.
const WARM_UP: usize = 5;
/// Seconds that a request waits for its decision.
const WAIT: u8 = 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// The median time from a request to its decision, one request after the other.
    pub(super) small_hall: Duration,
    pub(super) large_hall: Duration,
    /// Bytes of the large hall's seat map, compressed ÷ as it is.
    pub(super) map_ratio: f64,
}

impl Growth {
    /// Sells some seats of a small and of a large hall, in turn.
    pub(super) async fn measure(
        house: &House,
        visitors: &[Wanted],
        large: usize,
    ) -> anyhow::Result<Self> {
        let visitors = &visitors[..visitors.len().min(BOOKINGS_MAX)];
        let halls = [house.stalls(SMALL, visitors).await?, house.stalls(large, visitors).await?];
        let mut server = Server::connect(house.ingress()).await?;
        let mut times = [Vec::new(), Vec::new()];
        for n in 0..visitors.len() {
            for (hall, times) in halls.iter().zip(&mut times) {
                let request = sender::request(n, &hall[n], None, WAIT)?;
                let began = Instant::now();
                let (status, answer) = server.ask(request).await?;
                if n >= WARM_UP {
                    let answer = String::from_utf8_lossy(&answer);
                    ensure!(status == StatusCode::OK, "{status}, not decided: {answer}");
                    times.push(began.elapsed());
                }
            }
        }
        let [small_hall, large_hall] = times.map(median);
        let map = format!("{BASE}/shows/{}/seatmap", halls[1][0].show);
        let mut lengths = [0, 0];
        for (coding, length) in ["br", "identity"].into_iter().zip(&mut lengths) {
            let request = Request::get(&map).header("host", "localhost");
            let request = request.header("accept-encoding", coding).body(Full::default())?;
            let (status, body) = server.ask(request).await?;
            ensure!(status == StatusCode::OK, "the seat map was answered {status}");
            *length = body.len();
        }
        let map_ratio = float(lengths[0]) / float(lengths[1]);
        Ok(Self { small_hall, large_hall, map_ratio })
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
