//! Whole sales, decided batch by batch, with every outcome compared with plain sets.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::DateTime;
use contract::{
    AccountId, BookingId, SeatLabel, TicketId,
    booking::{Limit, Reason, Wish},
    message::BookingRequested,
};
use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};
use store::bookings::{Decided, Known, Outcome, Quota};

use super::{Facts, Round, decide};
use crate::{
    example,
    seat_map::{SeatMap, naive::Seats},
};

const N_ACCOUNTS: usize = 4;
const MAX_SEATS_PER_USER: i32 = 5;
/// A hold and its order, in seconds.
const UNPAID_SECONDS_MAX: i64 = 10;

/// A request in small numbers, so that requests meet.
#[derive(Clone, Debug)]
struct Ask {
    /// An index; the last account does not exist.
    account: usize,
    /// Seats by their place in the hall, one past its end included, or a number of seats.
    wish: Result<HashSet<usize>, u16>,
    key: Option<u8>,
    pass: Option<u8>,
    late: bool,
    /// Repeats the request that came this many requests ago.
    repeats: Option<usize>,
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Ask>),
    /// A live booking ends: paid for and cancelled, or after this many seconds without payment.
    End(usize, Option<i64>),
    /// An account has kept seats of another tier unpaid, for this many seat-seconds.
    Elsewhere(usize, i64),
    /// Seats that have come back are now for everybody.
    TimePasses,
    /// Seats change without a batch; the map learns of it when it catches up.
    Claim(HashSet<usize>),
    Free(HashSet<usize>),
}

