//! One batch, one transaction.
//!
//! Decide on the map in memory and lock the winners' seats in Redis. Then begin the transaction:
//! lock the partition's row under the session's epoch, catch up with other changes, end lapsed
//! bookings, read the facts, decide for good, write, commit. Running it again after an unknown
//! commit changes nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use contract::{
    AccountId, BookingId, SeatLabel, TicketId,
    booking::{Ending, Limit, Reason, SEATS_PER_REQUEST_MAX},
    message::BookingRequested,
    topology::Partition,
};
use platform::{
    faults::{Guarantee, failpoint, sometimes, without},
    number::float,
};
use store::{
    Connection, StoreError, StoreResult, acceptance,
    bookings::{self, Asked, Decided, Outcome, Quota, SeatsInAdvance},
    partitions::{self, Locked, Terms},
    seat_locks::TriedSeat,
};

use crate::{
    allocator::Allocator,
    come_back::CameBack,
    decide::{Facts, Round, decide, tell_held},
    locks::Locks,
    seat_map::SeatMap,
};

/// A partition as one session knows it.
pub(crate) struct Ledger {
    pub(crate) partition: Partition,
    pub(crate) epoch: i64,
    pub(crate) terms: Terms,
    locks: Arc<Locks>,
    map: SeatMap,
    came_back: CameBack,
    version: i64,
    /// Bookings decided in a transaction whose commit is unknown.
    in_doubt: HashSet<BookingId>,
    /// Seats whose locks were left as they are, because of such a transaction.
    unsettled: Vec<SeatLabel>,
}

/// Seats, each with the booking that it is for.
type SeatsFor = Vec<(SeatLabel, BookingId)>;

impl Ledger {
    /// Reads the partition's seats and terms.
    pub(crate) async fn open(
        allocator: &Allocator,
        partition: Partition,
        epoch: i64,
        locks: Arc<Locks>,
    ) -> StoreResult<Self> {
        let mut opening = partitions::open(&allocator.pool, &partition).await?;
        if without(Guarantee::SeatMap) {
            opening.seats.iter_mut().for_each(|(_, is_claimed)| *is_claimed = false);
        }
        Ok(Self {
            partition,
            epoch,
            terms: opening.terms,
            locks,
            map: SeatMap::new(opening.seats),
            came_back: CameBack::default(),
            version: opening.version,
            in_doubt: HashSet::new(),
            unsettled: Vec::new(),
        })
    }

    /// Reads the map again, because it does not agree with the database.
    pub(crate) async fn reload(&mut self, allocator: &Allocator) -> StoreResult<()> {
        let opening = partitions::open(&allocator.pool, &self.partition).await?;
        self.map = SeatMap::new(opening.seats);
        self.version = opening.version;
        Ok(())
    }

    /// Decides these requests and commits the outcomes. On success the commit has happened.
    pub(crate) async fn settle(
        &mut self,
        allocator: &Allocator,
        requests: &[BookingRequested],
    ) -> StoreResult<()> {
        let (locked, likely) = self.lock_seats(allocator, requests).await;
        failpoint("after-locks");
        let decided = match self.transact(allocator, requests, likely).await {
            Ok(decided) => decided,
            Err(error) => {
                // The bookings may have been decided: here, or by the session after this one.
                if !self.in_doubt.is_empty() || matches!(error, StoreError::StaleEpoch) {
                    self.unsettled.extend(locked.into_iter().map(|(seat, _)| seat));
                } else {
                    self.locks.settle(allocator, &self.tried(locked, &[])).await;
                }
                return Err(error);
            }
        };
        allocator.events.notify_one();
        count(&self.partition, requests.len(), &decided);
        let new: HashSet<BookingId> = decided.iter().map(|d| d.booking).collect();
        let (locked, of_decided_before): (SeatsFor, SeatsFor) =
            locked.into_iter().partition(|(_, booking)| new.contains(booking));
        let mut doubtful = std::mem::take(&mut self.unsettled);
        doubtful.extend(of_decided_before.into_iter().map(|(seat, _)| seat));
        allocator.compare_locks(self.partition.show, doubtful);
        for request in requests {
            self.in_doubt.remove(&request.booking_id);
        }
        self.locks.settle(allocator, &self.tried(locked, &decided)).await;
        Ok(())
    }

