//! Decides a batch: which request gets which seats, or why none. Pure: the same requests, map and
//! facts give the same outcomes.

#[cfg(test)]
mod model;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use contract::{
    AccountId, BookingId, SeatLabel, TicketId,
    booking::{Limit, Reason, Wish},
    message::BookingRequested,
};
use store::bookings::{Decided, Known, Outcome, Quota};

use crate::seat_map::SeatMap;

/// How often an account may keep its most seats unpaid until the hold and the order on them have
/// lapsed. Seats that are given back at once count for a few seconds only.
const UNPAID_ROUNDS: i64 = 2;
/// How often an account may give seats back unpaid before it comes after others.
const UNPAID_TIMES_EXCUSED: i32 = 1;

/// What the database knows and a batch is decided by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) now: DateTime<Utc>,
    pub(crate) max_seats_per_user: i32,
    /// Longest time for which one claim can keep a seat without payment: as a hold, then as an
    /// order.
    pub(crate) unpaid_seconds_max: i64,
    /// Seats that have just come back, which are only for accounts that have not given back unpaid
    /// seats more than once.
    pub(crate) came_back: HashSet<SeatLabel>,
    /// Requests that already have an outcome; keys of decided bookings, where a new booking with such
    /// a key has another body; and spent passes, of the places that were asked about.
    pub(crate) known: Known,
    /// The quotas of the accounts that were asked about. `None` for an account that does not exist.
    pub(crate) quotas: HashMap<AccountId, Option<Quota>>,
}

impl Facts {
    /// Facts for a first round, which shows which seats to lock and which accounts to ask about. It
    /// has no limits: a seat that is locked in vain is given back.
    pub(crate) fn nothing_known() -> Self {
        Self { max_seats_per_user: i32::MAX, ..Self::default() }
    }

    /// Notes the quotas of accounts that were asked about. An account without one does not exist.
    pub(crate) fn note_quotas(
        &mut self,
        asked: &HashMap<AccountId, i32>,
        quotas: &HashMap<AccountId, Quota>,
    ) {
        let noted = asked.keys().map(|account| (*account, quotas.get(account).copied()));
        self.quotas.extend(noted);
    }
}

/// The result of deciding a batch once.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) decided: Vec<Decided>,
    /// Accounts that would win so many seats but whose quotas are not among the facts: ask and decide
    /// again.
    pub(crate) unknown: HashMap<AccountId, i32>,
}

/// Decides the requests in their order. `map` then has the winners' claims.
pub(crate) fn decide(requests: &[BookingRequested], map: &mut SeatMap, facts: &Facts) -> Round {
    let mut deciding = Decider {
        quotas: facts.quotas.clone(),
        keys: facts.known.keys_used.clone(),
        passes: facts.known.passes_spent.clone(),
        seen: facts.known.decided.clone(),
        unknown: HashMap::new(),
        facts,
        map,
    };
    let mut decided = Vec::with_capacity(requests.len());
    for request in requests {
        if !deciding.seen.insert(request.booking_id) {
            continue;
        }
        let (outcome, idempotency_key) = deciding.weigh(request);
        decided.push(Decided {
            booking: request.booking_id,
            account: request.account_id,
            kind: request.kind,
            ticket: request.ticket_id,
            idempotency_key,
            outcome,
        });
    }
    Round { decided, unknown: deciding.unknown }
}

/// Changes `SOLD_OUT` to `ALL_HELD` for requests whose missing seats are only held, by earlier
/// bookings (`held` seats are known) or by this batch's winners.
pub(crate) fn tell_held(
    decided: &mut [Decided],
    requests: &[BookingRequested],
    n_free: usize,
    held: i64,
) {
    let won = decided.iter().map(|d| match &d.outcome {
        Outcome::Allocated { seats } => seats.len(),
        Outcome::Rejected { .. } => 0,
    });
    let may_come_back = usize::try_from(held).unwrap_or(0) + won.sum::<usize>();
    let wanted: HashMap<BookingId, usize> =
        requests.iter().map(|request| (request.booking_id, request.wish.n_seats())).collect();
    for one in decided.iter_mut().filter(|one| one.is_sold_out()) {
        let n = wanted.get(&one.booking).copied().unwrap_or(usize::MAX);
        if may_come_back > 0 && n_free + may_come_back >= n {
            one.outcome = Outcome::rejected(Reason::AllHeld);
        }
    }
}

