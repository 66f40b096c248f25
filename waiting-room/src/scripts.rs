//! The line's store in Redis: one Lua script per operation.

pub(crate) mod keys;
pub(crate) mod spot;
pub(crate) mod progress;
pub(crate) mod answers;
pub(crate) mod change;

use std::{sync::LazyLock, time::Duration};

use chrono::TimeDelta;
use contract::{
    AccountId, ShowId, TicketId,
    place_ticket::{InStretch, Place},
};
use platform::cache::Cache;
use redis::{FromRedisValue, Script, ScriptInvocation};
use store::{
    admissions::Admission,
    line::{LineMark, Numbers, Rule, Stretch},
};
use tracing::warn;
use uuid::Uuid;

use crate::{LineError, config::Patience};
use answers::{GivenBack, Joined, Swept, Told, Touched};
use keys::Keys;
use progress::Progress;
use spot::Spot;

/// Visitors that are looked at in one call, where those of a node that is gone are searched.
const HELD_AT_ONCE: usize = 1_000;

macro_rules! scripts {
    ($($name:ident = $file:literal;)+) => {$(
        static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("scripts/prelude.lua"),
                include_str!(concat!("scripts/", $file, ".lua")),
            ))
        });
    )+};
}

scripts! {
    OPEN = "open";
    JOIN = "join";
    TOUCH = "touch";
    RELEASE = "release";
    FORSAKE = "forsake";
    GIVE_UP = "give_up";
    RECALL = "recall";
    LEAVE = "leave";
    USED = "used";
    ADMIT = "admit";
    SETTLE = "settle";
    STAY = "stay";
    SWEEP = "sweep";
}

/// Who asks for a place.
pub(crate) struct Joiner {
    pub account: AccountId,
    /// The ticket of a new place.
    pub ticket: TicketId,
    /// In ms.
    pub joined_at: i64,
    /// How a new place is ordered; as the line stands, where there is none.
    pub rule: Option<Rule>,
    /// The place to come back to, and whether it was drawn if it is not in a stretch.
    pub back: Option<(Place, bool)>,
}

/// Who speaks for visitors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Presence {
    /// They themselves: they are there for a while.
    Heard,
    /// A node that has a socket of each: they are there as long as it is.
    HeldBy(NodeId),
}

/// How many a call of admission may let in.
#[derive(Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub room: &'a contract::api::catalogue::WaitingRoom,
    /// In one call.
    pub at_most: u32,
    /// For how long a lapsed pass still takes its slot.
    pub slot_grace: Duration,
    /// Who may be choosing seats at once.
    pub choosers_max: u32,
    /// For how long a visitor is taken to be choosing.
    pub chooses_for: Duration,
}

/// A node of the waiting room, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(Uuid);

impl NodeId {
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

/// The scripts, on a connection.
#[derive(Clone)]
pub(crate) struct LineStore {
    pub cache: Cache,
}

impl LineStore {
    /// Opens the line under this mark, holding admission so long.
    pub(crate) async fn open(
        &self,
        keys: &Keys,
        mark: LineMark,
        hold_ms: u64,
    ) -> Result<(), LineError> {
        let mut call = with_keys(&OPEN, keys);
        call.arg(mark.epoch).arg(mark.high_water).arg(hold_ms);
        add_stretch(&mut call, mark.stretch);
        self.run::<Vec<String>>("open", &call).await.map(drop)
    }

    /// Whether Redis has the line.
    pub(crate) async fn has(&self, keys: &Keys) -> Result<bool, LineError> {
        let fields: (Option<String>, Option<String>) =
            self.query(redis::cmd("HMGET").arg(keys.head()).arg("epoch").arg("counter")).await?;
        Ok(matches!(fields, (Some(_), Some(_))))
    }

