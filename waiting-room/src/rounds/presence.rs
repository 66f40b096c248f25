//! Who is there. Visitors who poll are heard of one by one; those with a socket are held by their
//! node, which says once a second that it is alive, so that presence costs the store the same
//! however many watch. What changes is told as it happens: sockets that were opened or closed, nodes
//! that are gone, visitors who have a socket here and whom the store counts as nobody's.
//!
//! A round of its own beside [`tend`](mod@super::tend): it asks Redis alone, except for visitors
//! whom Redis has lost, and goes on while Postgres is away.

use std::{sync::Arc, time::Duration};

use contract::place_ticket::Place;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::missing;
use crate::{
    LineError,
    config::NODE_GONE_AFTER,
    line::{AdmittedSeen, Line, visitors::Visitors},
    room::{Room, recover},
    scripts::{
        Presence,
        answers::{ScriptAnswer, Swept, Whereabouts},
        progress::Progress,
    },
};

/// How often the store hears of sockets that were opened or closed.
const TICK: Duration = Duration::from_millis(100);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most visitors noticed as away in one call, of each kind.
const SWEPT_MAX: u32 = 1_000;
/// Visitors held in one round: it must not keep the next sweep waiting.
const HELD_MAX: usize = 2_000;
/// Tickets told of in one call.
const TICKETS_AT_ONCE: usize = 500;
/// After a failure, the next try waits so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// When this node stops, its sockets have so long to close, so that their visitors are let go of.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// What is left to do, and when.
struct Rounds {
    next_at: Instant,
    sweep_at: Instant,
    /// When to look for visitors whose node is gone.
    forsake_at: Option<Instant>,
    /// The last run failed; said once.
    failing: bool,
    /// How far the line had got at the last sweep. A node that has not seen that a second later
    /// has lost the stream.
    must_have_seen: Progress,
    /// The last sweep found another number of visitors than this node knows of.
    differs: bool,
}

/// Keeps the store up to date about who is there, until this node lets go of the line.
pub(crate) async fn keep(room: Arc<Room>, line: Arc<Line>) {
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
        match rounds.run(&room, &line).await {
            Ok(()) => rounds.failing = false,
            Err(error) => rounds.failed(&line, error),
        }
    }
    // Whoever goes on by polling elsewhere must not count as held here.
    let until = Instant::now() + STOP_WAIT;
    loop {
        // Those whose sockets close meanwhile are let go of in the next turn.
        let was_last = !line.visitors(|visitors| visitors.any_here()) || Instant::now() >= until;
        if release(&room, &line).await.is_err() || was_last {
            return;
        }
        ticks.tick().await;
    }
}

impl Rounds {
    async fn run(&mut self, room: &Room, line: &Line) -> Result<(), LineError> {
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
                warn!(show = %line.show, visitors = forsaken, "their node is gone; they have their grace");
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // What became of them is in Postgres, which may be away: everything else is done by now.
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
            warn!(show = %line.show, "presence is not told: {:#}", anyhow::Error::from(error));
        }
        self.next_at = Instant::now() + PAUSE_AFTER_FAILURE;
    }

    async fn sweep(&mut self, room: &Room, line: &Line) -> Result<(), LineError> {
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
        let nobody = swept.active == 0 && swept.waiting == 0 && swept.unsettled.is_empty();
        line.note_deserted(nobody);
        line.visitors(|visitors| visitors.forget_silent(room.settings.grace()));
        // A picture that was just loaded may have more than its last change: it must differ twice.
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
            // New to the store, or the store to us: other nodes may be, too, and come back first.
            line.visitors(Visitors::all_unheld);
            self.forsake_at = Some(Instant::now() + patience.node);
        } else if swept.node_gone {
            self.forsake_at = Some(Instant::now());
        }
        measure(line, &swept);
        line.note_admitted(AdmittedSeen { active: swept.active, unsettled: swept.unsettled });
        Ok(())
    }
}

fn measure(line: &Line, swept: &Swept) {
    let show = line.show.to_string();
    metrics::gauge!("usher_line_waiting", "show" => show.clone()).set(float(line.waiting()));
    metrics::gauge!("usher_line_absent", "show" => show.clone()).set(float(swept.absent));
    metrics::gauge!("usher_line_active", "show" => show).set(float(swept.active));
}

/// Redis has lost a part of the line. What is left cannot be told from what was there, so the line
/// begins anew, as after a loss of all of it.
async fn give_up(room: &Room, line: &Line, swept: &Swept) -> Result<(), LineError> {
    if room.store.give_up(&line.keys, swept.at.epoch).await? {
        metrics::counter!("usher_line_partly_lost_total").increment(1);
        warn!(show = %line.show, epoch = swept.at.epoch, "redis has lost a part of the line");
    }
    recover::open_again(room, line).await
}

/// Lets go of those whose sockets were closed.
async fn release(room: &Room, line: &Line) -> Result<(), LineError> {
    let gone = line.visitors(Visitors::take_gone);
    for (at, tickets) in gone.chunks(TICKETS_AT_ONCE).enumerate() {
        if let Err(error) = room.store.release(&line.keys, room.node, tickets).await {
            let left = gone[at * TICKETS_AT_ONCE..].iter().copied();
            line.visitors(|visitors| visitors.are_gone(left));
            return Err(error);
        }
    }
    Ok(())
}

/// Holds visitors who have a socket here; returns those who are not in the line, and where they are.
async fn hold(
    room: &Room,
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
    line.visitors(|visitors| visitors.are_unheld(tickets));
}

#[expect(clippy::cast_precision_loss, reason = "counts of people are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}
