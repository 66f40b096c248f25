//! What goes wrong and when: a pure function of the seed, and the hand that does it.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    arena::{Arena, Backend},
    deadlock,
    fleet::{Fleet, Role, Seat},
    poison::Poison,
    proxy::{CommitCut, Mode, Proxy},
};

/// The broker's heartbeat in these runs is 3 s: a process frozen for more than twice that is
/// declared dead while it lives.
const PAST_HEARTBEAT: Duration = Duration::from_secs(8);
/// Long enough for another to be given what it had in hand.
pub const PAST_TAKEOVER: Duration = Duration::from_secs(11);
/// Some of what commits on a link is a batch, the rest is the sweep and the relay.
const COMMITS_CUT: u8 = 3;
/// An allocator that starts has a batch in hand by then, where it gets one at all.
const IN_HAND_WAIT: Duration = Duration::from_secs(8);

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill {
        seat: Seat,
        down: Duration,
    },
    /// Ended and started again in good order.
    Restart {
        seat: Seat,
    },
    Freeze {
        seat: Seat,
        lasts: Duration,
    },
    /// An allocator, started again to freeze with a batch in hand.
    FreezeInHand {
        n: usize,
        lasts: Duration,
    },
    /// An allocator, started again to die with a batch in hand that is about to be committed.
    DieInHand {
        n: usize,
    },
    KillBackend {
        backend: Backend,
        down: Duration,
    },
    FreezeBackend {
        backend: Backend,
        lasts: Duration,
    },
    Flush,
    Alarm {
        lasts: Duration,
    },
    TerminateSessions,
    Reset {
        seat: Seat,
        wire: Wire,
    },
    Disturb {
        seat: Seat,
        wire: Wire,
        mode: Mode,
        lasts: Duration,
    },
    CutCommit {
        n: usize,
        cut: CommitCut,
    },
    Part {
        node: u8,
        lasts: Duration,
    },
    /// A booking that breaks the batch it is in, put on a queue by hand.
    Poison {
        n: usize,
    },
    /// A session that takes rows in the opposite order.
    Deadlock {
        n: usize,
    },
}

/// Which of a process's three links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Postgres,
    Redis,
    Amqp,
}

impl Fault {
    /// A few words for the table.
    pub fn kind(&self) -> String {
        match self {
            Self::Kill { seat, .. } => format!("kill {}", role_word(seat.role)),
            Self::Restart { seat } => format!("restart {}", role_word(seat.role)),
            Self::Freeze { seat, .. } => format!("freeze {}", role_word(seat.role)),
            Self::FreezeInHand { .. } => "freeze with a batch in hand".into(),
            Self::DieInHand { .. } => "die with a batch in hand".into(),
            Self::KillBackend { backend, .. } => format!("kill {}", backend_word(*backend)),
            Self::FreezeBackend { backend, .. } => format!("freeze {}", backend_word(*backend)),
            Self::Flush => "flush redis".into(),
            Self::Alarm { .. } => "broker alarm".into(),
            Self::TerminateSessions => "end database sessions".into(),
            Self::Reset { .. } => "reset connections".into(),
            Self::Disturb { mode, .. } => match mode {
                Mode::Stall => "stall a link".into(),
                Mode::Mute => "half-open link".into(),
                Mode::Slice => "slice a link".into(),
                Mode::Slow(_) => "slow link".into(),
                Mode::Refuse => "refuse connections".into(),
                Mode::Pass => "no fault".into(),
            },
            Self::CutCommit { cut: CommitCut::Delivered, .. } => "cut after commit".into(),
            Self::CutCommit { cut: CommitCut::Dropped, .. } => "cut before commit".into(),
            Self::Part { .. } => "part a broker".into(),
            Self::Poison { .. } => "poison in a queue".into(),
            Self::Deadlock { .. } => "locks in another order".into(),
        }
    }

    /// Faults that take the broker or the database away for seconds: few in one run.
    fn is_heavy(self) -> bool {
        matches!(
            self,
            Self::KillBackend { backend: Backend::RabbitMq | Backend::RabbitMqNode(_), .. }
                | Self::FreezeBackend { .. }
                | Self::Alarm { .. }
                | Self::Part { .. }
        )
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Ingress => "ingress",
        Role::WaitingRoom => "waiting room",
        Role::Allocator => "allocator",
        Role::Notifier => "notifier",
    }
}

fn backend_word(backend: Backend) -> &'static str {
    match backend {
        Backend::Postgres => "postgres",
        Backend::Redis => "redis",
        Backend::RabbitMq | Backend::RabbitMqNode(_) => "broker",
    }
}

