//! A visitor: its client, its plan, and where its results are noted.

use std::sync::Arc;

use contract::{ShowId, api::accounts::Signup};
use tokio::time::Instant;

use crate::{Client, Journal, Tally, plan::Plan};

/// A visitor.
pub struct Visitor {
    pub client: Client,
    pub show: ShowId,
    pub plan: Plan,
    /// When the visitor comes by the plan of the crowd.
    pub arrives_at: Instant,
    /// The account to make first; without it the client is signed in already.
    pub signs_up: Option<Signup>,
    pub tally: Arc<Tally>,
    pub journal: Arc<Journal>,
}