    /// The winners' seats, and those of the locked ones that were not won.
    fn tried(&self, locked: SeatsFor, decided: &[Decided]) -> Vec<TriedSeat> {
        let mut tried = Vec::new();
        for one in decided {
            let lasts = Some(self.terms.lasts(one.kind));
            let won = won(std::slice::from_ref(one)).into_iter();
            tried.extend(won.map(|(seat, booking)| TriedSeat { seat, booking, lasts }));
        }
        let won: HashSet<(SeatLabel, BookingId)> =
            tried.iter().map(|won| (won.seat.clone(), won.booking)).collect();
        let lost = locked.into_iter().filter(|given| !won.contains(given));
        tried.extend(lost.map(|(seat, booking)| TriedSeat { seat, booking, lasts: None }));
        tried
    }

    /// Locks the seats of the likely winners, if Redis is there. Returns these seats and the likely
    /// winners' accounts. Another booking's lock is no reason to refuse: no other session can
    /// commit, so the bookings that it had in hand come to this session.
    async fn lock_seats(
        &self,
        allocator: &Allocator,
        requests: &[BookingRequested],
    ) -> (SeatsFor, HashMap<AccountId, i32>) {
        let round = decide(requests, &mut self.map.clone(), &Facts::nothing_known());
        let wanted = won(&round.decided);
        if !wanted.is_empty() {
            self.locks.take(allocator, &wanted).await;
        }
        (wanted, round.unknown)
    }

    async fn transact(
        &mut self,
        allocator: &Allocator,
        requests: &[BookingRequested],
        likely: HashMap<AccountId, i32>,
    ) -> StoreResult<Vec<Decided>> {
        let mut tx = allocator.pool.begin().await?;
        let locked = partitions::lock(&mut tx, &self.partition, Some(self.epoch)).await?;
        self.catch_up(&mut tx, locked.version).await?;
        let mut map = self.map.clone();
        // Lock all quotas that this batch is likely to touch, in one order, before anything that
        // comes after quotas in the order of locks; `end` then finds its own locked. Quotas that are
        // locked later may deadlock; then the batch runs again.
        let show = self.partition.show;
        let due = bookings::due(&mut tx, &self.partition).await?;
        let mut touched = likely.clone();
        for (_, account) in &due {
            touched.entry(*account).or_default();
        }
        let mut advance = SeatsInAdvance::default();
        let mut quotas = advance.lock(&mut tx, show, &touched).await?;
        let lapsed = bookings::end(&mut tx, &self.partition, &due, Ending::Lapsed).await?;
        if !lapsed.is_empty() {
            let nothing_more = touched.keys().map(|account| (*account, 0)).collect();
            quotas = advance.lock(&mut tx, show, &nothing_more).await?;
        }
        for ended in &lapsed {
            map.free(&ended.seats);
            // Noted even if this is rolled back: the seats then come back a little later.
            self.came_back.add(&ended.seats, locked.now);
        }
        let facts = self.facts(&mut tx, requests, locked, &likely, &quotas).await?;
        let decided = self.decide(&mut tx, &mut map, &mut advance, requests, facts).await?;
        let version = bookings::write_outcomes(
            &mut tx,
            &self.partition,
            self.epoch,
            &self.terms,
            &decided,
            &advance,
            locked.now,
        )
        .await?;
        let numbers = requests.iter().filter_map(|request| request.number);
        acceptance::are_decided(&mut tx, &self.partition, numbers).await?;
        failpoint("before-commit");
        if let Err(error) = tx.commit().await {
            self.in_doubt.extend(decided.iter().map(|d| d.booking));
            return Err(error.into());
        }
        failpoint("after-commit");
        // Set only now: a commit that failed must leave the map as the database is.
        self.map = map;
        self.version = version.unwrap_or(locked.version + i64::from(!lapsed.is_empty()));
        Ok(decided)
    }

    /// Applies what the sweep, cancellations and others changed since the last batch.
    async fn catch_up(&mut self, tx: &mut Connection, version: i64) -> StoreResult<()> {
        if version == self.version {
            return Ok(());
        }
        let changes =
            partitions::changes_between(tx, &self.partition, self.version, version).await?;
        for change in changes {
            self.map.free(&change.freed);
            self.came_back.add(&change.freed, change.at);
            self.map.claim(&change.claimed);
        }
        self.version = version;
        Ok(())
    }