/// Faults with their times from the beginning, in order.
pub type Schedule = Vec<(Duration, Fault)>;

/// Draws the faults of a run that lasts so long: about one every two seconds, a heavy one every
/// fifteen.
pub fn schedule(seed: u64, length: Duration, is_cluster: bool) -> Schedule {
    let mut rng = Rng::with_seed(seed);
    let mut at = Duration::from_millis(800);
    let mut next_heavy = Duration::from_millis(rng.u64(1_000..10_000));
    let mut faults = Vec::new();
    while at + Duration::from_secs(1) < length {
        let mut fault = draw(&mut rng, is_cluster);
        if at >= next_heavy {
            while !fault.is_heavy() {
                fault = draw(&mut rng, is_cluster);
            }
            next_heavy = at + Duration::from_secs(15);
        } else {
            while fault.is_heavy() {
                fault = draw(&mut rng, is_cluster);
            }
        }
        faults.push((at, fault));
        at += Duration::from_millis(rng.u64(700..2_800));
    }
    faults
}

fn draw(rng: &mut Rng, is_cluster: bool) -> Fault {
    let millis = |rng: &mut Rng, from: u64, to: u64| Duration::from_millis(rng.u64(from..to));
    let role = match rng.u8(0..10) {
        0..5 => Role::Allocator,
        5..8 => Role::Ingress,
        8 => Role::WaitingRoom,
        _ => Role::Notifier,
    };
    let seat = Seat { role, n: rng.usize(0..2) };
    let wire = match rng.u8(0..3) {
        0 => Wire::Postgres,
        1 => Wire::Redis,
        _ => Wire::Amqp,
    };
    let broker = if is_cluster { Backend::RabbitMqNode(rng.u8(1..=3)) } else { Backend::RabbitMq };
    match rng.u8(0..100) {
        0..16 => Fault::Kill { seat, down: millis(rng, 100, 2_500) },
        16..20 => Fault::Restart { seat },
        20..30 => Fault::Freeze { seat, lasts: millis(rng, 500, 4_000) },
        30..33 => Fault::Freeze { seat, lasts: PAST_HEARTBEAT },
        33..36 => Fault::FreezeInHand { n: rng.usize(0..2), lasts: PAST_TAKEOVER },
        36..42 => Fault::Flush,
        42..46 => Fault::KillBackend { backend: Backend::Redis, down: millis(rng, 200, 3_000) },
        46..50 => Fault::KillBackend { backend: Backend::Postgres, down: millis(rng, 100, 1_500) },
        50..54 => Fault::KillBackend { backend: broker, down: millis(rng, 100, 1_000) },
        54..57 => {
            let backend = [Backend::Postgres, Backend::Redis, broker][rng.usize(0..3)];
            Fault::FreezeBackend { backend, lasts: millis(rng, 1_000, 6_000) }
        }
        57..59 if is_cluster => {
            Fault::Part { node: rng.u8(1..=3), lasts: millis(rng, 15_000, 25_000) }
        }
        57..59 => Fault::Alarm { lasts: millis(rng, 1_000, 3_000) },
        59..64 => Fault::TerminateSessions,
        64..70 => Fault::Reset { seat, wire },
        70..86 => {
            let mode = match rng.u8(0..5) {
                0 => Mode::Stall,
                1 => Mode::Mute,
                2 => Mode::Slice,
                3 => Mode::Slow(millis(rng, 10, 80)),
                _ => Mode::Refuse,
            };
            Fault::Disturb { seat, wire, mode, lasts: millis(rng, 500, 7_000) }
        }
        86..91 => Fault::CutCommit { n: rng.usize(0..2), cut: CommitCut::Delivered },
        91..94 => Fault::Poison { n: rng.usize(0..3) },
        94..97 => Fault::Deadlock { n: rng.usize(0..2) },
        _ => Fault::CutCommit { n: rng.usize(0..2), cut: CommitCut::Dropped },
    }
}

/// The hand that does what the schedule says.
pub struct Nemesis<'a> {
    pub arena: &'a Arena,
    pub fleet: &'a Fleet,
    pub poison: Poison<'a>,
}

