//! The ranks that are in the line, to count how many stand before a rank without asking the store.
//! Ranks are kept in chunks of 65,536, each as a sorted list or as one bit per rank, whichever is
//! smaller: memory grows with the visitors in the line, not with their ranks.

/// Ranks above this are refused: Redis keeps them as doubles and could not tell them apart.
pub(crate) const RANK_MAX: u64 = 1 << 53;

/// Ranks per chunk, as a power of two.
const CHUNK_BITS: u32 = 16;
/// 64-bit words of a chunk that is kept as bits.
const WORDS: usize = 1 << (CHUNK_BITS - 6);
/// A list of more ranks than this takes more memory than the bits do.
const LIST_MAX: usize = 4_096;
/// A chunk of bits with fewer ranks than this becomes a list again; less than [`LIST_MAX`], so that
/// a chunk does not change back and forth.
const BITS_MIN: u32 = 2_048;

/// A set of ranks that counts the ranks before any rank.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// The high bits of the ranks in each chunk, in order; no chunk is empty.
    keys: Vec<u64>,
    /// How many ranks are in each chunk.
    counts: Vec<u32>,
    chunks: Vec<Chunk>,
    len: u64,
}

/// The low 16 bits of the ranks of a chunk.
#[derive(Clone, Debug)]
enum Chunk {
    /// Sorted.
    List(Vec<u16>),
    Bits(Box<[u64; WORDS]>),
}

impl Index {
    /// How many ranks are in the line.
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
        let (key, low) = split(rank);
        let at = self.keys.binary_search(&key).unwrap_or_else(|at| {
            self.keys.insert(at, key);
            self.counts.insert(at, 0);
            self.chunks.insert(at, Chunk::List(Vec::new()));
            at
        });
        let is_new = self.chunks[at].insert(low);
        self.counts[at] += u32::from(is_new);
        self.len += u64::from(is_new);
        is_new
    }

    /// Removes a rank. Returns whether it was there.
    pub(crate) fn remove(&mut self, rank: u64) -> bool {
        let (key, low) = split(rank);
        let Ok(at) = self.keys.binary_search(&key) else { return false };
        if !self.chunks[at].remove(low) {
            return false;
        }
        self.counts[at] -= 1;
        self.len -= 1;
        if self.counts[at] == 0 {
            self.keys.remove(at);
            self.counts.remove(at);
            self.chunks.remove(at);
        } else if self.counts[at] < BITS_MIN {
            self.chunks[at].shrink();
        }
        true
    }

    /// Adds every rank that both other indexes have.
    pub(crate) fn merge_common(&mut self, one: &Self, other: &Self) {
        for (key, chunk) in one.keys.iter().zip(&one.chunks) {
            let Ok(at) = other.keys.binary_search(key) else { continue };
            let theirs = &other.chunks[at];
            chunk.each(|low| {
                if theirs.contains(low) {
                    self.insert(key << CHUNK_BITS | u64::from(low));
                }
            });
        }
    }

    /// Whether the rank is in the line.
    pub(crate) fn contains(&self, rank: u64) -> bool {
        let (key, low) = split(rank);
        self.keys.binary_search(&key).is_ok_and(|at| self.chunks[at].contains(low))
    }

    /// How many stand before the rank, which need not be in the line itself.
    pub(crate) fn before(&self, rank: u64) -> u64 {
        let (key, low) = split(rank);
        let (chunks, within) = match self.keys.binary_search(&key) {
            Ok(at) => (at, self.chunks[at].before(low)),
            Err(at) => (at, 0),
        };
        // One chunk per 65,536 ranks: in a line of millions, some hundred chunks.
        self.counts[..chunks].iter().map(|count| u64::from(*count)).sum::<u64>() + within
    }
}

impl Chunk {
    fn insert(&mut self, low: u16) -> bool {
        match self {
            Self::List(list) => {
                let Err(at) = list.binary_search(&low) else { return false };
                list.insert(at, low);
                if list.len() > LIST_MAX {
                    let mut bits = Box::new([0; WORDS]);
                    for low in list {
                        let (word, bit) = place_of(*low);
                        bits[word] |= bit;
                    }
                    *self = Self::Bits(bits);
                }
                true
            }
            Self::Bits(bits) => {
                let (word, bit) = place_of(low);
                let is_new = bits[word] & bit == 0;
                bits[word] |= bit;
                is_new
            }
        }
    }

    fn remove(&mut self, low: u16) -> bool {
        match self {
            Self::List(list) => list.binary_search(&low).map(|at| list.remove(at)).is_ok(),
            Self::Bits(bits) => {
                let (word, bit) = place_of(low);
                let was_there = bits[word] & bit != 0;
                bits[word] &= !bit;
                was_there
            }
        }
    }