    /// Whether anybody is in each of these lines, or on the way out of it.
    pub(crate) async fn are_peopled(&self, lines: &[Keys]) -> Result<Vec<bool>, LineError> {
        let mut pipeline = redis::pipe();
        for keys in lines {
            pipeline.cmd("EXISTS").arg(keys.line()).arg(keys.admitting());
        }
        let mut connection = self.cache.connection()?;
        let there: Vec<u8> = self.cache.observe(pipeline.query_async(&mut connection).await)?;
        Ok(there.into_iter().map(|keys| keys > 0).collect())
    }

    /// Gives accounts their places.
    pub(crate) async fn join(
        &self,
        show: ShowId,
        keys: &Keys,
        joiners: impl Iterator<Item = &Joiner>,
        lot: &[u8],
        reserved: Option<Numbers>,
        known: Progress,
    ) -> Result<Told<Joined>, LineError> {
        let mut call = with_keys(&JOIN, keys);
        call.arg(lot);
        match reserved {
            Some(numbers) => {
                call.arg(numbers.epoch).arg(numbers.up_to);
                add_stretch(&mut call, numbers.stretch);
            }
            None => _ = call.arg(["0"; 5].as_slice()),
        }
        call.arg(known.epoch).arg(known.seq);
        for joiner in joiners {
            call.arg(joiner.account.to_string())
                .arg(joiner.ticket.to_string())
                .arg(joiner.joined_at)
                .arg(joiner.rule.map_or(0, |rule| rule.version))
                .arg(u8::from(joiner.rule.is_some_and(|rule| rule.drawn)));
            let Some((place, drawn)) = &joiner.back else {
                call.arg(["", "0", "0", "0", "", "0"].as_slice());
                continue;
            };
            call.arg(place.ticket.to_string())
                .arg(place.number)
                .arg(place.epoch)
                .arg(place.joined_at.timestamp_millis());
            match place.stretch {
                Some(InStretch { base, past: Some(past) }) => call.arg(base).arg(past),
                Some(InStretch { base, past: None }) => call.arg(base).arg("-"),
                None => call.arg("").arg(u8::from(*drawn)),
            };
        }
        let answer: Vec<String> = self.run("join", &call).await?;
        note_behind(show, &answer);
        Joined::read(show, &answer)
    }

    /// Hears of visitors and says where each of them is.
    pub(crate) async fn touch(
        &self,
        keys: &Keys,
        tickets: &[TicketId],
        presence: Presence,
        with_records: bool,
    ) -> Result<Told<Touched>, LineError> {
        let mut call = with_keys(&TOUCH, keys);
        call.arg(u8::from(with_records));
        match presence {
            Presence::Heard => call.arg(""),
            Presence::HeldBy(node) => call.arg(node.to_string()),
        };
        for ticket in tickets {
            call.arg(ticket.to_string());
        }
        let answer: Vec<String> = self.run("touch", &call).await?;
        Touched::read(&answer)
    }

    /// Lets go of visitors who have no socket here any more.
    pub(crate) async fn release(
        &self,
        keys: &Keys,
        node: NodeId,
        tickets: &[TicketId],
    ) -> Result<u64, LineError> {
        let mut call = with_keys(&RELEASE, keys);
        call.arg(node.to_string());
        for ticket in tickets {
            call.arg(ticket.to_string());
        }
        self.run("release", &call).await
    }

    /// Makes the visitors absent whose node is gone; how many there were.
    pub(crate) async fn forsake(&self, keys: &Keys, node: Duration) -> Result<u64, LineError> {
        let (mut cursor, mut forsaken) = (0_u64, 0);
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(keys.held()).arg(cursor).arg("COUNT").arg(HELD_AT_ONCE);
            let (next, held): (u64, Vec<(String, String)>) = self.query(&scan).await?;
            let mut call = with_keys(&FORSAKE, keys);
            call.arg(ms(node)).arg(u8::from(next == 0));
            for (ticket, _) in &held {
                call.arg(ticket);
            }
            forsaken += self.run::<u64>("forsake", &call).await?;
            if next == 0 {
                return Ok(forsaken);
            }
            cursor = next;
        }
    }

    /// Gives up a line of which a part was lost; whether this is news.
    pub(crate) async fn give_up(&self, keys: &Keys, epoch: u32) -> Result<bool, LineError> {
        self.run("give_up", with_keys(&GIVE_UP, keys).arg(epoch)).await
    }

