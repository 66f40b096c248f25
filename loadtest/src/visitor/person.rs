//! A visitor: who it is, and what it is about to do.

use std::sync::Arc;

use contract::{ShowId, api::accounts::Signup};

use crate::{Client, Journal, Tally, plan::Plan};

/// A visitor on the way.
pub struct Visitor {
    pub client: Client,
    pub show: ShowId,
    pub plan: Plan,
    /// Makes an account first; otherwise the client is signed in already.
    pub signs_up: Option<Signup>,
    pub tally: Arc<Tally>,
    pub journal: Arc<Journal>,
}
