//! How often may be asked for places that are perhaps not there.

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

/// An account that asks for places by their id alone may ask so often, with a burst of fifty.
const GUESSES_PER_SECOND: u32 = 10;
const GUESSES_AT_ONCE: u32 = 50;
/// Asked for places that this node cannot know, by accounts that prove none, it asks the database
/// so often in all.
const QUESTIONS_PER_SECOND: u32 = 50;

/// The limits on asking for what may not be there, of this node.
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

    /// Whether an account may ask now about a place by its id alone; 429 where not.
    pub(crate) fn guess(&self, account: &AccountId) -> Result<(), ApiError> {
        self.guesses.take(account)
    }

    /// Whether the database may be asked on behalf of somebody who proves no place.
    pub(crate) fn question(&self) -> Result<(), LineError> {
        self.questions.take(&()).map_err(|_| {
            metrics::counter!("usher_line_questions_refused_total").increment(1);
            LineError::TooManyAsk
        })
    }
}