struct Decider<'a> {
    facts: &'a Facts,
    map: &'a mut SeatMap,
    quotas: HashMap<AccountId, Option<Quota>>,
    keys: HashSet<(AccountId, String)>,
    passes: HashSet<TicketId>,
    seen: HashSet<BookingId>,
    unknown: HashMap<AccountId, i32>,
}

impl Decider<'_> {
    fn weigh(&mut self, request: &BookingRequested) -> (Outcome, Option<String>) {
        let key = request.idempotency_key.clone();
        if let Some(key) = &key
            && !self.keys.insert((request.account_id, key.clone()))
        {
            return (Outcome::rejected(Reason::IdempotencyKeyReused), None);
        }
        let outcome = match self.choose(request) {
            Ok(seats) => {
                self.map.claim(&seats);
                Outcome::Allocated { seats }
            }
            Err(rejected) => rejected,
        };
        (outcome, key)
    }

    fn choose(&mut self, request: &BookingRequested) -> Result<Vec<SeatLabel>, Outcome> {
        if request.deadline <= self.facts.now {
            return Err(Outcome::rejected(Reason::Expired));
        }
        if request.ticket_id.is_some_and(|ticket| self.passes.contains(&ticket)) {
            return Err(Outcome::rejected(Reason::PassUsed));
        }
        let comes_after =
            |quota: &Option<Quota>| quota.is_some_and(|q| q.unpaid_times > UNPAID_TIMES_EXCUSED);
        let seats = if self.quotas.get(&request.account_id).is_some_and(comes_after) {
            self.pick_after_others(&request.wish)?
        } else {
            self.pick(&request.wish)?
        };
        self.charge(request, seats.len())?;
        if let Some(ticket) = request.ticket_id {
            self.passes.insert(ticket);
        }
        Ok(seats)
    }

    /// Picks seats as if those that have just come back were taken.
    fn pick_after_others(&mut self, wish: &Wish) -> Result<Vec<SeatLabel>, Outcome> {
        let hidden: Vec<SeatLabel> =
            self.facts.came_back.iter().filter(|seat| self.map.is_free(seat)).cloned().collect();
        self.map.claim(&hidden);
        let picked = self.pick(wish);
        self.map.free(&hidden);
        // If even those seats would not help, the ordinary reason is given.
        picked.or_else(|_| self.pick(wish).and(Err(Outcome::over(Limit::JustCameBack))))
    }

    fn pick(&mut self, wish: &Wish) -> Result<Vec<SeatLabel>, Outcome> {
        match wish {
            Wish::BestAvailable(n) => {
                self.map.best(usize::from(*n)).ok_or(Outcome::rejected(Reason::SoldOut))
            }
            Wish::Seats(seats) => {
                if !seats.iter().all(|seat| self.map.knows(seat)) {
                    return Err(Outcome::rejected(Reason::Internal));
                }
                let seats = self.map.in_order(seats);
                let taken: Vec<SeatLabel> =
                    seats.iter().filter(|seat| !self.map.is_free(seat)).cloned().collect();
                if taken.is_empty() {
                    return Ok(seats);
                }
                let alternatives = self.map.best(seats.len()).unwrap_or_default();
                Err(Outcome::Rejected {
                    reason: Reason::SeatTaken,
                    limit: None,
                    taken,
                    alternatives,
                })
            }
        }
    }

    /// Counts the seats against the account's limits. Unpaid time includes what the account's live
    /// seats and these may still cost, so that the limit holds whatever becomes of them.
    fn charge(&mut self, request: &BookingRequested, n: usize) -> Result<(), Outcome> {
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        match self.quotas.get_mut(&request.account_id) {
            Some(Some(quota)) => {
                let live = quota.live.saturating_add(n);
                if live > self.facts.max_seats_per_user {
                    return Err(Outcome::over(Limit::Seats));
                }
                let at_stake = i64::from(live).saturating_mul(self.facts.unpaid_seconds_max);
                let most = i64::from(self.facts.max_seats_per_user)
                    .saturating_mul(self.facts.unpaid_seconds_max)
                    .saturating_mul(UNPAID_ROUNDS);
                if quota.unpaid_seat_seconds.saturating_add(at_stake) > most {
                    return Err(Outcome::over(Limit::UnpaidSeatTime));
                }
                quota.live = live;
                Ok(())
            }
            // A token outlived its account, or a message was put into the queue by hand.
            Some(None) => Err(Outcome::rejected(Reason::Internal)),
            None => {
                *self.unknown.entry(request.account_id).or_default() += n;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::booking::Kind;

    use super::*;
    use crate::{example, seat_map::naive::Seats};

    fn map(n: usize) -> SeatMap {
        Seats::drawn(&[".".repeat(n).as_str()]).map()
    }

    fn request(account: AccountId, wish: Wish) -> BookingRequested {
        let plain = example::request(DateTime::UNIX_EPOCH);
        BookingRequested { account_id: account, kind: Kind::Order, wish, ..plain }
    }

    fn facts(requests: &[BookingRequested]) -> Facts {
        let quotas = requests.iter().map(|r| (r.account_id, Some(Quota::default()))).collect();
        Facts { max_seats_per_user: 4, unpaid_seconds_max: 900, quotas, ..Facts::default() }
    }

    fn seats(labels: &[&str]) -> Vec<SeatLabel> {
        labels.iter().map(|label| label.parse().unwrap()).collect()
    }

    fn reasons(round: &Round) -> Vec<Option<Reason>> {
        let reason = |d: &Decided| match &d.outcome {
            Outcome::Allocated { .. } => None,
            Outcome::Rejected { reason, .. } => Some(*reason),
        };
        round.decided.iter().map(reason).collect()
    }

    #[test]
    fn the_second_to_want_a_seat_is_told_which_was_taken_and_what_is_free() {
        let wish = || Wish::Seats(seats(&["A1", "A2"]));
        let requests = [request(AccountId::new(), wish()), request(AccountId::new(), wish())];
        let round = decide(&requests, &mut map(4), &facts(&requests));
        assert_eq!(reasons(&round), [None, Some(Reason::SeatTaken)]);
        assert_eq!(
            round.decided[1].outcome,
            Outcome::Rejected {
                reason: Reason::SeatTaken,
                limit: None,
                taken: seats(&["A1", "A2"]),
                alternatives: seats(&["A3", "A4"]),
            }
        );
    }

    #[test]
    fn seats_are_told_in_the_order_of_the_hall() {
        let requests = [request(AccountId::new(), Wish::Seats(seats(&["A1", "A10", "A2"])))];
        let round = decide(&requests, &mut map(11), &facts(&requests));
        let seats = seats(&["A1", "A2", "A10"]);
        assert_eq!(round.decided[0].outcome, Outcome::Allocated { seats });
    }

    #[test]
    fn limits_passes_keys_deadlines_and_repetitions_are_weighed() {
        let account = AccountId::new();
        let best = |n| request(account, Wish::BestAvailable(n));
        let late = BookingRequested { deadline: DateTime::UNIX_EPOCH, ..best(1) };
        let ticket = Some(TicketId::new());
        let other = AccountId::new();
        let pass =
            |n| BookingRequested { ticket_id: ticket, ..request(other, Wish::BestAvailable(n)) };
        let keyed = |n| BookingRequested { idempotency_key: Some("k".into()), ..best(n) };
        let first = keyed(1);
        let requests = [best(3), best(2), late, pass(1), pass(1), first.clone(), keyed(1), first];
        let round = decide(&requests, &mut map(20), &facts(&requests));
        assert_eq!(
            reasons(&round),
            [
                None,
                Some(Reason::LimitExceeded),
                Some(Reason::Expired),
                None,
                Some(Reason::PassUsed),
                None,
                Some(Reason::IdempotencyKeyReused),
            ]
        );
    }

    #[test]
    fn seats_that_are_never_paid_for_are_not_given_for_ever() {
        let account = AccountId::new();
        let best = |n| request(account, Wish::BestAvailable(n));
        let told = |requests: &[BookingRequested], unpaid_seat_seconds, live| {
            let mut facts = facts(requests);
            facts
                .quotas
                .insert(account, Some(Quota { live, unpaid_seat_seconds, unpaid_times: 0 }));
            let round = decide(requests, &mut map(20), &facts);
            round.decided.into_iter().map(|d| d.outcome).collect::<Vec<_>>()
        };
        let over = Outcome::over(Limit::UnpaidSeatTime);
        let allocated = |outcome: &Outcome| matches!(outcome, Outcome::Allocated { .. });
        assert!(allocated(&told(&[best(4)], 120, 0)[0]), "somebody who thought again");
        assert!(allocated(&told(&[best(4)], 4 * 900, 0)[0]), "once for the whole time");
        assert_eq!(told(&[best(4)], 4 * 900 + 1, 0), std::slice::from_ref(&over));
        assert!(allocated(&told(&[best(3)], 4 * 900 + 1, 0)[0]), "less is there for longer");
        assert_eq!(told(&[best(1)], 2 * 4 * 900, 0), std::slice::from_ref(&over));
        assert_eq!(told(&[best(1)], 5 * 900, 3), std::slice::from_ref(&over), "with those it has");
        let both = told(&[best(2), best(1)], 6 * 900, 0);
        assert!(allocated(&both[0]) && both[1] == over, "with those it has just got: {both:?}");
    }

    #[test]
    fn seats_that_have_just_come_back_are_for_others_first() {
        let (robot, rival) = (AccountId::new(), AccountId::new());
        let told = |requests: &[BookingRequested], n_seats: usize| {
            let mut facts = facts(requests);
            facts.came_back = seats(&["A1", "A2"]).into_iter().collect();
            let gave_back = |unpaid_times| Some(Quota { unpaid_times, ..Quota::default() });
            facts.quotas.insert(robot, gave_back(2));
            facts.quotas.insert(rival, gave_back(1));
            let round = decide(requests, &mut map(n_seats), &facts);
            round.decided.into_iter().map(|d| d.outcome).collect::<Vec<_>>()
        };
        let these = |account| request(account, Wish::Seats(seats(&["A1", "A2"])));
        let any = |account| request(account, Wish::BestAvailable(2));
        let refused = Outcome::over(Limit::JustCameBack);
        let given = |labels| Outcome::Allocated { seats: seats(labels) };
        let both = told(&[these(robot), these(rival)], 4);
        assert_eq!(both, [refused.clone(), given(&["A1", "A2"])]);
        assert_eq!(told(&[any(robot)], 4), [given(&["A3", "A4"])], "others are there");
        assert_eq!(told(&[any(robot), any(rival)], 2), [refused, given(&["A1", "A2"])]);
        let sold_out = Outcome::rejected(Reason::SoldOut);
        assert_eq!(told(&[any(robot)], 1), [sold_out], "and that is true of everybody");
    }

    #[test]
    fn an_unknown_quota_is_asked_for_and_an_unknown_account_refused() {
        let requests = [request(AccountId::new(), Wish::BestAvailable(1))];
        let mut facts = facts(&requests);
        facts.quotas.clear();
        let round = decide(&requests, &mut map(2), &facts);
        assert_eq!(round.unknown, HashMap::from([(requests[0].account_id, 1)]));
        facts.quotas.insert(requests[0].account_id, None);
        let round = decide(&requests, &mut map(2), &facts);
        assert_eq!(reasons(&round), [Some(Reason::Internal)]);
    }

    #[test]
    fn sold_out_is_said_where_the_seats_that_are_missing_are_not_only_held() {
        let want = |n| request(AccountId::new(), Wish::BestAvailable(n));
        let told = |requests: &[BookingRequested], seats: usize, held: i64| {
            let mut map = map(seats);
            let mut round = decide(requests, &mut map, &facts(requests));
            tell_held(&mut round.decided, requests, map.n_offered(), held);
            reasons(&round)
        };
        assert_eq!(told(&[want(2)], 1, 0), [Some(Reason::SoldOut)]);
        assert_eq!(told(&[want(2)], 1, 1), [Some(Reason::AllHeld)]);
        assert_eq!(told(&[want(3)], 1, 1), [Some(Reason::SoldOut)], "too few, come back or not");
        assert_eq!(told(&[want(1), want(1)], 1, 0), [None, Some(Reason::AllHeld)], "just won");
        assert_eq!(told(&[want(1), want(2)], 1, 0), [None, Some(Reason::SoldOut)]);
    }
}
