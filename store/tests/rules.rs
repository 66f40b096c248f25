//! Who gets which seats, as plainly as can be said. What is true comes from the model or from the
//! database; the rules are the same, so the two must agree.

use std::collections::{BTreeSet, HashMap, HashSet};

use contract::{
    AccountId, BookingId, SeatLabel, TicketId,
    booking::{Kind, Limit, Reason, Wish},
};
use store::bookings::{Decided, Outcome, Quota};

use crate::stage::{HOLD_SECONDS, MAX_SEATS_PER_USER, ORDER_SECONDS};

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) booking: BookingId,
    pub(crate) account: AccountId,
    pub(crate) kind: Kind,
    pub(crate) wish: Wish,
    pub(crate) key: Option<String>,
    pub(crate) ticket: Option<TicketId>,
}

/// What is true before a batch.
pub(crate) struct Facts {
    pub(crate) free: BTreeSet<SeatLabel>,
    pub(crate) quotas: HashMap<AccountId, Quota>,
    pub(crate) keys: HashSet<(AccountId, String)>,
    pub(crate) passes: HashSet<TicketId>,
    pub(crate) decided: HashSet<BookingId>,
}

/// Decides in order, leaving out what is decided already.
pub(crate) fn decide(requests: &[Request], mut facts: Facts) -> Vec<Decided> {
    let mut decided = Vec::new();
    for request in requests {
        if !facts.decided.insert(request.booking) {
            continue;
        }
        let key = request.key.clone();
        let ours = key.filter(|key| facts.keys.insert((request.account, key.clone())));
        let outcome = if ours == request.key {
            weigh(request, &mut facts)
        } else {
            Outcome::rejected(Reason::IdempotencyKeyReused)
        };
        decided.push(Decided {
            booking: request.booking,
            account: request.account,
            kind: request.kind,
            ticket: request.ticket,
            idempotency_key: ours,
            outcome,
        });
    }
    decided
}

fn weigh(request: &Request, facts: &mut Facts) -> Outcome {
    if request.ticket.is_some_and(|ticket| facts.passes.contains(&ticket)) {
        return Outcome::rejected(Reason::PassUsed);
    }
    let n = request.wish.n_seats();
    let seats: Vec<SeatLabel> = match &request.wish {
        Wish::BestAvailable(_) if facts.free.len() < n => {
            return Outcome::rejected(Reason::SoldOut);
        }
        Wish::BestAvailable(_) => facts.free.iter().take(n).cloned().collect(),
        Wish::Seats(seats) => seats.clone(),
    };
    let taken: Vec<SeatLabel> =
        seats.iter().filter(|seat| !facts.free.contains(seat)).cloned().collect();
    if !taken.is_empty() {
        let alternatives = facts.free.iter().take(1).cloned().collect();
        return Outcome::Rejected { reason: Reason::SeatTaken, limit: None, taken, alternatives };
    }
    let Some(quota) = facts.quotas.get_mut(&request.account) else {
        return Outcome::rejected(Reason::Internal);
    };
    let n = i32::try_from(n).unwrap();
    if quota.live + n > MAX_SEATS_PER_USER {
        return Outcome::over(Limit::Seats);
    }
    let unpaid_max = i64::from(HOLD_SECONDS + ORDER_SECONDS);
    let unpaid = quota.unpaid_seat_seconds + i64::from(quota.live + n) * unpaid_max;
    if unpaid > 2 * i64::from(MAX_SEATS_PER_USER) * unpaid_max {
        return Outcome::over(Limit::UnpaidSeatTime);
    }
    quota.live += n;
    facts.passes.extend(request.ticket);
    facts.free.retain(|seat| !seats.contains(seat));
    Outcome::Allocated { seats }
}
