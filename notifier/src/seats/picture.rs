//! The seats of one show as its watchers know them. It asks nobody.

use std::{collections::HashMap, sync::Arc};

use contract::{SeatLabel, api::catalogue::SeatsChange};
use store::catalogue::seat_map::Taken;
use tokio::sync::broadcast;

/// Most seats in one frame: 35 KB of the longest labels, about half of what a socket buffers.
const FRAME_SEATS_MAX: usize = 1_000;

/// A state, in as many pieces as it needs frames, at least one. Shared by the watchers that come at
/// the same time, and let go of with the last piece.
#[derive(Default)]
pub(crate) struct Pieces {
    all: Arc<[Arc<SeatsChange>]>,
    n_taken: usize,
}

impl Iterator for Pieces {
    type Item = Arc<SeatsChange>;

    fn next(&mut self) -> Option<Arc<SeatsChange>> {
        let piece = self.all.get(self.n_taken).map(Arc::clone);
        match piece {
            Some(_) => self.n_taken += 1,
            None => *self = Self::default(),
        }
        piece
    }
}

pub(super) struct Picture {
    /// The seats that are not free.
    taken: HashMap<SeatLabel, Taken>,
    /// The state for new watchers, until it changes.
    whole: Option<Arc<[Arc<SeatsChange>]>>,
    /// `None` once the show is not told any more.
    changes: Option<broadcast::Sender<Arc<SeatsChange>>>,
}

impl Picture {
    /// A show without taken seats, whose watchers may lag this many changes behind.
    pub(super) fn new(lag_max: usize) -> Self {
        Self { taken: HashMap::new(), whole: None, changes: Some(broadcast::Sender::new(lag_max)) }
    }

    /// The state now, and the changes after it; `None` if the show is not told any more.
    pub(super) fn subscribe(&mut self) -> Option<(Pieces, broadcast::Receiver<Arc<SeatsChange>>)> {
        let changes = self.changes.as_ref()?.subscribe();
        let taken = &self.taken;
        let whole = self.whole.get_or_insert_with(|| {
            let mut pieces = pieces(taken.iter().map(|(seat, taken)| (seat, Some(*taken))));
            if pieces.is_empty() {
                pieces.push(SeatsChange::default());
            }
            pieces.into_iter().map(Arc::new).collect()
        });
        Some((Pieces { all: Arc::clone(whole), n_taken: 0 }, changes))
    }

    /// Takes in what these seats are now: those not in `taken` are free.
    pub(super) fn change(&mut self, seats: &[SeatLabel], taken: &HashMap<SeatLabel, Taken>) {
        let now = seats.iter().map(|seat| (seat, taken.get(seat).copied()));
        let mut news: Vec<_> =
            now.filter(|(seat, now)| self.taken.get(*seat).copied() != *now).collect();
        if news.is_empty() {
            return;
        }
        // A change is read by people; the whole state, which may be long, is not.
        news.sort_by_cached_key(|(seat, _)| seat.natural_key());
        self.whole = None;
        for piece in pieces(news.iter().copied()) {
            // Without a watcher nobody needs to be told.
            let _ = self.changes.as_ref().map(|changes| changes.send(Arc::new(piece)));
        }
        for (seat, now) in news {
            match now {
                Some(now) => self.taken.insert(seat.clone(), now),
                None => self.taken.remove(seat),
            };
        }
    }

    /// Takes in what all seats are now.
    pub(super) fn replace(&mut self, taken: &HashMap<SeatLabel, Taken>) {
        let freed = self.taken.keys().filter(|seat| !taken.contains_key(*seat));
        let seats: Vec<SeatLabel> = freed.chain(taken.keys()).cloned().collect();
        self.change(&seats, taken);
    }

    /// Ends the sockets of all watchers.
    pub(super) fn end(&mut self) {
        self.changes = None;
    }

    /// How many seats are not free.
    pub(super) fn n_taken(&self) -> usize {
        self.taken.len()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.changes.is_none()
    }
}

