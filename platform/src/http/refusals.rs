//! Refusals and failures, counted by code. Overload makes thousands of them a second, so none of
//! them costs a line of the log: one code is told of at most once a second, with how many it was.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use contract::api::problem::Code;
use tokio::time::Instant;

/// The time between two lines about one code.
const TELL_EVERY: Duration = Duration::from_secs(1);

static SPOKEN: Mutex<Option<HashMap<Code, Quiet>>> = Mutex::new(None);

/// Counts an answer that is an error. Returns of how many calls the log should tell now, this one
/// included: of a 5xx at once, and then once a second.
pub(super) fn note(status: StatusCode, code: Code) -> Option<u64> {
    metrics::counter!("usher_http_refused_total", "code" => code.as_str()).increment(1);
    if !status.is_server_error() {
        return None;
    }
    let mut spoken = SPOKEN.lock().unwrap_or_else(PoisonError::into_inner);
    spoken.get_or_insert_default().entry(code).or_default().speaks(Instant::now())
}

/// When a code was last told of, and how often it was passed over since.
#[derive(Default)]
struct Quiet {
    told_at: Option<Instant>,
    passed_over: u64,
}

impl Quiet {
    /// How many calls to tell of now; `None` where it is too soon.
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
        // 3 s of 3,333 a second: one at once, then a second's worth each time.
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], 1);
        assert!(told[1..].iter().all(|calls| (3_333..=3_335).contains(calls)), "{told:?}");
    }
}
