//! Faults on purpose, for the program that proves what Usher survives (`./dev chaos`).
//!
//! A [`failpoint`] ends or freezes the process, or ends a task, at a chosen step. [`without`] takes
//! one guarantee away, so that the checks can be seen to fail. [`sometimes`] records that a rare
//! path was really taken. The first two work only in builds with debug assertions; in a release
//! build they do nothing, whatever the environment says.

#[cfg(debug_assertions)]
use std::{
    io::Write as _,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// A guarantee that tests can take away, to see that the checks find its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// A delivery is acked after its commit.
    AckAfterCommit,
    /// A batch commits only under the partition's current epoch.
    Fence,
    /// The same key gives the same booking.
    Idempotency,
    /// A session begins with the seats as the claims have them; without the guarantee, with all
    /// seats free.
    SeatMap,
    /// Claims are inserted under the unique index; the proving program itself drops the index.
    UniqueIndex,
    /// Seat locks are written again after Redis has lost them.
    Rebuild,
    /// 202 is answered after the broker's confirm.
    Confirm,
    /// An event is marked as published after the broker's confirm.
    Relay,
    /// A queue is deleted after a proof that every request accepted for it is decided; without the
    /// guarantee, when the broker says that the queue is empty.
    QueueProof,
    /// The requests of a queue are decided in the order of the queue.
    Order,
    /// A booking is set aside only for its own data; without the guarantee, for any database error.
    OnlyDataCondemns,
}

impl Guarantee {
    /// Every guarantee, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::AckAfterCommit,
        Self::Fence,
        Self::Idempotency,
        Self::SeatMap,
        Self::UniqueIndex,
        Self::Rebuild,
        Self::Confirm,
        Self::Relay,
        Self::QueueProof,
        Self::Order,
        Self::OnlyDataCondemns,
    ];

    /// The name in `USHER_WITHOUT`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AckAfterCommit => "ack-after-commit",
            Self::Fence => "fence",
            Self::Idempotency => "idempotency",
            Self::SeatMap => "seat-map",
            Self::UniqueIndex => "unique-index",
            Self::Rebuild => "rebuild",
            Self::Confirm => "confirm",
            Self::Relay => "relay",
            Self::QueueProof => "queue-proof",
            Self::Order => "order",
            Self::OnlyDataCondemns => "only-data-condemns",
        }
    }
}

/// Whether `USHER_WITHOUT`, a list separated by commas, names this guarantee.
#[cfg(debug_assertions)]
#[must_use]
pub fn without(guarantee: Guarantee) -> bool {
    static WITHOUT: LazyLock<String> = LazyLock::new(|| setting("USHER_WITHOUT"));
    WITHOUT.split(',').any(|name| name == guarantee.as_str())
}

/// Whether a guarantee is taken away: never in this build.
#[cfg(not(debug_assertions))]
#[must_use]
pub fn without(_: Guarantee) -> bool {
    false
}

/// A step at which a test may end or freeze the process.
///
/// `USHER_FAILPOINT` is `name=abort`, `name=freeze`, or `name=panic`, which ends only the task.
/// With `@3` appended, it happens at the third pass.
#[cfg(debug_assertions)]
pub fn failpoint(name: &'static str) {
    static ARMED: LazyLock<Option<Armed>> =
        LazyLock::new(|| Armed::parse(&setting("USHER_FAILPOINT")));
    if let Some(armed) = ARMED.as_ref().filter(|armed| armed.name == name) {
        armed.pass();
    }
}

/// Does nothing in this build.
#[cfg(not(debug_assertions))]
pub fn failpoint(_: &'static str) {}

/// Counts that a rare path was taken, in `usher_rare_paths_total`. Builds with debug assertions
/// also append its name to the file that `USHER_RARE_PATHS` names, which outlives the process.
pub fn sometimes(path: &'static str) {
    metrics::counter!("usher_rare_paths_total", "path" => path).increment(1);
    #[cfg(debug_assertions)]
    append(path);
}

#[cfg(debug_assertions)]
struct Armed {
    name: String,
    action: String,
    passes_left: AtomicU32,
}

#[cfg(debug_assertions)]
impl Armed {
    fn parse(text: &str) -> Option<Self> {
        let (name, action) = text.split_once('=')?;
        let (action, pass) = action.split_once('@').unwrap_or((action, "1"));
        let passes_left = AtomicU32::new(pass.parse().ok()?);
        Some(Self { name: name.to_owned(), action: action.to_owned(), passes_left })
    }

    fn pass(&self) {
        if self.passes_left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        append("a failpoint was reached");
        match self.action.as_str() {
            "freeze" => {
                let pid = std::process::id().to_string();
                let _ = std::process::Command::new("kill").args(["-STOP", &pid]).status();
            }
            "panic" => panic!("the failpoint {} was reached", self.name),
            _ => std::process::abort(),
        }
    }
}

#[cfg(debug_assertions)]
fn append(path: &str) {
    static FILE: LazyLock<Option<std::fs::File>> = LazyLock::new(|| {
        let path = setting("USHER_RARE_PATHS");
        std::fs::OpenOptions::new().append(true).create(true).open(path).ok()
    });
    if let Some(mut file) = FILE.as_ref() {
        // One write: several processes append to the same file.
        let _ = file.write_all(format!("{path}\n").as_bytes());
    }
}

#[cfg(debug_assertions)]
#[expect(clippy::disallowed_methods, reason = "not a setting of Usher: only tests know of it")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
