//! Presence: which visitors are there. Each poll counts for one visitor. Visitors with a socket are
//! held by their node, which reports once a second that it is alive, so that the cost for Redis
//! does not grow with the watchers. Only changes are reported: sockets opened or closed, nodes that
//! are gone, and visitors with a socket here whom no node holds by Redis's count.
//!
//! This round is separate from [`tend`](mod@super::tend) so that it goes on while Postgres is away:
//! it asks Postgres only about visitors whom Redis has lost.

use std::{sync::Arc, time::Duration};

use contract::place_ticket::Place;
use platform::number::float;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::missing;
use crate::{
    LineError,
    config::NODE_GONE_AFTER,
    line::{Line, visitors::Visitors},
    room::{WaitingRoom, recover},
    scripts::{
        Presence,
        answers::{AdmittedSeen, ScriptAnswer, Swept, Whereabouts},
        progress::Progress,
    },
};

/// How often Redis is told of sockets that were opened or closed.
const TICK: Duration = Duration::from_millis(100);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most visitors made absent, and most expired, in one sweep.
const SWEPT_MAX: u32 = 1_000;
/// Most visitors held in one round, so that the next sweep is not late.
const HELD_MAX: usize = 2_000;
/// Most tickets in one call.
const TICKETS_AT_ONCE: usize = 500;
/// Pause before the next try after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Time for the sockets of a stopping node to close, so that it can release their visitors.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// When to do what next.
struct Rounds {
    next_at: Instant,
    sweep_at: Instant,
    /// When to look for visitors whose node is gone.
    forsake_at: Option<Instant>,
    /// Whether the last run failed, so that a failure is logged once.
    failing: bool,
    /// The line's last change at the last sweep. A node that has not seen it a second later has
    /// missed changes.
    must_have_seen: Progress,
    /// Whether the last sweep counted other visitors in the line than this node knows.
    differs: bool,
}

/// Keeps Redis up to date about presence until this node lets go of the line.
pub(crate) async fn keep(room: Arc<WaitingRoom>, line: Arc<Line>) {
    let now = Instant::now();
    let mut rounds = Rounds {
        next_at: now,
        sweep_at: now,
        forsake_at: None,
        failing: false,
        must_have_seen: Progress::default(),
        differs: false,
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = line.over.cancelled() => return,
            () = room.shutdown.begun() => break,
            _ = ticks.tick() => {}
        }
        if Instant::now() < rounds.next_at {
            continue;
        }
        match rounds.do_due(&room, &line).await {
            Ok(()) => rounds.failing = false,
            Err(error) => rounds.failed(&line, error),
        }
    }
    // A visitor who goes on by polling another node must not count as held here.
    let until = Instant::now() + STOP_WAIT;
    loop {
        // Sockets that close meanwhile are released in the next turn.
        let was_last = !line.visitors(|visitors| visitors.any_here()) || Instant::now() >= until;
        if release(&room, &line).await.is_err() || was_last {
            return;
        }
        ticks.tick().await;
    }
}