    /// Becomes a list.
    fn shrink(&mut self) {
        if matches!(self, Self::Bits(_)) {
            let mut list = Vec::new();
            self.each(|low| list.push(low));
            *self = Self::List(list);
        }
    }

    fn contains(&self, low: u16) -> bool {
        match self {
            Self::List(list) => list.binary_search(&low).is_ok(),
            Self::Bits(bits) => {
                let (word, bit) = place_of(low);
                bits[word] & bit != 0
            }
        }
    }

    fn before(&self, low: u16) -> u64 {
        match self {
            Self::List(list) => list.partition_point(|one| *one < low) as u64,
            Self::Bits(bits) => {
                let (word, bit) = place_of(low);
                let whole: u32 = bits[..word].iter().map(|word| word.count_ones()).sum();
                u64::from(whole + (bits[word] & (bit - 1)).count_ones())
            }
        }
    }

    /// Calls `with` for each rank of the chunk, in order.
    fn each(&self, mut with: impl FnMut(u16)) {
        match self {
            Self::List(list) => list.iter().for_each(|low| with(*low)),
            Self::Bits(_) => (0..=u16::MAX).filter(|low| self.contains(*low)).for_each(with),
        }
    }
}

/// The key of a rank's chunk, and its low bits.
fn split(rank: u64) -> (u64, u16) {
    let low = rank & u64::from(u16::MAX);
    (rank >> CHUNK_BITS, u16::try_from(low).expect("the low 16 bits fit"))
}

/// The word and the bit of a rank in its chunk.
fn place_of(low: u16) -> (usize, u64) {
    (usize::from(low / 64), 1 << (low % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Within a chunk, around the edge of two, and far apart.
    fn rank() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..300, 65_400u64..65_700, 0u64..RANK_MAX]
    }

    proptest! {
        #[test]
        fn it_counts_as_a_plain_set_does(
            steps in prop::collection::vec((any::<bool>(), rank()), 1..400),
            asked in prop::collection::vec(rank(), 1..20),
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
    fn a_million_ranks_are_counted_drawn_from_any_range_and_cost_little() {
        // Every 64th rank, as sparse as in a draw, inserted out of order.
        const MEMBERS: u64 = 1 << 20;
        const STRIDE: u64 = 64;
        let mut index = Index::default();
        let base = 1 << 40;
        for turn in 0..MEMBERS {
            let scattered = turn * 786_433 % MEMBERS;
            assert!(index.insert(base + scattered * STRIDE));
        }
        assert_eq!(index.len(), MEMBERS);
        for turn in (0..MEMBERS).step_by(4_099) {
            assert_eq!(index.before(base + turn * STRIDE), turn);
            assert_eq!(index.before(base + turn * STRIDE + 1), turn + 1);
        }
        assert!(bytes(&index) < 4 << 20, "{} bytes", bytes(&index));
        for turn in 0..MEMBERS - 1 {
            assert!(index.remove(base + turn * STRIDE));
        }
        assert_eq!((index.len(), index.before(RANK_MAX)), (1, 1));
        assert!(bytes(&index) < 1 << 17, "{} bytes", bytes(&index));
    }

    #[test]
    fn a_crowd_in_one_chunk_is_kept_as_bits_and_counted_as_a_list_is() {
        let mut index = Index::default();
        for rank in 0..60_000 {
            assert!(index.insert(rank));
            assert!(!index.insert(rank));
        }
        assert!(matches!(index.chunks[0], Chunk::Bits(_)));
        assert_eq!((index.before(0), index.before(40_001)), (0, 40_001));
        for rank in 1_000..60_000 {
            assert!(index.remove(rank) && !index.contains(rank));
        }
        assert!(matches!(index.chunks[0], Chunk::List(_)));
        assert_eq!((index.len(), index.before(500), index.before(50_000)), (1_000, 500, 1_000));
    }

    #[test]
    fn one_visitor_costs_little_however_high_the_rank() {
        let mut index = Index::default();
        assert!(index.insert(RANK_MAX));
        assert!(bytes(&index) < 256, "{} bytes", bytes(&index));
        assert!(index.remove(RANK_MAX));
        assert!(index.is_empty() && index.keys.is_empty());
    }

    #[test]
    fn absurd_ranks_are_refused() {
        let mut index = Index::default();
        assert!(!index.insert(u64::MAX));
        assert!(!index.remove(u64::MAX));
        assert!(!index.contains(u64::MAX));
        assert_eq!(index.before(u64::MAX), 0);
        assert!(index.keys.is_empty());
    }

    fn bytes(index: &Index) -> usize {
        let chunks = index.chunks.iter().map(|chunk| match chunk {
            Chunk::List(list) => list.capacity() * 2,
            Chunk::Bits(_) => WORDS * 8,
        });
        let of_chunks: usize = chunks.sum();
        of_chunks + index.chunks.capacity() * size_of::<Chunk>() + index.keys.capacity() * 12
    }
}
