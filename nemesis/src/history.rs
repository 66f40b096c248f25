//! The history of a run: requests and answers, one JSON object per line, synced to disk often,
//! since the machine may fail during the run.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};

/// Longest time from noting a line until it is on disk.
const SYNC_EVERY: Duration = Duration::from_millis(50);

/// A history that is being written; every buyer has a [`Pen`] for it.
pub struct History {
    pen: Pen,
    writer: JoinHandle<std::io::Result<()>>,
}

/// Writes to the history.
#[derive(Clone)]
pub struct Pen {
    since: Instant,
    lines: Sender<String>,
}

impl History {
    /// Begins a history in a file of its own.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path)
            .with_context(|| format!("the history cannot be written to {}", path.display()))?;
        let (lines, written) = channel();
        let writer = std::thread::spawn(move || write(file, &written));
        Ok(Self { pen: Pen { since: Instant::now(), lines }, writer })
    }

    pub fn pen(&self) -> Pen {
        self.pen.clone()
    }

    /// Ends the history once every pen is dropped.
    pub fn close(self) -> anyhow::Result<()> {
        drop(self.pen);
        let written = self.writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        written.context("the history is incomplete")
    }
}

impl Pen {
    /// Notes what `who` did or was told.
    pub fn note(&self, who: &str, what: &str, detail: &Value) {
        let at_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = json!({"atMs": at_ms, "who": who, "what": what, "detail": detail});
        // If the writer has failed, `close` reports it.
        let _ = self.lines.send(line.to_string());
    }
}

fn write(mut file: File, lines: &Receiver<String>) -> std::io::Result<()> {
    while let Ok(first) = lines.recv() {
        writeln!(file, "{first}")?;
        let until = Instant::now() + SYNC_EVERY;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match lines.recv_timeout(left) {
                Ok(line) => writeln!(file, "{line}")?,
                Err(_) => break,
            }
        }
        file.sync_data()?;
    }
    file.sync_all()
}
