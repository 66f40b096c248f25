//! Which allocator a partition belongs to. Rendezvous hashing shares the partitions among the live
//! allocators, so that an allocator that comes or goes moves only its own part.

use contract::{deadline::ALLOCATOR_DEAD_AFTER, topology::Partition};
use tokio::time::Instant;
use uuid::Uuid;

/// The live allocators, as last read.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    pub(crate) me: Uuid,
    live: Vec<Uuid>,
    heard_at: Instant,
}

impl Roster {
    /// No allocator is known yet.
    pub(crate) fn new() -> Self {
        Self { me: Uuid::now_v7(), live: Vec::new(), heard_at: Instant::now() }
    }

    /// Whether a partition is this allocator's.
    pub(crate) fn is_ours(&self, partition: &Partition) -> bool {
        winner(&self.live, partition) == Some(self.me)
    }

    /// Takes in the live allocators, and when this one last wrote its heartbeat. Returns whether
    /// the live allocators have changed.
    pub(crate) fn hear(&mut self, live: Vec<Uuid>, heard_at: Option<Instant>) -> bool {
        self.heard_at = heard_at.unwrap_or(self.heard_at);
        std::mem::replace(&mut self.live, live) != self.live
    }

    /// Whether this allocator was silent for so long that others may have its partitions. The epoch
    /// already keeps it from committing; it should also stop.
    pub(crate) fn is_stale(&self) -> bool {
        self.heard_at.elapsed() > ALLOCATOR_DEAD_AFTER
    }
}

/// The allocator with the highest score has the partition. The hash is a standard one, because
/// allocators of different builds must agree.
fn winner(live: &[Uuid], partition: &Partition) -> Option<Uuid> {
    let name = partition.to_string();
    live.iter().copied().max_by_key(|allocator| Uuid::new_v5(allocator, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use contract::ShowId;

    use super::*;

    #[test]
    fn an_allocator_that_goes_moves_only_its_own_partitions() {
        let live: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
        let tier: contract::TierCode = "STANDARD".parse().unwrap();
        let partitions: Vec<Partition> =
            (0..200).map(|_| Partition { show: ShowId::new(), tier: tier.clone() }).collect();
        let mut reversed = live.clone();
        reversed.reverse();
        for partition in &partitions {
            let before = winner(&live, partition).unwrap();
            assert_eq!(winner(&reversed, partition), Some(before));
            let after = winner(&live[1..], partition).unwrap();
            assert!(before == live[0] || before == after);
        }
        let first = partitions.iter().filter(|p| winner(&live, p) == Some(live[0])).count();
        assert!((10..80).contains(&first), "a fifth of 200, roughly: {first}");
    }
}
