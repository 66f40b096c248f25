//! What a node of the waiting room works with: its backends, keys, limits, and the lines it tends.

pub(crate) mod limits;
pub(crate) mod challenge;
pub(crate) mod passes;
pub(crate) mod recover;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use contract::{ShowId, api::catalogue::RoomMode, keys::Secret, place_ticket::PlaceKeys};
use platform::{
    Shutdown,
    http::{ApiError, socket::Sockets},
};
use store::{Pool, live::board::Board, sale::Sale};
use tokio::sync::watch;

use crate::{
    LineError,
    config::LineSettings,
    line::{Line, desk::JoinQueue, gate::Gate},
    scripts::{LineStore, NodeId, keys::LineKeys},
};
use challenge::ProofOfWork;
use limits::Limits;
use passes::Passes;

/// Lines looked up in one pipeline.
const LOOKED_AT_ONCE: usize = 500;
/// Tasks that share a line as long as it is tended; [`WaitingRoom::begin`] starts them.
const TENDERS: usize = 3;

pub(crate) struct WaitingRoom {
    pub(crate) node: NodeId,
    pub(crate) settings: LineSettings,
    /// For what visitors ask.
    pub(crate) pool: Pool,
    /// For the rounds that admit visitors: questions cannot take its connections.
    pub(crate) rounds: Pool,
    pub(crate) store: LineStore,
    pub(crate) board: watch::Receiver<Arc<Board>>,
    pub(crate) place_keys: PlaceKeys,
    pub(crate) passes: Passes,
    pub(crate) limits: Limits,
    /// `None` where challenges are off.
    pub(crate) challenge: Option<ProofOfWork>,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) lot: Secret,
    pub(crate) shutdown: Shutdown,
    /// The lines this node tends: those with visitors, and those asked for lately. Bounded by the
    /// board.
    pub(crate) lines: Mutex<HashMap<ShowId, Arc<Line>>>,
    /// Starts the rounds of a line that is new here.
    pub(crate) begin: fn(&Arc<WaitingRoom>, &Arc<Line>, JoinQueue),
}

impl WaitingRoom {
    /// The sale of a show, and the time by Postgres's clock.
    pub(crate) fn sale(&self, show: ShowId) -> Option<(Arc<Sale>, DateTime<Utc>)> {
        let board = self.board.borrow();
        board.sale(show).map(|sale| (sale, board.now()))
    }

    /// Whether the show is on the board but written by a newer version: its line is held, not over.
    pub(crate) fn is_unreadable(&self, show: ShowId) -> bool {
        self.board.borrow().is_unreadable(show)
    }

    /// The error where the board of this node has no sale of the show.
    pub(crate) fn no_sale(&self, show: ShowId) -> ApiError {
        self.board.borrow().no_sale(show)
    }

    /// The time by Postgres's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.board.borrow().now()
    }

    /// Time until the sale of a show ends.
    pub(crate) fn ends_in(&self, show: ShowId) -> Duration {
        let Some((sale, now)) = self.sale(show) else { return Duration::ZERO };
        let left = (sale.sale_closes_at - now).to_std().unwrap_or_default();
        if sale.is_over(now) { Duration::ZERO } else { left }
    }

    /// The gate of a sale's line at this moment.
    pub(crate) fn gate(&self, sale: &Sale, line: &Line) -> Gate {
        let board = self.board.borrow();
        let gate = Gate::of(sale, board.now(), board.age(), line.store_silent());
        if gate == Gate::Open && line.pace().is_stopped() { Gate::Held } else { gate }
    }

    /// The line of a show; this node tends it from now on.
    pub(crate) fn line(self: &Arc<Self>, sale: &Sale) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.entry(sale.show) {
            Entry::Occupied(known) => {
                known.get().note_asked();
                Arc::clone(known.get())
            }
            Entry::Vacant(vacant) => {
                let (line, queue) = Line::new(sale.show);
                let line = Arc::new(line);
                line.set_gate(self.gate(sale, &line));
                vacant.insert(Arc::clone(&line));
                metrics::gauge!("usher_lines_tended").increment(1.0);
                (self.begin)(self, &line, queue);
                line
            }
        }
    }

    /// The line of a show, if this node tends it already.
    pub(crate) fn tended(&self, show: ShowId) -> Option<Arc<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.get(&show)?;
        line.note_asked();
        Some(Arc::clone(line))
    }

    /// The line of a show for a request that proves no place in it. `None` where nobody ever joined
    /// the line, which is then not tended either.
    pub(crate) async fn opened_line(
        self: &Arc<Self>,
        sale: &Sale,
    ) -> Result<Option<Arc<Line>>, LineError> {
        if let Some(line) = self.tended(sale.show) {
            return Ok(Some(line));
        }
        self.limits.question()?;
        let is_there = self.store.has(&LineKeys::of(sale.show)).await?
            || store::line_marks::find(&self.pool, sale.show).await?.is_some();
        Ok(is_there.then(|| self.line(sale)))
    }

    /// Stops tending a line that nobody is in and nobody asks for; returns whether it did. A
    /// request that holds the line keeps it tended.
    pub(crate) fn let_go_of_unused(&self, line: &Arc<Line>) -> bool {
        if !line.is_unused() {
            return false;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // While the lock is held no request can get hold of the line.
        let is_free = Arc::strong_count(line) <= TENDERS + 1 && line.is_unused();
        if is_free && lines.remove(&line.show).is_some() {
            line.over.cancel();
            metrics::gauge!("usher_lines_tended").decrement(1.0);
        }
        is_free
    }

    /// Begins to tend every line that has visitors.
    pub(crate) async fn find_peopled(self: &Arc<Self>) -> Result<(), LineError> {
        let now = self.now();
        let sales: Vec<Arc<Sale>> = {
            let board = self.board.borrow();
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let may_have_a_line = |sale: &&Arc<Sale>| {
                sale.room.mode != RoomMode::Off
                    && !sale.is_over(now)
                    && !lines.contains_key(&sale.show)
            };
            board.sales().filter(may_have_a_line).cloned().collect()
        };
        for some in sales.chunks(LOOKED_AT_ONCE) {
            let keys: Vec<LineKeys> = some.iter().map(|sale| LineKeys::of(sale.show)).collect();
            let peopled = self.store.are_peopled(&keys).await?;
            for (sale, _) in some.iter().zip(peopled).filter(|(_, is_peopled)| *is_peopled) {
                self.line(sale);
            }
        }
        Ok(())
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
            metrics::gauge!("usher_lines_tended").decrement(1.0);
        }
    }

    /// The secret that draws the lots of a show.
    pub(crate) fn lot_of(&self, show: ShowId) -> [u8; 32] {
        self.lot.mac(&[show.0.as_bytes()])
    }
}
