//! Limits on requests for places that may not exist.

use std::sync::Arc;

use contract::AccountId;
use platform::{
    Shutdown,
    http::{
        ApiError,
        limits::{Limiter, Quota},
    },
};

use crate::LineError;

/// Requests per second and account for places by their id alone, with a burst of fifty.
const GUESSES_PER_SECOND: u32 = 10;
const GUESSES_AT_ONCE: u32 = 50;
/// Lookups per second on this node, in all, for requests without a place ticket whose place is not
/// known here.
const QUESTIONS_PER_SECOND: u32 = 50;

/// This node's limits on requests for places that may not exist.
pub(crate) struct Limits {
    guesses: Arc<Limiter<AccountId>>,
    questions: Arc<Limiter<()>>,
}

impl Limits {
    pub(crate) fn start(shutdown: &Shutdown) -> Self {
        let guesses = Quota::per_second(GUESSES_PER_SECOND).at_once(GUESSES_AT_ONCE);
        let questions = Quota::per_second(QUESTIONS_PER_SECOND);
        Self {
            guesses: Limiter::start("place-guesses", "account", guesses, shutdown),
            questions: Limiter::start("place-questions", "node", questions, shutdown),
        }
    }

    /// Whether an account may ask now for a place by its id alone; 429 where not.
    pub(crate) fn guess(&self, account: &AccountId) -> Result<(), ApiError> {
        self.guesses.take(account)
    }

    /// Whether the database may be asked now for a request without a place ticket.
    pub(crate) fn question(&self) -> Result<(), LineError> {
        self.questions.take(&()).map_err(|_| {
            metrics::counter!("usher_line_questions_refused_total").increment(1);
            LineError::TooManyAsk
        })
    }
}
