//! Faults on purpose, for the program that proves what Usher survives (`./dev chaos`).
//!
//! A [`failpoint`] ends or freezes the process, or ends a task, at a hand-off, [`without`] takes one guarantee away
//! so that the checks can be seen to fail, and [`sometimes`] leaves word that a rare path was
//! really taken. The first two exist in builds with debug assertions alone: in a release build
//! they are nothing, whatever the environment says.

#[cfg(debug_assertions)]
use std::{
    io::Write as _,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// A promise that tests can take away, to see that its loss is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// A delivery is acked after its commit.
    AckAfterCommit,
    /// A batch commits only under the partition's current epoch.
    Fence,
    /// The same key gives the same booking.
    Idempotency,
    /// A session begins with the seats as the claims have them; without it, with all of them free.
    SeatMap,
    /// Claims go in under the unique index; the index itself is dropped from outside.
    UniqueIndex,
    /// Seat locks are written again after Redis has lost them.
    Rebuild,
    /// 202 is said after the broker's confirm.
    Confirm,
    /// An event is marked as published after the broker's confirm.
    Relay,
    /// A queue is deleted after a proof that what was accepted for it is decided; without it, when
    /// the broker says that it is empty.
    QueueProof,
    /// What is taken from a queue is decided in its order.
    Order,
    /// Only its own data condemns a booking; without it, any error of the database does.
    OnlyDataCondemns,
}

impl Guarantee {
    /// Every one, in the order they are documented.
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

    /// As it is written in `USHER_WITHOUT`.
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

/// Whether `USHER_WITHOUT`, a list separated by commas, takes this guarantee away.
#[cfg(debug_assertions)]
#[must_use]
pub fn without(guarantee: Guarantee) -> bool {
    static WITHOUT: LazyLock<String> = LazyLock::new(|| setting("USHER_WITHOUT"));
    WITHOUT.split(',').any(|name| name == guarantee.as_str())
}

/// Whether a guarantee is taken away: never, in this build.
#[cfg(not(debug_assertions))]
#[must_use]
pub fn without(_: Guarantee) -> bool {
    false
}

/// A hand-off at which the process may be made to end.
///
/// `USHER_FAILPOINT` is `name=abort`, `name=freeze` or `name=panic`, which ends the task alone; with
/// `@3` behind it, at the third pass.
#[cfg(debug_assertions)]
pub fn failpoint(name: &'static str) {
    static ARMED: LazyLock<Option<Armed>> =
        LazyLock::new(|| Armed::parse(&setting("USHER_FAILPOINT")));
    if let Some(armed) = ARMED.as_ref().filter(|armed| armed.name == name) {
        armed.pass();
    }
}

/// A hand-off: nothing happens there in this build.
#[cfg(not(debug_assertions))]
pub fn failpoint(_: &'static str) {}

/// Counts that a rare path was taken, in `usher_rare_paths_total`. In builds with debug assertions
/// its name is also appended to the file `USHER_RARE_PATHS` names, which outlives the process.
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