impl Nemesis<'_> {
    /// Does it all, each fault in its time, several at once where they last. Returns how often
    /// each kind was done, once the last is over.
    pub async fn act(&self, schedule: &[(Duration, Fault)]) -> BTreeMap<String, u32> {
        let began = Instant::now();
        let doing = schedule.iter().map(|(at, fault)| async move {
            sleep_until(began + *at).await;
            let done = self.inflict(*fault).await;
            (fault.kind(), done)
        });
        let mut counts = BTreeMap::new();
        for (kind, done) in futures_util::future::join_all(doing).await {
            match done {
                Ok(()) => *counts.entry(kind).or_default() += 1,
                // What it was meant for may be down, by another fault.
                Err(error) => eprintln!("fault `{kind}` was not done: {error:#}"),
            }
        }
        counts
    }

    async fn inflict(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { seat, down } => self.fleet.kill(seat, down),
            Fault::Restart { seat } => self.fleet.stop(seat),
            Fault::Freeze { seat, lasts } => {
                self.fleet.freeze(seat, true);
                sleep(lasts).await;
                self.fleet.freeze(seat, false);
            }
            Fault::FreezeInHand { n, lasts } => {
                let seat = Seat { role: Role::Allocator, n };
                self.fleet.arm(seat, "after-delivery=freeze");
                if self.fleet.stops_within(seat, IN_HAND_WAIT).await {
                    sleep(lasts).await;
                    self.fleet.freeze(seat, false);
                } else {
                    // Or it would freeze at its next batch, when all is meant to be well.
                    self.fleet.kill(seat, Duration::ZERO);
                }
            }
            Fault::DieInHand { n } => {
                self.fleet.arm(Seat { role: Role::Allocator, n }, "before-commit=abort");
            }
            Fault::KillBackend { backend, down } => {
                self.arena.kill(backend);
                sleep(down).await;
                self.arena.start(backend).await?;
            }
            Fault::FreezeBackend { backend, lasts } => {
                self.arena.freeze(backend, true);
                sleep(lasts).await;
                self.arena.freeze(backend, false);
            }
            Fault::Flush => flush(self.arena).await?,
            Fault::Alarm { lasts } => {
                // A command that was given up may have been carried out.
                let raised = self.arena.alarm(true).await;
                sleep(lasts).await;
                self.arena.alarm(false).await?;
                raised?;
            }
            Fault::TerminateSessions => terminate_sessions(self.arena).await?,
            Fault::Reset { seat, wire } => self.wire(seat, wire, Proxy::reset),
            Fault::Disturb { seat, wire, mode, lasts } => {
                self.wire(seat, wire, |proxy| proxy.set(mode));
                sleep(lasts).await;
                self.wire(seat, wire, |proxy| proxy.set(Mode::Pass));
            }
            Fault::CutCommit { n, cut } => {
                let seat = Seat { role: Role::Allocator, n };
                self.wire(seat, Wire::Postgres, |proxy| proxy.cut_commits(cut, COMMITS_CUT));
            }
            Fault::Part { node, lasts } => {
                self.arena.part(node, true).await?;
                sleep(lasts).await;
                self.arena.part(node, false).await?;
            }
            Fault::Poison { n } => self.poison.put(self.arena, n).await?,
            Fault::Deadlock { n } => deadlock::provoke(self.arena, self.poison.halls, n).await?,
        }
        Ok(())
    }

    fn wire(&self, seat: Seat, wire: Wire, act: impl FnOnce(&Proxy)) {
        self.fleet.with_links(seat, |links| {
            act(match wire {
                Wire::Postgres => &links.postgres,
                Wire::Redis => &links.redis,
                Wire::Amqp => &links.amqp,
            });
        });
    }
}

/// FLUSHALL.
pub async fn flush(arena: &Arena) -> anyhow::Result<()> {
    let client = redis::Client::open(arena.redis_url()?)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("FLUSHALL").query_async(&mut connection).await?)
}

async fn terminate_sessions(arena: &Arena) -> anyhow::Result<()> {
    use sqlx::Connection as _;
    let mut admin = sqlx::PgConnection::connect(arena.postgres_url()?).await?;
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where pid <> pg_backend_pid() and application_name in ('ingress', 'allocator')
           and (state <> 'idle' or random() < 0.3)",
    )
    .execute(&mut admin)
    .await?;
    Ok(admin.close().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_does_the_same_harm() {
        let long = Duration::from_mins(3);
        assert_eq!(schedule(7, long, false), schedule(7, long, false));
        assert_ne!(schedule(7, long, false), schedule(8, long, false));
    }

    #[test]
    fn fifty_short_runs_have_every_kind_of_fault() {
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 1..=50 {
            for (_, fault) in schedule(seed, Duration::from_secs(14), false) {
                *kinds.entry(fault.kind()).or_default() += 1;
            }
        }
        assert!(kinds.len() >= 30, "{kinds:?}");
        for chosen in ["freeze with a batch in hand", "locks in another order", "poison in a queue"]
        {
            assert!(kinds[chosen] >= 5, "{kinds:?}");
        }
    }
}