    /// Tells the other nodes whose ranks were gone shortly before the line was lost.
    pub(crate) async fn recall(
        &self,
        keys: &Keys,
        epoch: u32,
        ranks: &[u64],
    ) -> Result<(), LineError> {
        let ranks: Vec<String> = ranks.iter().map(u64::to_string).collect();
        self.run("recall", with_keys(&RECALL, keys).arg(epoch).arg(ranks.join(" "))).await
    }

    /// Gives a place back.
    pub(crate) async fn leave(
        &self,
        keys: &Keys,
        ticket: TicketId,
    ) -> Result<Told<GivenBack>, LineError> {
        let mut call = with_keys(&LEAVE, keys);
        call.arg(ticket.to_string());
        let answer: String = self.run("leave", &call).await?;
        GivenBack::read(&answer)
    }

    /// Frees the slots of passes that were used; how many were taken.
    pub(crate) async fn used(&self, keys: &Keys, tickets: &[TicketId]) -> Result<u64, LineError> {
        let mut call = with_keys(&USED, keys);
        for ticket in tickets {
            call.arg(ticket.to_string());
        }
        self.run("used", &call).await
    }

    /// Takes from the head of the line whoever the bucket, the cap and the stock let in.
    pub(crate) async fn admit(
        &self,
        show: ShowId,
        keys: &Keys,
        bounds: Bounds<'_>,
        known: Progress,
    ) -> Result<Told<Vec<Spot>>, LineError> {
        let Bounds { room, at_most, slot_grace, choosers_max, chooses_for } = bounds;
        let mut call = with_keys(&ADMIT, keys);
        call.arg(room.rate_per_second)
            .arg(room.burst)
            .arg(room.max_active.unwrap_or(0))
            .arg(at_most)
            .arg(ms(slot_grace))
            .arg(known.epoch)
            .arg(known.seq)
            .arg(choosers_max)
            .arg(ms(chooses_for));
        let answer: Vec<String> = self.run("admit", &call).await?;
        note_behind(show, &answer);
        answers::taken(show, &answer)
    }

    /// Records that admissions are in the log; their passes are valid for so long still.
    pub(crate) async fn settle(
        &self,
        keys: &Keys,
        admissions: impl Iterator<Item = (Admission, Duration)>,
    ) -> Result<u64, LineError> {
        let mut call = with_keys(&SETTLE, keys);
        for (admission, left) in admissions {
            call.arg(admission.ticket.to_string())
                .arg(ms(left))
                .arg(admission.admitted_at.timestamp_millis());
        }
        self.run("settle", &call).await
    }

    /// Notices who is away, and what was left undone.
    pub(crate) async fn sweep(
        &self,
        show: ShowId,
        keys: &Keys,
        patience: Patience,
        at_most: u32,
        node: NodeId,
        known: Progress,
    ) -> Result<Told<Swept>, LineError> {
        let mut call = with_keys(&SWEEP, keys);
        call.arg(ms(patience.absent)).arg(ms(patience.grace)).arg(at_most).arg(ms(patience.retry));
        call.arg(node.to_string()).arg(ms(patience.node)).arg(ms(patience.slot));
        call.arg(known.epoch).arg(known.seq).arg(ms(patience.sale));
        let answer: Vec<String> = self.run("sweep", &call).await?;
        note_behind(show, &answer);
        Swept::read(show, &answer)
    }

    /// Whether the account has a place.
    pub(crate) async fn has_place(
        &self,
        keys: &Keys,
        account: AccountId,
    ) -> Result<bool, LineError> {
        let account = account.to_string();
        self.query(redis::cmd("HEXISTS").arg(keys.accounts()).arg(account)).await
    }

    /// Whether a place has ended, as far as that is remembered.
    pub(crate) async fn has_ended(&self, keys: &Keys, ticket: TicketId) -> Result<bool, LineError> {
        self.query(redis::cmd("HEXISTS").arg(keys.ended()).arg(ticket.to_string())).await
    }

