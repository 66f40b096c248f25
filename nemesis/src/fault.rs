//! The faults, and carrying them out.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use testing::proxy::{CommitCut, Mode, Proxy};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    arena::{Arena, Backend},
    deadlock, detour,
    fleet::{Build, Fleet, Node, Service},
    office::Office,
    poison::Poison,
    sale::Hall,
    schema::{self, SchemaChange},
};

/// The broker's heartbeat in these runs is 3 s: it declares a process dead that is frozen for more
/// than twice that.
pub(crate) const PAST_HEARTBEAT: Duration = Duration::from_secs(8);
/// Long enough for another process to get the deliveries of a frozen one.
pub const PAST_TAKEOVER: Duration = Duration::from_secs(11);
/// How often lowering an alarm is tried again at most.
const LOWERED_AGAIN_MAX: u32 = 4;
/// Commits cut in one fault: some are batches, others are the sweep's and the relay's.
const COMMITS_CUT: u8 = 3;
/// Longest wait until an allocator that starts has a batch in hand.
const IN_HAND_WAIT: Duration = Duration::from_secs(8);

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill {
        node: Node,
        down: Duration,
    },
    /// A process is stopped gracefully and started again.
    Restart {
        node: Node,
    },
    Freeze {
        node: Node,
        lasts: Duration,
    },
    /// An allocator freezes with a batch in hand.
    FreezeInHand {
        n: usize,
        lasts: Duration,
    },
    /// An allocator dies with a batch in hand that is about to be committed.
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
        node: Node,
        wire: Wire,
    },
    Disturb {
        node: Node,
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
    /// A booking that breaks its batch is put on a queue.
    Poison {
        n: usize,
    },
    /// A session locks rows in the opposite order to Usher's.
    Deadlock {
        n: usize,
    },
    /// The process of a booking queue is suspended.
    Suspend {
        n: usize,
        seconds: u8,
    },
    /// An empty queue, which only the nemesis books from, is deleted by hand.
    Unqueue,
    /// A queue with bookings in it is deleted by hand, which loses them.
    UnqueueFull,
    /// Bookings accepted within a second reach their queue later. Usher never does that; the fault
    /// proves that the check of the order sees it.
    HoldBack {
        by: Duration,
    },
    /// A sale is closed early; if `slow`, while its batches wait and its queue is suspended.
    Close {
        slow: bool,
    },
    /// The schema changes under load.
    Alter {
        change: SchemaChange,
        lasts: Duration,
    },
    /// Redis is killed, and comes back with the data of an earlier time.
    GoBack {
        by: Duration,
    },
    /// The counters of the lines are set back. Usher never does that; the fault proves that the
    /// check of numbers sees it.
    CountAgain {
        by: u8,
    },
    /// The schema is brought up to date.
    Migrate,
    /// A process is stopped gracefully and replaced by another build.
    Replace {
        node: Node,
        build: Build,
    },
    /// The clock of PostgreSQL or Redis jumps, and jumps back.
    Step {
        backend: Backend,
        seconds: i16,
        lasts: Duration,
    },
}

/// One of a process's three links to its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Postgres,
    Redis,
    Amqp,
}

impl Fault {
    /// The kind of the fault, for the report.
    pub fn kind(&self) -> String {
        match self {
            Self::Kill { node, .. } => format!("kill {}", service_word(node.service)),
            Self::Restart { node } => format!("restart {}", service_word(node.service)),
            Self::Freeze { node, .. } => format!("freeze {}", service_word(node.service)),
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
            Self::Suspend { .. } => "suspend a queue".into(),
            Self::Unqueue => "delete an empty queue".into(),
            Self::UnqueueFull => "delete a full queue".into(),
            Self::HoldBack { .. } => "hold back what was accepted".into(),
            Self::Close { slow: false } => "close a sale".into(),
            Self::Close { slow: true } => "close a sale with its queue suspended".into(),
            Self::Alter { change, .. } => change.kind().into(),
            Self::CountAgain { .. } => "a line counts again".into(),
            Self::GoBack { .. } => "redis goes back".into(),
            Self::Migrate => "migrate".into(),
            Self::Replace { node, build: Build::This } => {
                format!("upgrade {}", service_word(node.service))
            }
            Self::Replace { node, build: Build::Before } => {
                format!("take back {}", service_word(node.service))
            }
            Self::Step { backend, .. } => format!("step the clock of {}", backend_word(*backend)),
        }
    }

