//! The log. A thread of its own writes the lines: if standard error is slow, lines are lost and
//! counted, and no caller waits.

use std::{
    io::IsTerminal as _,
    sync::{Mutex, PoisonError},
};

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::Process;

/// Most lines that wait to be written; further lines are dropped.
const LINES_MAX: usize = 8_192;

/// Crates whose lines never show secrets.
const OURS: [&str; 9] = [
    "allocator",
    "contract",
    "ingress",
    "loadtest",
    "notifier",
    "platform",
    "store",
    "usher",
    "waiting_room",
];

pub(super) struct Logs {
    dropped: ErrorCounter,
    /// Writes the waiting lines when it is dropped.
    writer: Mutex<Option<WorkerGuard>>,
}

impl Logs {
    pub(super) fn start(process: &Process) -> Self {
        let (lines, guard) = writer(std::io::stderr(), LINES_MAX);
        let dropped = lines.error_counter();
        let filter = EnvFilter::try_new(&process.log).unwrap_or_else(|_| EnvFilter::new("info"));
        let colours = std::io::stderr().is_terminal();
        let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_told));
        let started = if process.log_format == "json" {
            registry.with(fmt::layer().json().with_writer(lines)).try_init()
        } else {
            registry.with(fmt::layer().with_ansi(colours).with_writer(lines)).try_init()
        };
        if let Err(error) = started {
            eprintln!("logging was already started: {error}");
        }
        Self { dropped, writer: Mutex::new(Some(guard)) }
    }

    /// Lines that were lost because standard error took no more.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.dropped_lines() as u64
    }

    pub(super) fn flush(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Whether a line may be written at all, whatever `USHER_LOG` says. At finer levels libraries log
/// what passes through them: frames with passes, headers with tokens.
fn may_be_told(of: &Metadata<'_>) -> bool {
    let name = of.target().split("::").next().unwrap_or_default();
    *of.level() <= Level::INFO || OURS.contains(&name)
}

fn writer(
    to: impl std::io::Write + Send + 'static,
    lines_max: usize,
) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(lines_max).finish(to)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{
            Arc,
            mpsc::{Receiver, channel},
        },
    };

    use super::*;

    #[test]
    fn libraries_are_quiet_at_every_level_and_we_are_not() {
        let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Arc::clone(&lines);
        let layer = fmt::layer().with_writer(move || Shared(Arc::clone(&to)));
        let registry = tracing_subscriber::registry()
            .with(EnvFilter::new("trace"))
            .with(filter_fn(may_be_told))
            .with(layer);
        tracing::subscriber::with_default(registry, || {
            tracing::trace!(target: "tungstenite::protocol", "a secret");
            tracing::debug!(target: "hyper", "a secret");
            tracing::debug!(target: "storefront", "a secret");
            tracing::info!(target: "lapin", "a library");
            tracing::trace!(target: "waiting_room::line::desk", "one of ours");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("a secret"), "{text}");
        assert!(text.contains("a library") && text.contains("one of ours"), "{text}");
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks every write until it gets a message.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_log_that_takes_no_lines_and_the_lost_ones_are_counted() {
        let (go_on, told) = channel();
        let (mut lines, guard) = writer(Stuck(told), 10);
        // The test would hang here if a full log made its writers wait.
        for _ in 0..1_000 {
            lines.write_all(b"a line\n").unwrap();
        }
        let lost = lines.error_counter().dropped_lines();
        assert!((980..=990).contains(&lost), "{lost}");
        drop(go_on);
        drop(guard);
    }
}