    async fn decide(
        &self,
        tx: &mut Connection,
        map: &mut SeatMap,
        advance: &mut SeatsInAdvance,
        requests: &[BookingRequested],
        mut facts: Facts,
    ) -> StoreResult<Vec<Decided>> {
        let before = map.clone();
        loop {
            *map = before.clone();
            let Round { mut decided, unknown } = decide(requests, map, &facts);
            if unknown.is_empty() {
                if decided.iter().any(Decided::is_sold_out) {
                    // Each booking has at least one seat, so this many bookings are enough to tell.
                    let most = i64::try_from(SEATS_PER_REQUEST_MAX).unwrap_or(i64::MAX);
                    let held = bookings::seats_held(tx, &self.partition, most).await?;
                    tell_held(&mut decided, requests, map.n_offered(), held);
                }
                return Ok(decided);
            }
            let show = self.partition.show;
            let quotas = advance.lock(tx, show, &unknown).await?;
            let tickets = tickets(requests, &unknown);
            let known = bookings::known(tx, show, &Asked { tickets, ..Asked::default() }).await?;
            facts.known.passes_spent.extend(known.passes_spent);
            facts.note_quotas(&unknown, &quotas);
        }
    }

    /// What the database knows, of quotas and passes those of the likely winners.
    async fn facts(
        &mut self,
        tx: &mut Connection,
        requests: &[BookingRequested],
        locked: Locked,
        likely: &HashMap<AccountId, i32>,
        quotas: &HashMap<AccountId, Quota>,
    ) -> StoreResult<Facts> {
        let key = |r: &BookingRequested| Some((r.account_id, r.idempotency_key.clone()?));
        let asked = Asked {
            bookings: requests.iter().map(|r| r.booking_id).collect(),
            keys: requests.iter().filter_map(key).collect(),
            tickets: tickets(requests, likely),
        };
        let known = bookings::known(tx, self.partition.show, &asked).await?;
        self.note_repeated(requests, &known.decided);
        let mut facts = Facts {
            now: locked.now,
            max_seats_per_user: self.terms.max_seats_per_user,
            unpaid_seconds_max: self.terms.unpaid_seconds_max(),
            came_back: self.came_back.lately(locked.now),
            known,
            ..Facts::default()
        };
        facts.note_quotas(likely, quotas);
        Ok(facts)
    }

    /// Records the rare path if requests turn out to have been decided before.
    fn note_repeated(&self, requests: &[BookingRequested], decided: &HashSet<BookingId>) {
        if self.in_doubt.iter().any(|booking| decided.contains(booking)) {
            sometimes("ambiguous commit resolved");
        } else if requests.iter().any(|request| decided.contains(&request.booking_id)) {
            sometimes("redelivery deduplicated");
        }
    }
}

/// The places of these accounts' requests.
fn tickets(requests: &[BookingRequested], of: &HashMap<AccountId, i32>) -> Vec<TicketId> {
    let theirs = requests.iter().filter(|request| of.contains_key(&request.account_id));
    theirs.filter_map(|request| request.ticket_id).collect()
}

fn won(decided: &[Decided]) -> SeatsFor {
    let seats = decided.iter().filter_map(|d| match &d.outcome {
        Outcome::Allocated { seats } => Some(seats.iter().map(|seat| (seat.clone(), d.booking))),
        Outcome::Rejected { .. } => None,
    });
    seats.flatten().collect()
}

fn count(partition: &Partition, n_requests: usize, decided: &[Decided]) {
    let n_repeated = n_requests - decided.len();
    metrics::counter!("usher_redelivered_total").increment(n_repeated as u64);
    for limit in [Limit::UnpaidSeatTime, Limit::JustCameBack] {
        let over = Outcome::over(limit);
        let n_over = decided.iter().filter(|d| d.outcome == over).count();
        metrics::counter!("usher_unpaid_limit_reached_total",
            "show" => partition.show.to_string(), "limit" => limit.as_str())
        .increment(n_over as u64);
    }
    let mut reasons: HashMap<Option<Reason>, u64> = HashMap::new();
    for d in decided {
        let reason = match &d.outcome {
            Outcome::Allocated { .. } => None,
            Outcome::Rejected { reason, .. } => Some(*reason),
        };
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, n) in reasons {
        let outcome = reason.map_or("ALLOCATED", Reason::as_str);
        metrics::counter!("usher_decided_total",
            "show" => partition.show.to_string(), "tier" => partition.tier.to_string(),
            "outcome" => outcome)
        .increment(n);
    }
    metrics::histogram!("usher_batch_bookings").record(float(decided.len()));
}
