//! What a node of the waiting room has at hand.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use contract::{ShowId, keys::Secret, place_ticket::PlaceKeys};
use platform::{Shutdown, http::ApiError};
use store::{
    PgPool,
    board::{Board, Sale},
};
use tokio::sync::watch;

use crate::{
    challenge::Challenge,
    config::LineSettings,
    desk,
    gate::Gate,
    limits::Limits,
    line::Line,
    passes::Passes,
    presence,
    scripts::{LineStore, NodeId},
    sockets::Sockets,
    tend::tend,
};

pub(crate) struct Room {
    pub node: NodeId,
    pub settings: LineSettings,
    pub pool: PgPool,
    pub store: LineStore,
    pub board: watch::Receiver<Arc<Board>>,
    pub place_keys: PlaceKeys,
    pub passes: Passes,
    pub limits: Limits,
    /// `None` where anybody may join.
    pub challenge: Option<Box<dyn Challenge>>,
    pub sockets: Arc<Sockets>,
    pub lot: Secret,
    pub shutdown: Shutdown,
    /// The lines this node tends: those that were asked for here, and those of open sales.
    /// Bounded by the board.
    pub lines: Mutex<HashMap<ShowId, Arc<Line>>>,
}

impl Room {
    /// The show, and Postgres's clock.
    pub(crate) fn sale(&self, show: ShowId) -> Option<(Arc<Sale>, DateTime<Utc>)> {
        let board = self.board.borrow();
        board.sale(show).map(|sale| (sale, board.now()))
    }

    /// Whether the show is there in words of a newer version: its line is held, not over.
    pub(crate) fn is_unreadable(&self, show: ShowId) -> bool {
        self.board.borrow().is_unreadable(show)
    }

    /// Why there is no such sale.
    pub(crate) fn no_sale(&self, show: ShowId) -> ApiError {
        if self.is_unreadable(show) {
            let why = "another node may know this show; try again";
            return ApiError::unavailable("SHOW_NOT_READABLE", why, 1);
        }
        ApiError::not_found("SHOW_NOT_FOUND")
    }

    /// Postgres's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.board.borrow().now()
    }

    /// How the line of a sale stands at this moment.
    pub(crate) fn gate(&self, sale: &Sale, line: &Line) -> Gate {
        let board = self.board.borrow();
        let gate = Gate::of(sale, board.now(), board.age(), line.store_silent());
        if gate == Gate::Open && line.pace().is_stopped() { Gate::Held } else { gate }
    }

    /// The line of a show; this node tends it from now on.
    pub(crate) fn line(self: &Arc<Self>, sale: &Sale) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.entry(sale.show) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(vacant) => {
                let (line, asked) = Line::new(sale.show);
                let line = Arc::new(line);
                line.set_gate(self.gate(sale, &line));
                vacant.insert(Arc::clone(&line));
                self.shutdown.spawn(tend(Arc::clone(self), Arc::clone(&line)));
                self.shutdown.spawn(presence::keep(Arc::clone(self), Arc::clone(&line)));
                self.shutdown.spawn(desk::run(Arc::clone(self), Arc::clone(&line), asked));
                line
            }
        }
    }

    /// Every line this node tends.
    pub(crate) fn lines(&self) -> Vec<Arc<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.values().cloned().collect()
    }

    /// Stops tending a line.
    pub(crate) fn let_go(&self, show: ShowId) {
        let line = self.lines.lock().unwrap_or_else(PoisonError::into_inner).remove(&show);
        if let Some(line) = line {
            line.over.cancel();
        }
    }

    /// The secret that draws the lots of a show.
    pub(crate) fn lot_of(&self, show: ShowId) -> [u8; 32] {
        self.lot.mac(&[show.0.as_bytes()])
    }
}
