//! Refusals and failures, counted by code. Overload makes thousands of them a second, so a code is
//! logged at most once a second, with the number of calls.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use contract::api::problem::Code;
use tokio::time::Instant;

/// Shortest time between two log lines about one code.
const TELL_EVERY: Duration = Duration::from_secs(1);

static SPOKEN: Mutex<Option<HashMap<Code, Quiet>>> = Mutex::new(None);

/// Counts an error. Returns how many calls to log now, this one included: the first 5xx at once,
/// then once a second.
pub(super) fn count(status: StatusCode, code: Code) -> Option<u64> {
    metrics::counter!("usher_http_refused_total", "code" => code.as_str()).increment(1);
    if !status.is_server_error() {
        return None;
    }
    let mut spoken = SPOKEN.lock().unwrap_or_else(PoisonError::into_inner);
    spoken.get_or_insert_default().entry(code).or_default().speaks(Instant::now())
}

/// When a code was last logged, and how many calls were not logged since.
#[derive(Default)]
struct Quiet {
    told_at: Option<Instant>,
    passed_over: u64,
}

impl Quiet {
    /// How many calls to log now; `None` if it is too soon.
    fn speaks(&mut self, now: Instant) -> Option<u64> {
        if self.told_at.is_some_and(|told_at| now < told_at + TELL_EVERY) {
            self.passed_over += 1;
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.passed_over) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_code_is_a_line_a_second_that_says_how_many() {
        let start = Instant::now();
        let mut quiet = Quiet::default();
        let told: Vec<u64> = (0..10_000u64)
            .filter_map(|n| quiet.speaks(start + Duration::from_micros(n * 300)))
            .collect();
        // 3 s of 3,333 calls a second: the first is logged at once, then a second's calls in one
        // line.
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], 1);
        assert!(told[1..].iter().all(|calls| (3_333..=3_335).contains(calls)), "{told:?}");
    }
}
