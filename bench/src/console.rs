//! The progress on standard output: phases that stay, and one line that is rewritten.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::time::Instant;

/// How often the line is printed where it cannot be rewritten.
const EVERY: Duration = Duration::from_secs(5);

/// Standard output.
pub(crate) struct Console {
    started: Instant,
    printed: Instant,
    on_terminal: bool,
    /// Whether a line that is to be rewritten is on the screen.
    dirty: bool,
}

impl Console {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let on_terminal = std::io::stdout().is_terminal();
        Self { started: now, printed: now, on_terminal, dirty: false }
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        println!("{:>4} s  {text}", self.started.elapsed().as_secs());
        self.printed = Instant::now();
    }

    /// A line that the next one replaces.
    pub(crate) fn show(&mut self, text: &str) {
        if self.on_terminal {
            self.clear();
            print!("{:>4} s  {text}", self.started.elapsed().as_secs());
            // Progress that cannot be written is not worth an error.
            let _ = std::io::stdout().flush();
            self.dirty = true;
        } else if self.printed.elapsed() >= EVERY {
            self.say(text);
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.dirty) {
            print!("\r\x1b[2K");
        }
    }
}