fn pieces<'a>(seats: impl IntoIterator<Item = (&'a SeatLabel, Option<Taken>)>) -> Vec<SeatsChange> {
    let mut pieces = Vec::new();
    let mut piece = SeatsChange::default();
    let mut n = 0;
    for (seat, now) in seats {
        let list = match now {
            Some(Taken::Held) => &mut piece.held,
            Some(Taken::Sold) => &mut piece.sold,
            None => &mut piece.released,
        };
        list.push(seat.clone());
        n += 1;
        if n == FRAME_SEATS_MAX {
            pieces.push(std::mem::take(&mut piece));
            n = 0;
        }
    }
    if n > 0 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What a watcher knows after this frame.
    fn told(known: &mut HashMap<SeatLabel, Taken>, frame: &SeatsChange) {
        assert!(frame.held.len() + frame.sold.len() + frame.released.len() <= FRAME_SEATS_MAX);
        known.extend(frame.held.iter().map(|seat| (seat.clone(), Taken::Held)));
        known.extend(frame.sold.iter().map(|seat| (seat.clone(), Taken::Sold)));
        known.retain(|seat, _| !frame.released.contains(seat));
    }

    fn hall(states: &[Option<bool>]) -> HashMap<SeatLabel, Taken> {
        let taken = |sold| if sold { Taken::Sold } else { Taken::Held };
        let seats = states.iter().enumerate();
        let seats = seats.filter_map(|(n, state)| Some((label(n), taken((*state)?))));
        seats.collect()
    }

    fn label(n: usize) -> SeatLabel {
        format!("A{n}").parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_watcher_who_comes_at_any_time_knows_what_is_taken(
            halls in vec(vec(any::<Option<bool>>(), 12), 1..8), comes: usize, looks: u16,
        ) {
            let mut picture = Picture::new(64);
            let comes = comes % halls.len();
            let mut watcher = None;
            for (n, states) in halls.iter().enumerate() {
                let now = hall(states);
                if n % 2 == 0 {
                    picture.replace(&now);
                } else {
                    // Only some seats are looked at; the others are seen with the next whole hall.
                    let seats: Vec<_> = (0..12).filter(|n| looks >> n & 1 == 1).map(label).collect();
                    picture.change(&seats, &now);
                }
                if n == comes {
                    watcher = picture.subscribe();
                }
            }
            let last = hall(halls.last().unwrap());
            picture.replace(&last);
            let (whole, mut changes) = watcher.unwrap();
            let mut known = HashMap::new();
            whole.for_each(|piece| told(&mut known, &piece));
            while let Ok(change) = changes.try_recv() {
                told(&mut known, &change);
            }
            prop_assert_eq!(&known, &last);
            let mut late = HashMap::new();
            picture.subscribe().unwrap().0.for_each(|piece| told(&mut late, &piece));
            prop_assert_eq!(late, last);
        }
    }

    #[test]
    fn a_big_hall_comes_in_pieces_and_an_empty_one_in_one() {
        let mut picture = Picture::new(64);
        assert_eq!(picture.subscribe().unwrap().0.count(), 1);
        picture.replace(&hall(&vec![Some(true); 2 * FRAME_SEATS_MAX + 1]));
        assert_eq!(picture.subscribe().unwrap().0.count(), 3);
    }

    #[test]
    fn what_did_not_change_is_not_told() {
        let mut picture = Picture::new(64);
        let taken = hall(&[Some(true), None, Some(false)]);
        picture.replace(&taken);
        let (_, mut changes) = picture.subscribe().unwrap();
        picture.replace(&taken);
        picture.change(&[label(0), label(1)], &taken);
        assert!(changes.try_recv().is_err());
        picture.end();
        assert_eq!(changes.try_recv(), Err(broadcast::error::TryRecvError::Closed));
        assert!(picture.subscribe().is_none());
    }
}
