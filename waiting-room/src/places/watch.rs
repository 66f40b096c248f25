//! Watching a place: the frames a visitor gets, over a WebSocket or as server-sent events. A frame
//! is made when it can be sent, so a slow client gets the newest number and no old ones.

use std::{collections::VecDeque, sync::Arc};

use axum::extract::ws::Message;
use contract::api::{
    line::{LineFrame, PlaceState, VisitorFrame},
    socket::close,
};
use platform::{
    access::TokenWatch,
    http::socket::{End, Frames, Next, SocketSlot},
};
use store::admissions::Admission;
use tokio::{sync::watch, time::Instant};

use super::{
    admitted,
    found::{FoundPlace, Life},
    leave::leave,
};
use crate::{
    line::{
        Line, cadence,
        gate::{Gate, Opening},
        signal::Signal,
    },
    room::WaitingRoom,
    scripts::spot::Spot,
};

/// One watcher of one place.
pub(crate) struct Watch {
    room: Arc<WaitingRoom>,
    line: Arc<Line>,
    spot: Spot,
    open_socket: SocketSlot,
    signal: watch::Receiver<Signal>,
    gate: watch::Receiver<Gate>,
    gate_told: Gate,
    admitted: Option<Admission>,
    /// The access token it was opened with; `None` where it was opened with a place ticket.
    token: Option<TokenWatch>,
    /// Frames to send before any other; at most a handful.
    pending: VecDeque<Next<LineFrame>>,
    next_at: Instant,
}

impl Watch {
    /// Watches a place that was found. The first frames follow at once.
    pub(crate) fn start(
        room: Arc<WaitingRoom>,
        line: Arc<Line>,
        found: FoundPlace,
        token: Option<TokenWatch>,
    ) -> Self {
        let open_socket = room.sockets.enter(found.place.account);
        metrics::gauge!("usher_line_sockets").increment(1.0);
        let (spot, signal) = match found.life {
            Life::Waiting(spot) => (spot, Signal::Waiting),
            Life::Admitted(admission) => (nowhere(&found.place), Signal::Admitted(admission)),
            Life::Ended(ended) => (nowhere(&found.place), Signal::Ended(ended)),
        };
        let signal = line.watch(&spot, signal);
        let gate = line.gate.subscribe();
        let gate_told = *gate.borrow();
        let mut watch = Self {
            room,
            line,
            spot,
            open_socket,
            signal,
            gate,
            gate_told,
            admitted: None,
            token,
            pending: VecDeque::new(),
            next_at: Instant::now(),
        };
        watch.begin();
        watch
    }

    fn begin(&mut self) {
        let signal = *self.signal.borrow_and_update();
        match self.gate_told {
            Gate::Over | Gate::Off => self.on_gate(self.gate_told),
            _ if signal != Signal::Waiting => self.on_signal(),
            gate => {
                self.push_position();
                match gate {
                    Gate::SoldOut => self.push(LineFrame::SoldOut),
                    Gate::AllHeld => self.push(LineFrame::AllHeld),
                    gate => self.push_notice(gate),
                }
            }
        }
    }

    fn on_signal(&mut self) {
        let signal = *self.signal.borrow_and_update();
        match signal {
            Signal::Waiting => self.push_position(),
            // `on_time` makes the pass, because that needs the log.
            Signal::Admitted(admission) => {
                self.admitted = Some(admission);
                self.next_at = Instant::now();
            }
            Signal::Ended(PlaceState::Left) => self.end("you left the line"),
            Signal::Ended(_) => self.end("the place has ended; join again"),
        }
    }

    fn on_gate(&mut self, gate: Gate) {
        let was = std::mem::replace(&mut self.gate_told, gate);
        match gate {
            Gate::Over => {
                self.push(LineFrame::Closed { detail: "the sale has ended".into() });
                self.end("the sale has ended");
            }
            Gate::Off => self.push(LineFrame::Admitted { pass: None, expires_at: None }),
            // A visitor with a pass no longer depends on the line.
            _ if self.admitted.is_some() => {}
            Gate::Paused | Gate::Held => self.push_notice(gate),
            Gate::SoldOut => self.push(LineFrame::SoldOut),
            Gate::AllHeld => self.push(LineFrame::AllHeld),
            Gate::Open | Gate::Early => {
                if matches!(was, Gate::Paused | Gate::Held | Gate::SoldOut | Gate::AllHeld) {
                    self.push(LineFrame::Resumed);
                }
                self.push_position();
            }
        }
    }

    async fn on_time(&mut self) {
        match self.admitted {
            Some(admission) => Box::pin(self.push_pass(admission)).await,
            None if self.gate_told == Gate::Off => self.next_at = Instant::now() + cadence::IDLE,
            None => self.push_position(),
        }
    }

