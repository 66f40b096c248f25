//! Memory and processor time of processes, from `/proc`; `None` on systems without it.

use std::{collections::HashSet, ops::Sub, time::Duration};

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
            sum.cpu += cpu(&file("stat")?, 2)?;
        }
        Some(sum)
    }
}

/// The process that listens on this TCP port of IPv4 or IPv6, if we may see it.
pub(crate) fn listener(port: u16) -> Option<u32> {
    let mut sockets = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        sockets.extend(table.lines().skip(1).filter_map(|line| listening(line, port)));
    }
    processes().find(|pid| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        links.any(|link| link.to_str().is_some_and(|link| sockets.contains(link)))
    })
}

/// The processor time of a process and all its children, those that have ended included.
pub(crate) fn cpu_with_children(pid: u32) -> Option<Duration> {
    let stat = |pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let mut sum = cpu(&stat(pid)?, 4)?;
    for child in processes() {
        let Some(stat) = stat(child) else { continue };
        if parent(&stat) == Some(pid) {
            sum += cpu(&stat, 2)?;
        }
    }
    Some(sum)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The file of the socket, if this line of the kernel's table is one that listens on the port.
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let is_it = u16::from_str_radix(local.rsplit_once(':')?.1, 16) == Ok(port) && *state == "0A";
    is_it.then(|| format!("socket:[{inode}]"))
}

fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
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

/// User and system time, fields 14 and 15, and with four fields also those of the children that
/// have ended. The fields are counted from the last bracket, since the second field, the name, may
/// hold spaces and brackets.
fn cpu(stat: &str, n_fields: usize) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_whitespace().skip(11).take(n_fields);
    let ticks: u64 = fields.map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_is_read_whatever_the_process_is_called() {
        let stat = "42 (a) name) S 1 42 42 0 -1 4194560 100 0 0 0 250 125 0 0 20 0 3 0 5000 1 2";
        assert_eq!(cpu(stat, 2), Some(Duration::from_millis(3750)));
        let stat = stat.replace(" 250 125 0 0 ", " 250 125 20 5 ");
        assert_eq!(cpu(&stat, 4), Some(Duration::from_secs(4)));
        assert_eq!(parent(&stat), Some(1));
        let status = "Name:\ta\nVmPeak:\t 9 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(rss_bytes(status), Some(2 * 1024 * 1024));
        assert_eq!(rss_bytes("Name:\ta\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_listens_on_a_port_is_found_and_its_children_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(super::listener(port), Some(std::process::id()));
        drop(listener);
        assert_eq!(super::listener(port), None);
        let alone = Usage::of([std::process::id()]).unwrap().cpu;
        assert!(cpu_with_children(std::process::id()).unwrap() >= alone);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of([std::process::id()]).unwrap();
        assert!(usage.rss_bytes > 1024 * 1024, "{usage:?}");
    }
}
