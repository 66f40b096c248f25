//! Memory and processor time of processes, from `/proc`; `None` on systems without it.

use std::{ops::Sub, time::Duration};

use serde::Serialize;

/// Linux counts a process's time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// Memory now, and processor time since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    pub(crate) cpu: Duration,
}

impl Usage {
    /// The usage of these processes together; `None` if one of them cannot be read.
    pub(crate) fn of(pids: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let file = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
            sum.rss_bytes += rss_bytes(&file("status")?)?;
            sum.cpu += cpu(&file("stat")?)?;
        }
        Some(sum)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            rss_bytes: self.rss_bytes.saturating_sub(before.rss_bytes),
            cpu: self.cpu.saturating_sub(before.cpu),
        }
    }
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// User and system time: fields 14 and 15. The fields are counted from the last bracket, since the
/// second field, the name, may hold spaces and brackets.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_is_read_whatever_the_process_is_called() {
        let stat = "42 (a) name) S 1 42 42 0 -1 4194560 100 0 0 0 250 125 0 0 20 0 3 0 5000 1 2";
        assert_eq!(cpu(stat), Some(Duration::from_millis(3750)));
        let status = "Name:\ta\nVmPeak:\t 9 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(rss_bytes(status), Some(2 * 1024 * 1024));
        assert_eq!(rss_bytes("Name:\ta\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of([std::process::id()]).unwrap();
        assert!(usage.rss_bytes > 1024 * 1024, "{usage:?}");
    }
}
