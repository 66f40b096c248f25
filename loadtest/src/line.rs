//! A visitor in the line: joins, watches, comes back after a lost connection, leaves.

use std::time::Duration;

use contract::{
    ShowId,
    api::line::{LineFrame, PLACE_TICKET_PROTOCOL, PlaceState, PlaceStatus, VisitorFrame},
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    CallError, Client, Tally,
    plan::{Plan, Watches},
    socket::Socket,
    tally::Step,
};

mod stream;

use stream::{Events, soon};

/// Connections of one visitor to the line before it gives up.
const CONNECTIONS_MAX: usize = 50;
const POLL_EVERY: Duration = Duration::from_secs(1);

/// How the line ended for a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// Admitted, with a pass unless the waiting room is off.
    Admitted(Option<String>),
    Left,
    SoldOut,
    Closed,
}

/// Joins the line and waits for the turn. The join's time counts from `ready_at`.
pub async fn wait(
    client: &Client,
    show: ShowId,
    plan: &Plan,
    tally: &Tally,
    ready_at: Instant,
) -> Result<LineEnd, CallError> {
    let place = client.join(show).await?;
    tally.took(Step::Join, ready_at);
    let joined = Instant::now();
    let _counted = tally.waiting.present();
    let mut visitor = InLine {
        client,
        show,
        plan,
        tally,
        leaves_at: plan.leaves_after.map(|after| joined + after),
        drops_at: plan.drops_after.map(|after| joined + after),
        gives_up_at: None,
        last_position: None,
    };
    let turn = visitor.watch(place).await?;
    if matches!(turn, LineEnd::Admitted(Some(_))) {
        tally.took(Step::Line, joined);
        tally.let_in();
    }
    Ok(turn)
}

struct InLine<'a> {
    client: &'a Client,
    show: ShowId,
    plan: &'a Plan,
    tally: &'a Tally,
    leaves_at: Option<Instant>,
    drops_at: Option<Instant>,
    /// When the visitor gives up after it was told that the show is sold out.
    gives_up_at: Option<Instant>,
    last_position: Option<u64>,
}

/// How watching over one connection ended.
enum Watched {
    End(LineEnd),
    /// The connection was lost and the place was not; connect again after this time.
    Lost(Duration),
}