fn ask() -> impl Strategy<Value = Ask> {
    let seats = proptest::collection::hash_set(0usize..17, 1..4);
    let wish = prop_oneof![3 => seats.prop_map(Ok), 3 => (1u16..5).prop_map(Err)];
    let rarely = |percent| proptest::bool::weighted(f64::from(percent) / 100.0);
    (
        0..=N_ACCOUNTS,
        wish,
        proptest::option::weighted(0.3, 0u8..3),
        proptest::option::weighted(0.3, 0u8..2),
        rarely(5),
        proptest::option::weighted(0.1, 0usize..8),
    )
        .prop_map(|(account, wish, key, pass, late, repeats)| Ask {
            account,
            wish,
            key,
            pass,
            late,
            repeats,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = || proptest::collection::hash_set(0usize..16, 0..3);
    let step = prop_oneof![
        4 => vec(ask(), 1..12).prop_map(Step::Batch),
        2 => (any::<usize>(), proptest::option::weighted(0.8, 1..=UNPAID_SECONDS_MAX))
            .prop_map(|(n, unpaid)| Step::End(n, unpaid)),
        1 => (0..N_ACCOUNTS, 1..5 * UNPAID_SECONDS_MAX).prop_map(|(a, n)| Step::Elsewhere(a, n)),
        1 => Just(Step::TimePasses),
        1 => some().prop_map(Step::Claim),
        1 => some().prop_map(Step::Free),
    ];
    vec(step, 1..12)
}

/// At most sixteen seats: in rows, with aisles, or one long row as general admission has.
fn hall() -> impl Strategy<Value = Seats> {
    prop_oneof![vec("[.xw ]{1,5}", 1..4), vec("[.]{1,16}", 1)].prop_map(|rows| {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        Seats::drawn(&rows)
    })
}

/// The true state of a sale, in sets. It plays the database.
#[derive(Clone)]
struct Sale {
    seats: Seats,
    labels: Vec<SeatLabel>,
    accounts: Vec<AccountId>,
    passes: HashMap<(usize, u8), TicketId>,
    asked: Vec<BookingRequested>,
    decided: HashSet<BookingId>,
    keys: HashSet<(AccountId, String)>,
    live: Vec<(BookingRequested, Vec<SeatLabel>)>,
    /// Seats times seconds that each account has kept from others unpaid.
    unpaid: HashMap<AccountId, i64>,
    /// How often each account has given seats back unpaid.
    gave_back: HashMap<AccountId, i32>,
    /// Seats that have just come back.
    came_back: HashSet<SeatLabel>,
}

impl Sale {
    fn open(seats: Seats) -> Self {
        let labels = seats.labels().collect();
        let accounts = (0..=N_ACCOUNTS).map(|_| AccountId::new()).collect();
        let (passes, asked, decided) = (HashMap::new(), Vec::new(), HashSet::new());
        let (keys, live, unpaid) = (HashSet::new(), Vec::new(), HashMap::new());
        let (gave_back, came_back) = (HashMap::new(), HashSet::new());
        Self {
            seats,
            labels,
            accounts,
            passes,
            asked,
            decided,
            keys,
            live,
            unpaid,
            gave_back,
            came_back,
        }
    }

    fn seats(&self, places: &HashSet<usize>) -> Vec<SeatLabel> {
        let mut seats: Vec<SeatLabel> = places
            .iter()
            .map(|&at| self.labels.get(at).cloned().unwrap_or("Z9".parse().unwrap()))
            .collect();
        seats.sort();
        seats.dedup();
        seats
    }

    fn request(&mut self, ask: &Ask) -> BookingRequested {
        if let Some(before) = ask.repeats.and_then(|n| self.asked.iter().nth_back(n)) {
            return before.clone();
        }
        let request = BookingRequested {
            account_id: self.accounts[ask.account],
            wish: match &ask.wish {
                Ok(places) => Wish::Seats(self.seats(places)),
                Err(n) => Wish::BestAvailable(*n),
            },
            idempotency_key: ask.key.map(|key| key.to_string()),
            ticket_id: ask
                .pass
                .map(|pass| *self.passes.entry((ask.account, pass)).or_insert_with(TicketId::new)),
            deadline: DateTime::UNIX_EPOCH + Duration::from_secs(u64::from(!ask.late)),
            ..example::request(DateTime::UNIX_EPOCH)
        };
        self.asked.push(request.clone());
        request
    }

    fn n_live(&self, account: AccountId) -> usize {
        let own = self.live.iter().filter(|(request, _)| request.account_id == account);
        own.map(|(_, seats)| seats.len()).sum()
    }

    /// What the database says of the accounts that were asked about.
    fn facts(&self, about: &HashSet<AccountId>) -> Facts {
        let nobody = self.accounts[N_ACCOUNTS];
        let quota = |account| Quota {
            live: i32::try_from(self.n_live(account)).unwrap(),
            unpaid_seat_seconds: self.unpaid.get(&account).copied().unwrap_or(0),
            unpaid_times: self.gave_back.get(&account).copied().unwrap_or(0),
        };
        let live = self.live.iter().filter(|(request, _)| about.contains(&request.account_id));
        let passes_spent = live.filter_map(|(request, _)| request.ticket_id).collect();
        let (decided, keys_used) = (self.decided.clone(), self.keys.clone());
        Facts {
            now: DateTime::UNIX_EPOCH,
            max_seats_per_user: MAX_SEATS_PER_USER,
            unpaid_seconds_max: UNPAID_SECONDS_MAX,
            came_back: self.came_back.clone(),
            known: Known { decided, keys_used, passes_spent },
            quotas: about.iter().map(|&a| (a, (a != nobody).then(|| quota(a)))).collect(),
        }
    }

    /// Decides as the ledger does, asking only for the quotas and passes that matter.
    fn decide(&self, map: &mut SeatMap, requests: &[BookingRequested]) -> Vec<Decided> {
        let mut about = HashSet::new();
        loop {
            let mut after = map.clone();
            let Round { decided, unknown } = decide(requests, &mut after, &self.facts(&about));
            if unknown.is_empty() {
                *map = after;
                return decided;
            }
            let known = about.len();
            about.extend(unknown.into_keys());
            assert!(about.len() > known, "every round asks for something new");
        }
    }

    /// Whether the outcome is allowed in the present state.
    fn judge(&self, request: &BookingRequested, outcome: &Outcome) -> bool {
        let account = request.account_id;
        let exists = account != self.accounts[N_ACCOUNTS];
        let key = request.idempotency_key.clone();
        let key_used = key.is_some_and(|key| self.keys.contains(&(account, key)));
        let late = request.deadline <= DateTime::UNIX_EPOCH;
        let pass_used = request.ticket_id.is_some_and(|ticket| {
            self.live.iter().any(|(other, _)| other.ticket_id == Some(ticket))
        });
        let n = request.wish.n_seats();
        let live = i64::try_from(self.n_live(account) + n).unwrap();
        let over = live > i64::from(MAX_SEATS_PER_USER);
        // At most twice all seats for the whole time, even if none of the live seats is ever paid
        // for.
        let unpaid = self.unpaid.get(&account).copied().unwrap_or(0) + live * UNPAID_SECONDS_MAX;
        let kept_unpaid = unpaid > i64::from(2 * MAX_SEATS_PER_USER) * UNPAID_SECONDS_MAX;
        let open = &self.seats;
        let due_of = |open: &Seats| match &request.wish {
            Wish::BestAvailable(n) => open.best(usize::from(*n)),
            Wish::Seats(s) => s.iter().all(|s| open.is_free(s)).then(|| open.in_order(s)),
        };
        // An account that has given back more than once comes after others for seats that came
        // back.
        let mut settled = open.clone();
        if self.gave_back.get(&account).is_some_and(|times| *times > 1) {
            let came_back: Vec<SeatLabel> =
                self.came_back.iter().filter(|s| open.is_free(s)).cloned().collect();
            settled.take(&came_back);
        }
        let (due, free_to_others) = (due_of(&settled), due_of(open).is_some());
        match outcome {
            Outcome::Allocated { seats } => {
                let may = exists && !key_used && !late && !pass_used && !over && !kept_unpaid;
                may && due.as_ref() == Some(seats)
            }
            Outcome::Rejected { reason, limit, taken, alternatives } => {
                let plain = taken.is_empty() && alternatives.is_empty();
                match (reason, &request.wish) {
                    (Reason::IdempotencyKeyReused, _) => plain && key_used,
                    (Reason::Expired, _) => plain && late,
                    (Reason::PassUsed, _) => plain && pass_used,
                    (Reason::LimitExceeded, _) => {
                        let (which, may) = match due {
                            None => (Limit::JustCameBack, free_to_others),
                            Some(_) if over => (Limit::Seats, true),
                            Some(_) => (Limit::UnpaidSeatTime, kept_unpaid),
                        };
                        plain && exists && may && *limit == Some(which)
                    }
                    (Reason::SoldOut, Wish::BestAvailable(_)) => plain && open.n_offered() < n,
                    (Reason::SeatTaken, Wish::Seats(seats)) => {
                        let mut closed = open.in_order(seats);
                        closed.retain(|seat| !open.is_free(seat));
                        let known = seats.iter().all(|seat| self.labels.contains(seat));
                        let offered = open.best(n).unwrap_or_default();
                        known && !taken.is_empty() && *taken == closed && *alternatives == offered
                    }
                    (Reason::Internal, Wish::Seats(seats)) => {
                        plain && !(exists && seats.iter().all(|s| self.labels.contains(s)))
                    }
                    (Reason::Internal, Wish::BestAvailable(_)) => plain && !exists,
                    _ => false,
                }
            }
        }
    }

    /// Applies outcomes one after the other, each judged by the state before it.
    fn settle(
        &mut self,
        requests: &[BookingRequested],
        decided: &[Decided],
    ) -> Result<(), TestCaseError> {
        let mut answers = decided.iter();
        for request in requests {
            if !self.decided.insert(request.booking_id) {
                continue;
            }
            let answer = answers.next().expect("one outcome per booking, in order");
            prop_assert_eq!(answer.booking, request.booking_id);
            prop_assert!(
                self.judge(request, &answer.outcome),
                "{:?} for {:?}",
                answer.outcome,
                request
            );
            let key = request.idempotency_key.clone();
            let ours = key.filter(|key| self.keys.insert((request.account_id, key.clone())));
            prop_assert_eq!(&answer.idempotency_key, &ours);
            if let Outcome::Allocated { seats } = &answer.outcome {
                self.seats.take(seats);
                self.live.push((request.clone(), seats.clone()));
            }
        }
        prop_assert!(answers.next().is_none());
        Ok(())
    }

    /// Carries out a step that is not a batch.
    fn meanwhile(&mut self, step: &Step, map: &mut SeatMap) {
        let owned: HashSet<SeatLabel> =
            self.live.iter().flat_map(|(_, seats)| seats.iter().cloned()).collect();
        match step {
            Step::End(n, unpaid) if !self.live.is_empty() => {
                let (request, seats) = self.live.swap_remove(n % self.live.len());
                let kept = i64::try_from(seats.len()).unwrap() * unpaid.unwrap_or(0);
                *self.unpaid.entry(request.account_id).or_default() += kept;
                *self.gave_back.entry(request.account_id).or_default() +=
                    i32::from(unpaid.is_some());
                self.came_back.extend(seats.iter().cloned());
                map.free(&seats);
                self.seats.give(&seats);
            }
            Step::Elsewhere(account, kept) => {
                *self.unpaid.entry(self.accounts[*account]).or_default() += kept;
                *self.gave_back.entry(self.accounts[*account]).or_default() += 1;
            }
            Step::TimePasses => self.came_back.clear(),
            Step::Batch(..) | Step::End(..) => {}
            Step::Claim(places) => {
                let seats = self.seats(places);
                map.claim(&seats);
                self.seats.take(&seats);
            }
            Step::Free(places) => {
                let mut seats = self.seats(places);
                seats.retain(|seat| !owned.contains(seat));
                map.free(&seats);
                self.seats.give(&seats);
            }
        }
    }

    fn agrees(&self, map: &SeatMap) -> Result<(), TestCaseError> {
        prop_assert!(self.labels.iter().all(|s| map.is_free(s) == self.seats.is_free(s)));
        prop_assert_eq!(map.n_offered(), self.seats.n_offered());
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_outcome_is_true_and_the_map_is_what_the_outcomes_made_of_it(
        seats in hall(),
        steps in steps(),
    ) {
        let (mut map, mut sale) = (seats.map(), Sale::open(seats));
        for step in &steps {
            if let Step::Batch(asks) = step {
                let requests: Vec<_> = asks.iter().map(|ask| sale.request(ask)).collect();
                let decided = sale.decide(&mut map, &requests);
                sale.settle(&requests, &decided)?;
                let again = sale.decide(&mut map, &requests);
                prop_assert!(again.is_empty(), "decided already");
            }
            sale.meanwhile(step, &mut map);
            sale.agrees(&map)?;
        }
    }

    #[test]
    fn a_batch_cut_anywhere_ends_as_the_whole_does(
        seats in hall(),
        asks in vec(ask(), 2..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let (map, mut sale) = (seats.map(), Sale::open(seats));
        let requests: Vec<_> = asks.iter().map(|ask| sale.request(ask)).collect();
        let everybody: HashSet<AccountId> = sale.accounts.iter().copied().collect();
        let outcomes = |decided: &[Decided]| {
            decided.iter().map(|d| (d.booking, d.outcome.clone())).collect::<Vec<_>>()
        };
        let mut whole = map.clone();
        let at_once = decide(&requests, &mut whole, &sale.facts(&everybody)).decided;
        let (first, second) = requests.split_at(cut.index(requests.len()));
        let (mut parts, mut one_by_one) = (map, Vec::new());
        for part in [first, second] {
            let decided = decide(part, &mut parts, &sale.facts(&everybody)).decided;
            sale.settle(part, &decided)?;
            one_by_one.extend(outcomes(&decided));
        }
        prop_assert_eq!(outcomes(&at_once), one_by_one);
        prop_assert!(sale.labels.iter().all(|s| whole.is_free(s) == parts.is_free(s)));
    }
}