    /// Notes that a challenge is used up, until it expires after this; whether it was not before.
    pub(crate) async fn is_first_use(
        &self,
        keys: &Keys,
        challenge: &str,
        left: TimeDelta,
    ) -> Result<bool, LineError> {
        let mut command = redis::cmd("SET");
        command.arg(keys.solved(challenge)).arg(1).arg("NX");
        // For how long, and not until when: the clocks need not agree.
        command.arg("EX").arg(left.num_seconds().max(0) + 60);
        let was_set: Option<String> = self.query(&command).await?;
        Ok(was_set.is_some())
    }

    /// How many may be choosing seats.
    pub(crate) async fn choosers(&self, keys: &Keys) -> Result<u64, LineError> {
        self.query(redis::cmd("ZCARD").arg(keys.choosing())).await
    }

    /// Some of those who may be choosing seats, by how long they have been, from a place on.
    pub(crate) async fn some_choosers(
        &self,
        keys: &Keys,
        from: usize,
        count: usize,
    ) -> Result<Vec<TicketId>, LineError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(keys.choosing()).arg(from).arg(from + count - 1);
        let tickets: Vec<String> = self.query(&range).await?;
        Ok(tickets.iter().filter_map(|ticket| ticket.parse().ok()).collect())
    }

    /// Takes nobody to be choosing seats any more.
    pub(crate) async fn forget_choosers(&self, keys: &Keys) -> Result<(), LineError> {
        self.query(redis::cmd("DEL").arg(keys.choosing())).await.map(|_: u64| ())
    }

    /// Notes that visitors have chosen; how many of them were taken to be choosing.
    pub(crate) async fn have_chosen(
        &self,
        keys: &Keys,
        tickets: &[TicketId],
    ) -> Result<usize, LineError> {
        let tickets: Vec<String> = tickets.iter().map(TicketId::to_string).collect();
        self.query(redis::cmd("ZREM").arg(keys.choosing()).arg(tickets)).await
    }

    /// Whether the store counts a visitor among the admitted.
    pub(crate) async fn is_active(&self, keys: &Keys, ticket: TicketId) -> Result<bool, LineError> {
        let ticket = ticket.to_string();
        let score: Option<f64> =
            self.query(redis::cmd("ZSCORE").arg(keys.active()).arg(ticket)).await?;
        Ok(score.is_some())
    }

    /// Keeps an admitted visitor active, whose pass is valid for so long still.
    pub(crate) async fn stay_active(
        &self,
        keys: &Keys,
        ticket: TicketId,
        left: Duration,
    ) -> Result<(), LineError> {
        let mut call = with_keys(&STAY, keys);
        call.arg(ticket.to_string()).arg(ms(left));
        self.run("stay", &call).await
    }

    async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LineError> {
        let mut connection = self.cache.connection()?;
        Ok(self.cache.observe(command.query_async(&mut connection).await)?)
    }

    async fn run<T: FromRedisValue>(
        &self,
        name: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, LineError> {
        let mut connection = self.cache.connection()?;
        let answer = self.cache.observe(call.invoke_async(&mut connection).await);
        Ok(answer.inspect_err(|_| {
            metrics::counter!("usher_line_script_failed_total", "script" => name).increment(1);
        })?)
    }
}

fn with_keys<'a>(script: &'a Script, keys: &Keys) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    for key in keys.all() {
        call.key(key);
    }
    call
}

/// Says that a store lacked changes, and that what it had was given up.
fn note_behind(show: ShowId, answer: &[String]) {
    if answer.get(1).is_some_and(|why| why == "BEHIND") {
        metrics::counter!("usher_line_behind_total").increment(1);
        warn!(%show, "redis has gone back in time, or is another one; the line begins anew");
    }
}

fn add_stretch(call: &mut ScriptInvocation<'_>, stretch: Stretch) {
    call.arg(stretch.rule.version).arg(u8::from(stretch.rule.drawn)).arg(stretch.base);
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