impl Rounds {
    async fn do_due(&mut self, room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
        if Instant::now() >= self.sweep_at {
            self.sweep_at = Instant::now() + SWEEP_EVERY;
            self.sweep(room, line).await?;
        }
        release(room, line).await?;
        let unheld = line.visitors(|visitors| visitors.take_unheld(HELD_MAX));
        let missing = hold(room, line, &unheld).await;
        let missing = missing.inspect_err(|_| hold_later(line, &unheld))?;
        if self.forsake_at.is_some_and(|at| Instant::now() >= at) {
            let forsaken = room.store.forsake(&line.keys, NODE_GONE_AFTER).await?;
            self.forsake_at = None;
            if forsaken > 0 {
                metrics::counter!("usher_line_forsaken_total").increment(forsaken);
                warn!(
                    show = %line.show,
                    visitors = forsaken,
                    "a node is gone; its visitors keep their places for the grace"
                );
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // Last, because this needs Postgres, which may be away.
        match missing::find_out(room, line, &missing).await {
            Ok(back) => hold_later(line, &back),
            Err(error) => {
                let places: Vec<Place> = missing.into_iter().map(|(place, _)| place).collect();
                hold_later(line, &places);
                return Err(error);
            }
        }
        Ok(())
    }

    fn failed(&mut self, line: &Line, error: LineError) {
        metrics::counter!("usher_line_round_failed_total").increment(1);
        if !std::mem::replace(&mut self.failing, true) {
            let error = anyhow::Error::from(error);
            warn!(show = %line.show, "reporting presence failed; trying again: {error:#}");
        }
        self.next_at = Instant::now() + PAUSE_AFTER_FAILURE;
    }

    async fn sweep(&mut self, room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
        let patience = room.settings.patience(line.slot_grace(), room.ends_in(line.show));
        let swept = room
            .store
            .sweep(line.show, &line.keys, patience, SWEPT_MAX, room.node, line.known())
            .await?;
        let swept = match swept {
            ScriptAnswer::Known(swept) => swept,
            ScriptAnswer::LineLost => {
                recover::open_again(room, line).await?;
                line.visitors(|visitors| visitors.forget_silent(room.settings.grace()));
                line.note_deserted(true);
                return Ok(());
            }
        };
        line.heard();
        let AdmittedSeen { active, unsettled, .. } = &swept.admitted;
        let nobody = *active == 0 && swept.waiting == 0 && unsettled.is_empty();
        line.note_deserted(nobody);
        line.visitors(|visitors| visitors.forget_silent(room.settings.grace()));
        // A picture that was just loaded may hold more than its last change says, so the line
        // counts as partly lost only if two sweeps in a row differ.
        let differs = line.differs(swept.at, swept.waiting);
        let differs_still = std::mem::replace(&mut self.differs, differs) && differs;
        if swept.contradicts || differs_still {
            self.differs = false;
            return give_up(room, line, &swept).await;
        }
        let (epoch, recalled) = line.recalled();
        if !recalled.is_empty() {
            room.store.recall(&line.keys, epoch, &recalled).await?;
        }
        if line.seen() < self.must_have_seen {
            metrics::counter!("usher_line_stream_lost_total").increment(1);
            line.mark_stale();
        }
        self.must_have_seen = swept.at;
        if swept.is_new {
            // Redis does not know this node, and may not know others yet: they get time to report
            // before their visitors are forsaken.
            line.visitors(Visitors::note_all_unheld);
            self.forsake_at = Some(Instant::now() + patience.node);
        } else if swept.node_gone {
            self.forsake_at = Some(Instant::now());
        }
        measure(line, &swept);
        line.note_admitted(swept.admitted);
        Ok(())
    }
}

fn measure(line: &Line, swept: &Swept) {
    let show = line.show.to_string();
    metrics::gauge!("usher_line_waiting", "show" => show.clone()).set(float(line.waiting()));
    metrics::gauge!("usher_line_absent", "show" => show.clone()).set(float(swept.absent));
    metrics::gauge!("usher_line_active", "show" => show).set(float(swept.admitted.active));
}

/// Redis has lost a part of the line. Nobody can tell which part, so the line begins anew, as after
/// a loss of all of it.
async fn give_up(room: &WaitingRoom, line: &Line, swept: &Swept) -> Result<(), LineError> {
    if room.store.give_up(&line.keys, swept.at.epoch).await? {
        metrics::counter!("usher_line_partly_lost_total").increment(1);
        let epoch = swept.at.epoch;
        warn!(show = %line.show, epoch, "redis has lost a part of the line; it begins anew");
    }
    recover::open_again(room, line).await
}

/// Tells Redis of visitors whose sockets here are closed.
async fn release(room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
    let gone = line.visitors(Visitors::take_gone);
    for (at, tickets) in gone.chunks(TICKETS_AT_ONCE).enumerate() {
        if let Err(error) = room.store.release(&line.keys, room.node, tickets).await {
            let left = gone[at * TICKETS_AT_ONCE..].iter().copied();
            line.visitors(|visitors| visitors.put_back_gone(left));
            return Err(error);
        }
    }
    Ok(())
}

/// Holds visitors who have a socket here. Returns the places that are not in the line, and where
/// they are.
async fn hold(
    room: &WaitingRoom,
    line: &Line,
    places: &[Place],
) -> Result<Vec<(Place, Whereabouts)>, LineError> {
    let mut missing = Vec::new();
    for some in places.chunks(TICKETS_AT_ONCE) {
        let tickets: Vec<_> = some.iter().map(|place| place.ticket).collect();
        let held = Presence::HeldBy(room.node);
        let ScriptAnswer::Known(touched) =
            room.store.touch(&line.keys, &tickets, held, false).await?
        else {
            recover::open_again(room, line).await?;
            return Err(LineError::NotReady);
        };
        missing.extend(some.iter().zip(touched.tickets).filter_map(|(place, (whereabouts, _))| {
            let waits = whereabouts == Whereabouts::Waiting;
            (!waits).then(|| (place.clone(), whereabouts))
        }));
    }
    Ok(missing)
}

fn hold_later(line: &Line, places: &[Place]) {
    let tickets = places.iter().map(|place| place.ticket);
    line.visitors(|visitors| visitors.note_unheld(tickets));
}