impl InLine<'_> {
    async fn watch(&mut self, mut place: PlaceStatus) -> Result<LineEnd, CallError> {
        for _ in 0..CONNECTIONS_MAX {
            if let Some(turn) = self.turn_of(&place)? {
                return Ok(turn);
            }
            let watched = match self.plan.watches {
                Watches::Socket => self.over_socket(&place).await,
                Watches::Stream => self.over_stream(&place).await,
                Watches::Poll => self.by_polling(&place).await,
            };
            let wait = match watched {
                Ok(Watched::End(turn)) => return Ok(turn),
                Ok(Watched::Lost(wait)) => wait,
                Err(CallError::Socket(_) | CallError::Unreachable(_)) => soon(),
                Err(error) => return Err(error),
            };
            self.tally.reconnects.up();
            sleep(wait).await;
            // As after a reload of the page, the account gets its place again.
            place = self.client.join(self.show).await?;
        }
        Err(CallError::Unexpected(format!("lost the line {CONNECTIONS_MAX} times")))
    }

    async fn over_socket(&mut self, place: &PlaceStatus) -> Result<Watched, CallError> {
        let credential = format!("{PLACE_TICKET_PROTOCOL}{}", place.place_ticket);
        let mut socket = Socket::open(self.client, &place.live_url, &credential).await?;
        loop {
            let frame = tokio::select! {
                frame = socket.next::<LineFrame>() => frame?,
                () = until(self.leaves_at) => {
                    socket.tell(&VisitorFrame::Leave).await?;
                    socket.close().await;
                    return Ok(Watched::End(LineEnd::Left));
                }
                () = until(self.gives_up_at) => return Ok(Watched::End(LineEnd::SoldOut)),
                () = until(self.drops_at) => {
                    self.drops_at = None;
                    return Ok(Watched::Lost(soon()));
                }
            };
            let Some(frame) = frame else { return Ok(Watched::Lost(socket.comes_back_after())) };
            if let Some(turn) = self.turn_in(frame) {
                socket.close().await;
                return Ok(Watched::End(turn));
            }
        }
    }

    async fn over_stream(&mut self, place: &PlaceStatus) -> Result<Watched, CallError> {
        let answer = self.client.place_stream(self.show, place.ticket_id).await?;
        let mut events = Events::new(answer);
        loop {
            let frame = tokio::select! {
                frame = events.next::<LineFrame>() => frame?,
                () = until(self.leaves_at) => return self.leave(place).await,
                () = until(self.gives_up_at) => return Ok(Watched::End(LineEnd::SoldOut)),
                () = until(self.drops_at) => {
                    self.drops_at = None;
                    return Ok(Watched::Lost(soon()));
                }
            };
            let Some(frame) = frame else { return Ok(Watched::Lost(events.comes_back_after())) };
            if let Some(turn) = self.turn_in(frame) {
                return Ok(Watched::End(turn));
            }
        }
    }

    async fn by_polling(&mut self, place: &PlaceStatus) -> Result<Watched, CallError> {
        loop {
            tokio::select! {
                () = sleep(POLL_EVERY) => {}
                () = until(self.leaves_at) => return self.leave(place).await,
                () = until(self.gives_up_at) => return Ok(Watched::End(LineEnd::SoldOut)),
            }
            let now = self.client.place(self.show, place.ticket_id).await?;
            if let Some(turn) = self.turn_of(&now)? {
                return Ok(Watched::End(turn));
            }
        }
    }

    async fn leave(&self, place: &PlaceStatus) -> Result<Watched, CallError> {
        self.client.leave(self.show, place.ticket_id).await?;
        Ok(Watched::End(LineEnd::Left))
    }

    fn turn_in(&mut self, frame: LineFrame) -> Option<LineEnd> {
        match frame {
            LineFrame::Position { position, .. } => {
                self.moved_to(position);
                None
            }
            LineFrame::Paused { .. } | LineFrame::Resumed => None,
            LineFrame::Admitted { pass, .. } => Some(LineEnd::Admitted(pass)),
            LineFrame::AllHeld => {
                // Admission stops for lack of seats, but seats may come back.
                self.tally.hears_sold_out();
                None
            }
            LineFrame::SoldOut => self.hears_sold_out(),
            LineFrame::Closed { .. } => Some(LineEnd::Closed),
        }
    }

    fn turn_of(&mut self, place: &PlaceStatus) -> Result<Option<LineEnd>, CallError> {
        Ok(match place.state {
            PlaceState::Prequeue | PlaceState::Waiting => {
                self.moved_to(place.position);
                None
            }
            PlaceState::Admitted => Some(LineEnd::Admitted(place.pass.clone())),
            PlaceState::Left => Some(LineEnd::Left),
            PlaceState::SoldOut => self.hears_sold_out(),
            PlaceState::Closed => Some(LineEnd::Closed),
            PlaceState::Expired => {
                return Err(CallError::Unexpected("the place expired while it was watched".into()));
            }
        })
    }

    fn hears_sold_out(&mut self) -> Option<LineEnd> {
        self.tally.hears_sold_out();
        if self.plan.hopes_for.is_zero() {
            return Some(LineEnd::SoldOut);
        }
        self.gives_up_at.get_or_insert_with(|| Instant::now() + self.plan.hopes_for);
        None
    }

    fn moved_to(&mut self, position: Option<u64>) {
        if let (Some(now), Some(before)) = (position, self.last_position)
            && now > before
        {
            self.tally.went_up.up();
        }
        self.last_position = position.or(self.last_position);
    }
}

/// Resolves at this moment; never if there is none.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