    /// Whether the fault takes the broker or the database away for seconds; a run has few of these.
    pub(crate) fn is_heavy(self) -> bool {
        matches!(
            self,
            Self::KillBackend { backend: Backend::RabbitMq | Backend::RabbitMqNode(_), .. }
                | Self::FreezeBackend { .. }
                | Self::Alarm { .. }
                | Self::Part { .. }
        )
    }
}

fn service_word(service: Service) -> &'static str {
    match service {
        Service::Ingress => "ingress",
        Service::WaitingRoom => "waiting room",
        Service::Allocator => "allocator",
        Service::Notifier => "notifier",
    }
}

fn backend_word(backend: Backend) -> &'static str {
    match backend {
        Backend::Postgres => "postgres",
        Backend::Redis => "redis",
        Backend::RabbitMq | Backend::RabbitMqNode(_) => "broker",
    }
}

/// Faults with their times from the beginning of the run, in order.
pub type Schedule = Vec<(Duration, Fault)>;

/// Carries out the faults of a schedule.
pub struct Nemesis<'a> {
    pub arena: &'a Arena,
    pub fleet: &'a Fleet,
    pub poison: Poison<'a>,
    pub office: Office<'a>,
}

impl Nemesis<'_> {
    /// Carries out each fault at its time; faults that last may overlap. Returns how often each
    /// kind was done, once the last is over.
    pub async fn act(&self, schedule: &[(Duration, Fault)]) -> BTreeMap<String, u32> {
        let (mut counts, mut began) = (BTreeMap::new(), Instant::now());
        for act in schedule.split_inclusive(|(_, fault)| matches!(fault, Fault::Migrate)) {
            let doing = act.iter().map(|(at, fault)| async move {
                sleep_until(began + *at).await;
                (fault.kind(), self.inflict(*fault).await)
            });
            for (kind, done) in futures_util::future::join_all(doing).await {
                match done {
                    Ok(()) => *counts.entry(kind).or_default() += 1,
                    // Another fault may have taken down its target.
                    Err(error) => eprintln!("fault `{kind}` was not done: {error:#}"),
                }
            }
            // What follows a change of the schema waits for its end.
            if let Some((at, Fault::Migrate)) = act.last() {
                began = Instant::now() - *at;
            }
        }
        counts
    }

    async fn inflict(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { node, down } => self.fleet.kill(node, down),
            Fault::Restart { node } => self.fleet.stop(node),
            Fault::Freeze { node, lasts } => {
                self.fleet.freeze(node, true);
                sleep(lasts).await;
                self.fleet.freeze(node, false);
            }
            Fault::FreezeInHand { n, lasts } => {
                let node = Node { service: Service::Allocator, n };
                self.fleet.arm(node, "after-delivery=freeze");
                if self.fleet.stops_within(node, IN_HAND_WAIT).await {
                    sleep(lasts).await;
                    self.fleet.freeze(node, false);
                } else {
                    // The failpoint must not stay armed after the fault.
                    self.fleet.kill(node, Duration::ZERO);
                }
            }
            Fault::DieInHand { n } => {
                self.fleet.arm(Node { service: Service::Allocator, n }, "before-commit=abort");
            }
            Fault::KillBackend { backend, down } => {
                drop(self.office.declaring.lock().await);
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
                // The alarm is lowered even if raising it failed: the command may have worked.
                let raised = self.arena.alarm(true).await;
                sleep(lasts).await;
                let mut lowered = self.arena.alarm(false).await;
                for _ in 0..LOWERED_AGAIN_MAX {
                    // The harness must not leave the broker blocked.
                    if lowered.is_ok() {
                        break;
                    }
                    lowered = self.arena.alarm(false).await;
                }
                lowered?;
                raised?;
            }
            Fault::TerminateSessions => terminate_sessions(self.arena).await?,
            Fault::Reset { node, wire } => self.wire(node, wire, Proxy::reset),
            Fault::Disturb { node, wire, mode, lasts } => {
                self.wire(node, wire, |proxy| proxy.set(mode));
                sleep(lasts).await;
                self.wire(node, wire, |proxy| proxy.set(Mode::Pass));
            }
            Fault::CutCommit { n, cut } => {
                let node = Node { service: Service::Allocator, n };
                self.wire(node, Wire::Postgres, |proxy| proxy.cut_commits(cut, COMMITS_CUT));
            }
            Fault::Part { node, lasts } => {
                self.arena.part(node, true).await?;
                sleep(lasts).await;
                self.arena.part(node, false).await?;
            }
            Fault::Poison { n } => self.poison.put(self.arena, n).await?,
            Fault::Deadlock { n } => deadlock::provoke(self.arena, self.poison.halls, n).await?,
            Fault::Suspend { n, seconds } => {
                let queue = self.office.queue(n)?;
                self.arena.suspend(&queue, seconds).await?;
            }
            Fault::Unqueue => self.office.unqueue(self.arena).await?,
            Fault::UnqueueFull => self.office.unqueue_full(self.arena).await?,
            Fault::HoldBack { by } => detour::hold_back(self.arena, self.office.halls, by).await?,
            Fault::Close { slow } => self.office.close(self.arena, slow).await?,
            Fault::Alter { change, lasts } => schema::alter(self.arena, change, lasts).await?,
            Fault::CountAgain { by } => count_again(self.arena, self.poison.halls, by).await?,
            Fault::Migrate => usher::migrate::run(self.arena.postgres_url()?).await?,
            Fault::Replace { node, build } => self.fleet.replace(node, build),
            Fault::GoBack { by } => go_back(self.arena, by).await?,
            Fault::Step { backend, seconds, lasts } => {
                ensure!(self.arena.has_clocks(), "faketime is missing");
                self.arena.step_clock(backend, seconds).await?;
                sleep(lasts).await;
                self.arena.step_clock(backend, 0).await?;
            }
        }
        Ok(())
    }

    fn wire(&self, node: Node, wire: Wire, act: impl FnOnce(&Proxy)) {
        self.fleet.with_links(node, |links| {
            act(match wire {
                Wire::Postgres => &links.postgres,
                Wire::Redis => &links.redis,
                Wire::Amqp => &links.amqp,
            });
        });
    }
}

/// Deletes everything in Redis.
pub async fn flush(arena: &Arena) -> anyhow::Result<()> {
    Ok(redis::cmd("FLUSHALL").query_async(&mut arena.redis().await?).await?)
}

/// Brings Redis back with older data, as from a replica that was behind or an old dump.
async fn go_back(arena: &Arena, by: Duration) -> anyhow::Result<()> {
    let () = redis::cmd("SAVE").query_async(&mut arena.redis().await?).await?;
    sleep(by).await;
    arena.kill(Backend::Redis);
    arena.bring_back_redis().await
}

async fn count_again(arena: &Arena, halls: &[Hall], by: u8) -> anyhow::Result<()> {
    let mut connection = arena.redis().await?;
    for hall in halls.iter().filter(|hall| hall.has_line) {
        let (head, by) = (format!("line:{{{}}}:head", hall.show), -i32::from(by));
        let mut count = redis::cmd("HINCRBY");
        let () = count.arg(head).arg("counter").arg(by).query_async(&mut connection).await?;
    }
    Ok(())
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
