//! Who is in the line, as one bit per rank: how many stand before a rank, without asking the
//! store. A Fenwick tree over the counts of 64 ranks each.

/// Ranks above this are refused: a line of more than a hundred million numbers is a mistake, and
/// the memory of a node is bounded by it (24 MiB at worst).
pub(crate) const RANK_MAX: u64 = 100_000_000;

/// The ranks that are in the line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// One bit per rank.
    bits: Vec<u64>,
    /// `sums[i]` counts the ranks in the words `i - lowbit(i)` to `i - 1`; `sums[0]` is unused.
    sums: Vec<u32>,
    len: u64,
}

impl Index {
    /// How many are in the line.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether nobody is in the line.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a rank. Returns whether it is new and within [`RANK_MAX`].
    pub(crate) fn insert(&mut self, rank: u64) -> bool {
        if rank > RANK_MAX {
            return false;
        }
        let (word, bit) = place_of(rank);
        if word >= self.bits.len() {
            self.grow_to(word + 1);
        }
        if self.bits[word] & bit != 0 {
            return false;
        }
        self.bits[word] |= bit;
        self.len += 1;
        let mut at = word + 1;
        while at < self.sums.len() {
            self.sums[at] += 1;
            at += at & at.wrapping_neg();
        }
        true
    }

    /// Removes a rank. Returns whether it was there.
    pub(crate) fn remove(&mut self, rank: u64) -> bool {
        let (word, bit) = place_of(rank.min(RANK_MAX + 1));
        if self.bits.get(word).is_none_or(|bits| bits & bit == 0) {
            return false;
        }
        self.bits[word] &= !bit;
        self.len -= 1;
        let mut at = word + 1;
        while at < self.sums.len() {
            self.sums[at] -= 1;
            at += at & at.wrapping_neg();
        }
        true
    }

    /// Adds every rank that both of two other indexes have.
    pub(crate) fn merge_common(&mut self, one: &Self, other: &Self) {
        let common = one.bits.len().min(other.bits.len());
        if common > self.bits.len() {
            self.bits.resize(common, 0);
        }
        for (mine, (one, other)) in self.bits.iter_mut().zip(one.bits.iter().zip(&other.bits)) {
            *mine |= one & other;
        }
        self.len = self.bits.iter().map(|bits| u64::from(bits.count_ones())).sum();
        self.grow_to(self.bits.len());
    }

    /// Whether the rank is in the line.
    pub(crate) fn contains(&self, rank: u64) -> bool {
        let (word, bit) = place_of(rank.min(RANK_MAX + 1));
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// How many stand before the rank, which need not be in the line itself.
    pub(crate) fn before(&self, rank: u64) -> u64 {
        let (word, bit) = place_of(rank.min(RANK_MAX + 1));
        if word >= self.bits.len() {
            return self.len;
        }
        let mut count = u64::from((self.bits[word] & (bit - 1)).count_ones());
        let mut at = word;
        while at > 0 {
            count += u64::from(self.sums[at]);
            at -= at & at.wrapping_neg();
        }
        count
    }

    fn grow_to(&mut self, words: usize) {
        let words = words.next_power_of_two();
        self.bits.resize(words, 0);
        self.sums = vec![0; words + 1];
        for (word, bits) in self.bits.iter().enumerate() {
            let at = word + 1;
            self.sums[at] += bits.count_ones();
            let parent = at + (at & at.wrapping_neg());
            if parent < self.sums.len() {
                self.sums[parent] += self.sums[at];
            }
        }
    }
}

/// The word and the bit of a rank that is at most `RANK_MAX + 1`.
fn place_of(rank: u64) -> (usize, u64) {
    let word = usize::try_from(rank / 64).expect("a rank is bounded far below the address space");
    (word, 1 << (rank % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_as_a_plain_set_does(
            steps in prop::collection::vec((any::<bool>(), 0u64..3000), 1..400),
            asked in prop::collection::vec(0u64..4000, 1..20),
        ) {
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            for (joins, rank) in steps {
                if joins {
                    prop_assert_eq!(index.insert(rank), model.insert(rank));
                } else {
                    prop_assert_eq!(index.remove(rank), model.remove(&rank));
                }
            }
            prop_assert_eq!(index.len(), model.len() as u64);
            for rank in asked {
                prop_assert_eq!(index.before(rank), model.range(..rank).count() as u64);
                prop_assert_eq!(index.contains(rank), model.contains(&rank));
            }
        }

        #[test]
        fn merged_it_counts_as_the_union_does(
            mine in prop::collection::btree_set(0u64..3000, 0..200),
            one in prop::collection::btree_set(0u64..6000, 0..200),
            other in prop::collection::btree_set(0u64..6000, 0..4000),
            asked in 0u64..7000,
        ) {
            let of = |ranks: &BTreeSet<u64>| {
                let mut index = Index::default();
                for rank in ranks {
                    index.insert(*rank);
                }
                index
            };
            let mut merged = of(&mine);
            merged.merge_common(&of(&one), &of(&other));
            let common = one.intersection(&other).copied();
            let union: BTreeSet<u64> = mine.iter().copied().chain(common).collect();
            prop_assert_eq!(merged.len(), union.len() as u64);
            prop_assert_eq!(merged.before(asked), union.range(..asked).count() as u64);
        }

        #[test]
        fn a_position_never_rises_while_people_join_behind_and_leave(
            gone in prop::collection::vec(1u64..500, 0..300),
        ) {
            let mut index = Index::default();
            for rank in 1..=500 {
                index.insert(rank);
            }
            let (mut next, mut shown) = (501, index.before(400));
            for rank in gone.into_iter().filter(|rank| *rank != 400) {
                index.remove(rank);
                index.insert(next);
                next += 1;
                let now = index.before(400);
                prop_assert!(now <= shown);
                shown = now;
            }
        }
    }

    #[test]
    fn absurd_ranks_cost_no_memory() {
        let mut index = Index::default();
        assert!(!index.insert(u64::MAX));
        assert!(!index.remove(u64::MAX));
        assert!(!index.contains(u64::MAX));
        assert_eq!(index.before(u64::MAX), 0);
        assert!(index.bits.is_empty());
    }
}
