//! Sending signals to processes that this program started, by their ids.

use std::process::{Command, Stdio};

/// Sends a signal, such as `KILL`; a process that is gone already is not an error.
pub fn signal(pid: u32, name: &str) {
    if pid <= 1 {
        return;
    }
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null());
    if let Err(error) = kill.status() {
        eprintln!("kill cannot be run: {error}");
    }
}

/// The direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(tasks).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Whether a process is stopped by a signal.
pub fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold any character.
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}
