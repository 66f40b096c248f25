//! Tending a line: admitting visitors, writing admissions to the log, and freeing the slots of used
//! passes. Every node does it for every line it tends; the scripts keep the sum exact. Presence has
//! a round of its own, [`presence`](super::presence).

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use contract::api::catalogue::RoomSettings;
use platform::faults::failpoint;
use store::{admissions, sale::Sale};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::choosers;
use crate::{
    LineError,
    line::{
        Line,
        gate::Gate,
        stock::{self, CHOOSES_FOR},
    },
    places::admitted,
    room::{WaitingRoom, recover},
    scripts::{
        Bounds,
        answers::{AdmittedSeen, ScriptAnswer},
        spot::Spot,
    },
};

/// How often a line is tended.
const TICK: Duration = Duration::from_millis(100);
/// Shortest time between two admissions. A full bucket loses the tokens that flow in, so admission
/// runs four times in the time the bucket takes to fill.
const ADMIT_EVERY_MIN: Duration = Duration::from_millis(5);
/// How often the slots of used passes are freed, and unfinished admissions of other nodes done
/// again.
const FREE_EVERY: Duration = Duration::from_secs(1);
/// Most visitors admitted in one call of a script.
const BATCH: u32 = 1_000;
/// How long a line is tended after its sale is over, so that visitors can still ask.
const AFTER_THE_END: Duration = Duration::from_mins(1);
/// Pause of admission after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// When to do what next.
struct Rounds {
    free_at: Instant,
    admit_at: Instant,
    ended_at: Option<Instant>,
    /// The slots of passes used before this time are free.
    used_until: Option<DateTime<Utc>>,
    /// Whether the last run failed, so that a failure is logged once.
    failing: bool,
    /// Places taken from the line by this node and not in the log yet; no others are taken before
    /// they are.
    unlogged: Vec<Spot>,
}

/// Tends a line until [`AFTER_THE_END`] of its sale, until it is unused, or until the shutdown
/// begins.
pub(crate) async fn tend(room: Arc<WaitingRoom>, line: Arc<Line>) {
    let now = Instant::now();
    let mut rounds = Rounds {
        free_at: now,
        admit_at: now,
        ended_at: None,
        used_until: None,
        failing: false,
        unlogged: Vec::new(),
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = room.shutdown.begun() => return,
            _ = ticks.tick() => {}
        }
        if rounds.is_last(&room, &line) {
            break;
        }
        if rounds.unlogged.is_empty() && room.let_go_of_unused(&line) {
            return;
        }
        match rounds.do_due(&room, &line).await {
            Ok(()) => rounds.succeeded(&line),
            Err(error) => rounds.failed(&line, error),
        }
    }
    info!(show = %line.show, "the line is over");
    room.let_go(line.show);
}

impl Rounds {
    fn is_last(&mut self, room: &WaitingRoom, line: &Line) -> bool {
        let sale = room.sale(line.show);
        let gate = match &sale {
            Some((sale, _)) => room.gate(sale, line),
            None if room.is_unreadable(line.show) => Gate::Held,
            None => Gate::Over,
        };
        line.set_gate(gate);
        if gate != Gate::Over {
            self.ended_at = None;
            return false;
        }
        self.ended_at.get_or_insert_with(Instant::now).elapsed() > AFTER_THE_END
    }

    fn succeeded(&mut self, line: &Line) {
        if std::mem::take(&mut self.failing) {
            info!(show = %line.show, "the line goes on");
        }
    }

    fn failed(&mut self, line: &Line, error: LineError) {
        metrics::counter!("usher_line_round_failed_total").increment(1);
        if !std::mem::replace(&mut self.failing, true) {
            let error = anyhow::Error::from(error);
            warn!(show = %line.show, "admission failed; trying again: {error:#}");
        }
        let later = Instant::now() + PAUSE_AFTER_FAILURE;
        self.admit_at = later;
        self.free_at = later;
    }

