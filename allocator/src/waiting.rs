//! Partitions that wait until the installation is repaired. Their bookings stay in their queue,
//! because no booking is at fault. The fault is logged once, and shown by
//! `usher_waiting_for_installation` and `/readyz` while it lasts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use contract::topology::Partition;
use platform::number::float;
use store::StoreError;
use tracing::{error, info};

/// Which partitions wait, and for what. Bounded by the partitions kept.
#[derive(Clone, Default)]
pub(crate) struct WaitingPartitions(Arc<Mutex<HashMap<Partition, String>>>);

/// Ends the waiting of a partition when dropped.
pub(crate) struct UntilDropped<'a> {
    waiting: &'a WaitingPartitions,
    partition: &'a Partition,
}

impl Drop for UntilDropped<'_> {
    fn drop(&mut self) {
        self.waiting.set(self.partition, None);
    }
}

impl WaitingPartitions {
    /// Ends the partition's waiting, at the latest, when the result is dropped.
    pub(crate) fn until_dropped<'a>(&'a self, partition: &'a Partition) -> UntilDropped<'a> {
        UntilDropped { waiting: self, partition }
    }

    /// Notes that the partition waits because of this error.
    pub(crate) fn begins(&self, partition: &Partition, why: &StoreError) {
        let code = why.installation_code().unwrap_or_else(|| "data".into());
        if self.set(partition, Some(&code)).as_ref() != Some(&code) {
            error!(%partition, code, "bookings wait until the installation is mended: {}", why.text());
        }
    }

    /// Notes that the partition goes on.
    pub(crate) fn is_over(&self, partition: &Partition) {
        if let Some(code) = self.set(partition, None) {
            info!(%partition, code, "the installation is mended: bookings are decided again");
        }
    }

    /// An error that names the faults, for `/readyz`.
    pub(crate) fn check(&self) -> Result<(), String> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut codes: Vec<&str> = waiting.values().map(String::as_str).collect();
        let n_partitions = codes.len();
        codes.sort_unstable();
        codes.dedup();
        if codes.is_empty() {
            return Ok(());
        }
        Err(format!("{n_partitions} partitions wait until a fault is mended: {}", codes.join(", ")))
    }

    /// Returns the fault that the partition waited for before.
    fn set(&self, partition: &Partition, code: Option<&str>) -> Option<String> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match code {
            Some(code) => waiting.insert(partition.clone(), code.to_owned()),
            None => waiting.remove(partition),
        };
        for code in [before.as_deref(), code].into_iter().flatten() {
            let n = waiting.values().filter(|waits| *waits == code).count();
            metrics::gauge!("usher_waiting_for_installation", "code" => code.to_owned())
                .set(float(n));
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_named_until_it_goes_on_or_is_let_go_of() {
        let waiting = WaitingPartitions::default();
        let partition =
            |tier: &str| Partition { show: contract::ShowId::new(), tier: tier.parse().unwrap() };
        let (one, other) = (partition("ONE"), partition("OTHER"));
        let why = StoreError::Unreadable("state X".into());
        assert_eq!(waiting.check(), Ok(()));
        waiting.begins(&one, &why);
        waiting.begins(&one, &why);
        let held = waiting.until_dropped(&other);
        waiting.begins(&other, &why);
        assert_eq!(
            waiting.check().unwrap_err(),
            "2 partitions wait until a fault is mended: unreadable"
        );
        waiting.is_over(&one);
        assert!(waiting.check().is_err());
        drop(held);
        assert_eq!(waiting.check(), Ok(()));
    }
}
