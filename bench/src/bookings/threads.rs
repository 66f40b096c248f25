//! Processor time to the nanosecond, thread by thread: hundredths of a second, as [`crate::usage`]
//! reads them, are too coarse for a few thousand bookings.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// The processor time of each thread since its start, by the thread's file.
#[derive(Debug)]
pub(super) struct Threads(BTreeMap<PathBuf, Duration>);

impl Threads {
    /// The threads of these processes; `None` if the kernel does not tell their time.
    pub(super) fn of(pids: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut times = BTreeMap::new();
        for pid in pids {
            for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
                let file = thread.path().join("schedstat");
                // The thread may have ended meanwhile.
                let Ok(text) = std::fs::read_to_string(&file) else { continue };
                times.insert(file, on_processor(&text)?);
            }
        }
        (!times.is_empty()).then_some(Self(times))
    }

    /// The time that was used since `before`. What a thread used that has ended since then is not
    /// known; such a thread was idle for seconds.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let used = |(thread, time): (&PathBuf, &Duration)| {
            time.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        };
        self.0.iter().map(used).sum()
    }
}

/// The first number: nanoseconds on a processor.
fn on_processor(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(times: &[(&str, u64)]) -> Threads {
        let times = times.iter().map(|&(file, n)| (PathBuf::from(file), Duration::from_nanos(n)));
        Threads(times.collect())
    }

    #[test]
    fn a_thread_that_has_ended_takes_nothing_away_and_a_new_one_counts() {
        let before = threads(&[("stays", 100), ("ends", 900)]);
        let now = threads(&[("stays", 130), ("begins", 20)]);
        assert_eq!(now.since(&before), Duration::from_nanos(50));
    }

    #[test]
    fn the_kernels_account_of_a_thread_is_read() {
        let time = Some(Duration::from_nanos(1_667_514));
        assert_eq!(on_processor("1667514 3996009 9\n"), time);
        assert_eq!(on_processor(""), None);
        assert!(Threads::of([]).is_none(), "nothing is not a time of 0");
    }
}