    fn push_position(&mut self) {
        let Some((sale, now)) = self.room.sale(self.line.show) else {
            self.next_at = Instant::now() + cadence::IDLE;
            return;
        };
        let opening = Opening::of(&sale, now);
        let standing = self.line.standing(&self.spot, self.gate_told, &sale.room, opening);
        let wait = standing.ahead.map_or(cadence::IDLE, cadence::between_frames);
        self.next_at = cadence::frame_at(Instant::now(), wait);
        self.push(LineFrame::Position {
            position: standing.ahead.map(|ahead| ahead + 1),
            ahead: standing.ahead,
            waiting: standing.waiting,
            eta_seconds: standing.eta,
            rate_per_second: standing.rate,
        });
    }

    fn push_notice(&mut self, gate: Gate) {
        if let Some(detail) = gate.notice() {
            self.push(LineFrame::Paused { detail: detail.into() });
        }
    }

    async fn push_pass(&mut self, admission: Admission) {
        match admitted::expiry(&self.room, &self.line, &admission).await {
            Some(expires_at) => {
                let now = self.room.now();
                let pass = self.room.passes.sign(self.line.show, &admission, now, expires_at);
                let wait = self.room.passes.look_again_in(&admission, expires_at, now);
                self.next_at = Instant::now() + wait;
                // Kept here, since the log may not answer at the next renewal.
                let valid_until = Some(expires_at);
                self.admitted = Some(Admission { valid_until, ..admission });
                self.push(LineFrame::Admitted { pass, expires_at: valid_until });
            }
            None => self.end("the pass is used or over; join again for another"),
        }
    }

    fn push(&mut self, frame: LineFrame) {
        self.pending.push_back(Next::Frame(frame));
    }

    fn end(&mut self, reason: &'static str) {
        self.pending.push_back(Next::End((close::NORMAL, reason)));
    }
}

impl Frames for Watch {
    type Frame = LineFrame;

    async fn next(&mut self, until: Instant) -> Option<Next<LineFrame>> {
        loop {
            if let Some(next) = self.pending.pop_front() {
                if self.pending.is_empty() {
                    // Frees the buffer: thousands of sockets are idle at any moment.
                    self.pending = VecDeque::new();
                }
                return Some(next);
            }
            if Instant::now() >= until {
                return None;
            }
            tokio::select! {
                () = self.room.shutdown.begun() => {
                    return Some(Next::End((close::DRAIN, "this node stops; connect again")));
                }
                () = self.open_socket.replaced.cancelled() => {
                    metrics::counter!("usher_line_sockets_replaced_total").increment(1);
                    return Some(Next::End((close::REPLACED, "the account opened a newer socket")));
                }
                why = ended(self.token.as_ref()) => {
                    return Some(Next::End((close::POLICY, why)));
                }
                changed = self.signal.changed() => {
                    if changed.is_err() {
                        return Some(Next::End((close::TRY_LATER, "connect again")));
                    }
                    self.on_signal();
                }
                changed = self.gate.changed() => {
                    if changed.is_err() {
                        return Some(Next::End((close::TRY_LATER, "connect again")));
                    }
                    let gate = *self.gate.borrow_and_update();
                    self.on_gate(gate);
                }
                () = tokio::time::sleep_until(self.next_at.min(until)) => {
                    if Instant::now() >= self.next_at {
                        self.on_time().await;
                    }
                }
            }
        }
    }

    async fn hear(&mut self, frame: Message) -> End {
        let Message::Text(text) = frame else {
            return (close::POLICY, "binary frames are not understood");
        };
        let Ok(VisitorFrame::Leave) = serde_json::from_str(text.as_str()) else {
            return (close::POLICY, "a frame is {\"type\":\"leave\"}");
        };
        let is_admitted = self.admitted.is_some();
        match leave(&self.room, &self.line, self.spot.place.ticket, is_admitted).await {
            Ok(()) => (close::NORMAL, "you left the line"),
            Err(_) => (close::TRY_LATER, "leaving failed; try again"),
        }
    }

    fn ended(end: Option<End>) {
        match end {
            None => metrics::counter!("usher_line_sockets_gone_total").increment(1),
            Some((close::TOO_SLOW, _)) => {
                metrics::counter!("usher_line_slow_clients_total").increment(1);
            }
            Some(_) => {}
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        metrics::gauge!("usher_line_sockets").decrement(1.0);
        self.line.unwatch(self.spot.place.ticket);
    }
}

/// Resolves with the reason when the access token ends; never without a token.
async fn ended(token: Option<&TokenWatch>) -> &'static str {
    match token {
        Some(token) => token.ended().await,
        None => std::future::pending().await,
    }
}

/// The spot of a place that is no longer in the line.
fn nowhere(place: &contract::place_ticket::Place) -> Spot {
    Spot { place: place.clone(), rank: 0 }
}