    async fn do_due(&mut self, room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
        let Some((sale, _)) = room.sale(line.show) else { return Ok(()) };
        let now = Instant::now();
        if now >= self.free_at {
            self.free_at = now + FREE_EVERY;
            self.look_after_admitted(room, line).await?;
            let gate = *line.gate.borrow();
            choosers::look_after(room, line, &sale, gate).await?;
        }
        if now >= self.admit_at {
            self.record(room, line).await?;
            if *line.gate.borrow() == Gate::Open && !line.is_empty() {
                self.admit_until(now + TICK, room, line, &sale).await?;
            }
        }
        Ok(())
    }

    /// Admits now, and again while there is time before the next tick.
    async fn admit_until(
        &mut self,
        next_look: Instant,
        room: &WaitingRoom,
        line: &Line,
        sale: &Sale,
    ) -> Result<(), LineError> {
        let limits = line.pace().slowed(&sale.room);
        let fills_in = f64::from(limits.burst) / limits.rate_per_second.max(0.01);
        let every = Duration::from_secs_f64(fills_in / 4.0).clamp(ADMIT_EVERY_MIN, TICK);
        let mut at = Instant::now();
        loop {
            self.admit(room, line, sale, &limits).await?;
            at += every;
            if at.max(Instant::now()) + every / 2 >= next_look || room.shutdown.has_begun() {
                return self.record(room, line).await;
            }
            tokio::time::sleep_until(at).await;
        }
    }

    async fn admit(
        &mut self,
        room: &WaitingRoom,
        line: &Line,
        sale: &Sale,
        limits: &RoomSettings,
    ) -> Result<(), LineError> {
        let bounds = Bounds {
            room: limits,
            at_most: BATCH,
            slot_grace: line.slot_grace(),
            choosers_max: stock::choosers_max(sale),
            chooses_for: CHOOSES_FOR,
        };
        match room.store.admit(line.show, &line.keys, bounds, line.known()).await? {
            ScriptAnswer::LineLost => recover::open_again(room, line).await?,
            ScriptAnswer::Known(taken) => {
                line.heard();
                if !taken.is_empty() {
                    failpoint("after-admit");
                }
                self.unlogged.extend(taken);
            }
        }
        Ok(())
    }

    /// Appends admissions to the log; visitors are told only after that.
    async fn record(&mut self, room: &WaitingRoom, line: &Line) -> Result<(), LineError> {
        if !self.unlogged.is_empty() {
            record(room, line, &self.unlogged).await?;
            self.unlogged.clear();
        }
        Ok(())
    }

    /// Restores active visitors after a loss, finishes admissions that a dead node began, and frees
    /// the slots of used passes.
    async fn look_after_admitted(
        &mut self,
        room: &WaitingRoom,
        line: &Line,
    ) -> Result<(), LineError> {
        let AdmittedSeen { active, to_restore, unsettled } = line.take_admitted();
        if to_restore {
            recover::restore(room, line).await?;
        }
        if active > 0 {
            self.used_until = Some(admitted::free_used(room, line, self.used_until).await?);
        }
        if unsettled.is_empty() {
            return Ok(());
        }
        metrics::counter!("usher_line_admitted_again_total").increment(unsettled.len() as u64);
        record(room, line, &unsettled).await
    }
}

async fn record(room: &WaitingRoom, line: &Line, spots: &[Spot]) -> Result<(), LineError> {
    let places: Vec<_> = spots.iter().map(|spot| spot.place.clone()).collect();
    let logged = admissions::append(&room.rounds, line.show, &places).await?;
    if logged.is_empty() {
        return Ok(());
    }
    failpoint("after-log");
    let now = room.now();
    let admissions =
        logged.into_iter().map(|admission| (admission, room.passes.left(&admission, now)));
    let news = room.store.settle(&line.keys, admissions).await?;
    metrics::counter!("usher_line_admitted_total").increment(news.unwrap_or(0));
    Ok(())
}
