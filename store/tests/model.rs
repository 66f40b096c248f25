//! What ought to become of bookings: a map and plain rules, no database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::{
    AccountId, BookingId, SeatLabel, TicketId,
    booking::{Ending, Kind, Limit, OrderStatus, Reason, State},
};
use store::bookings::{Decided, Outcome, Quota};

use crate::{
    command::{Command, Forgery, Reply},
    records::{Records, Row},
    rules::{self, Facts, Request},
    stage::{Hall, TIERS},
};

/// Most seats times seconds that the commands of one life take themselves; one lapsing seat costs
/// more.
const COMMANDS_TAKE_MAX: i64 = 600;

pub(crate) struct Model {
    hall: Hall,
    pub(crate) bookings: BTreeMap<BookingId, Booking>,
    versions: [i64; TIERS],
    /// Seats times seconds that each account has kept from others unpaid, without the time that the
    /// commands take themselves.
    unpaid: HashMap<AccountId, i64>,
    /// How many bookings of each account ended unpaid.
    gave_back: HashMap<AccountId, i32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub(crate) account: AccountId,
    pub(crate) tier: usize,
    pub(crate) kind: Kind,
    pub(crate) ticket: Option<TicketId>,
    pub(crate) key: Option<String>,
    pub(crate) outcome: Outcome,
    /// `None` for a rejected one.
    pub(crate) state: Option<State>,
    /// Whether its time is over and it is not swept yet.
    late: bool,
    /// Seconds for which it has kept its seats.
    kept_seconds: i32,
    seq: i32,
    order: Vec<OrderStatus>,
}

impl Booking {
    pub(crate) fn is_live(&self) -> bool {
        self.state.is_some_and(State::is_live)
    }

    fn was_paid(&self) -> bool {
        self.order.contains(&OrderStatus::Confirmed)
    }

    pub(crate) fn seats(&self) -> &[SeatLabel] {
        match &self.outcome {
            Outcome::Allocated { seats } => seats,
            Outcome::Rejected { .. } => &[],
        }
    }

    fn moves(&mut self, state: State, order: Option<OrderStatus>) {
        self.state = Some(state);
        self.late = false;
        self.seq += 1;
        self.order.extend(order);
    }

    fn may_end(&self, ending: Ending) -> bool {
        let Some(state) = self.state else { return false };
        match ending {
            Ending::Lapsed => self.late,
            Ending::Released => state == State::Held && !self.late,
            Ending::PaymentFailed => state == State::PaymentPending && !self.late,
            Ending::Cancelled => {
                state == State::Confirmed || state == State::PaymentPending && !self.late
            }
        }
    }

    fn end(&mut self, ending: Ending) {
        let (state, order) = match ending {
            Ending::Lapsed => (State::Expired, OrderStatus::Expired),
            Ending::Released => (State::Released, OrderStatus::Cancelled),
            Ending::Cancelled => (State::Cancelled, OrderStatus::Cancelled),
            Ending::PaymentFailed => (State::Failed, OrderStatus::Failed),
        };
        self.moves(state, (!self.order.is_empty()).then_some(order));
    }

    pub(crate) fn order_status(&self) -> Option<OrderStatus> {
        self.order.last().copied()
    }

    /// The state that a look at the booking shows now.
    pub(crate) fn seen(&self) -> Option<State> {
        if self.late { Some(State::Expired) } else { self.state }
    }
}

impl Model {
    pub(crate) fn new(hall: &Hall) -> Self {
        let (bookings, unpaid, gave_back) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { hall: hall.clone(), bookings, versions: [0; TIERS], unpaid, gave_back }
    }

    pub(crate) fn free(&self, tier: usize) -> BTreeSet<SeatLabel> {
        let mut free: BTreeSet<SeatLabel> = self.hall.seats[tier].iter().cloned().collect();
        for booking in self.bookings.values().filter(|b| b.is_live()) {
            free.retain(|seat| !booking.seats().contains(seat));
        }
        free
    }

    fn n_live(&self, account: AccountId) -> i32 {
        let own = self.bookings.values().filter(|b| b.account == account && b.is_live());
        i32::try_from(own.map(|b| b.seats().len()).sum::<usize>()).unwrap()
    }

    fn quota(&self, account: AccountId) -> Quota {
        let unpaid_seat_seconds = self.unpaid.get(&account).copied().unwrap_or(0);
        let unpaid_times = self.gave_back.get(&account).copied().unwrap_or(0);
        Quota { live: self.n_live(account), unpaid_seat_seconds, unpaid_times }
    }

    /// Carries a command out, and returns what the store must answer.
    pub(crate) fn perform(&mut self, command: &Command) -> Reply {
        match command {
            Command::Decide(tier, requests) => self.decide(*tier, requests),
            Command::Place(hold, account) => self.place(*hold, *account),
            Command::Pay(booking, account) => self.pay(*booking, *account),
            Command::End(tier, booking, _, ending) => self.end(*tier, &[*booking], *ending),
            Command::TimePasses(booking, seconds) => {
                if let Some(booking) = self.bookings.get_mut(booking) {
                    booking.late = booking.is_live() && booking.state != Some(State::Confirmed);
                    if booking.late {
                        booking.kept_seconds = *seconds;
                    }
                }
                Reply::TimePassed
            }
            Command::Sweep(tier) => self.sweep(*tier),
            Command::Refuse(tier, booking, account, key) => {
                self.refuse(*tier, *booking, *account, key.as_ref())
            }
            Command::Forge(forgery, ..) => match forgery {
                Forgery::SeatOfAnother | Forgery::SeatOfNoShow => {
                    Reply::Denied("seat_claims_one_live".into())
                }
                Forgery::AccountOfNobody => Reply::Denied("account_quotas_locked".into()),
                Forgery::PassOfAnother => Reply::Denied("bookings_pass_used_once".into()),
                Forgery::KeyOfAnother => Reply::Denied("bookings_idempotency".into()),
                Forgery::DecidedBefore => Reply::Denied("bookings_pkey".into()),
                Forgery::OldSession => Reply::StaleEpoch,
            },
        }
    }

    fn decide(&mut self, tier: usize, requests: &[Request]) -> Reply {
        self.sweep(tier);
        let known = &self.hall.accounts[..self.hall.accounts.len() - 1];
        let spent = self.bookings.values().filter(|b| b.is_live() || b.was_paid());
        let facts = Facts {
            free: self.free(tier),
            quotas: known.iter().map(|&account| (account, self.quota(account))).collect(),
            keys: self
                .bookings
                .values()
                .filter_map(|b| Some((b.account, b.key.clone()?)))
                .collect(),
            passes: spent.filter_map(|b| b.ticket).collect(),
            decided: self.bookings.keys().copied().collect(),
        };
        let decided = rules::decide(requests, facts);
        let won = |d: &Decided| matches!(d.outcome, Outcome::Allocated { .. });
        self.versions[tier] += i64::from(decided.iter().any(won));
        for d in &decided {
            let (state, order) = match (won(d), d.kind) {
                (false, _) => (None, Vec::new()),
                (true, Kind::Hold) => (Some(State::Held), Vec::new()),
                (true, Kind::Order) => {
                    (Some(State::PaymentPending), vec![OrderStatus::PaymentPending])
                }
            };
            let booking = Booking {
                account: d.account,
                tier,
                kind: d.kind,
                ticket: d.ticket,
                key: d.idempotency_key.clone(),
                outcome: d.outcome.clone(),
                state,
                late: false,
                kept_seconds: 1,
                seq: 1,
                order,
            };
            self.bookings.insert(d.booking, booking);
        }
        Reply::Decided(decided.into_iter().map(|d| (d.booking, d.outcome)).collect())
    }

    fn place(&mut self, hold: BookingId, account: AccountId) -> Reply {
        let hold = self.bookings.get_mut(&hold);
        let Some(hold) = hold.filter(|b| b.account == account && b.kind == Kind::Hold) else {
            return Reply::NoSuchHold;
        };
        match (hold.state, hold.late) {
            (None, _) => Reply::NoSuchHold,
            (Some(State::Held), false) => {
                hold.moves(State::PaymentPending, Some(OrderStatus::PaymentPending));
                Reply::Placed
            }
            (Some(State::PaymentPending | State::Confirmed), false) => Reply::Placed,
            _ => Reply::HoldExpired,
        }
    }

    fn pay(&mut self, booking: BookingId, account: AccountId) -> Reply {
        let booking = self.bookings.get_mut(&booking).filter(|b| b.account == account);
        let Some(booking) = booking.filter(|b| !b.order.is_empty()) else {
            return Reply::NoSuchOrder;
        };
        match booking.order.last() {
            Some(OrderStatus::PaymentPending) if booking.late => {
                Reply::TooLate(OrderStatus::Expired)
            }
            Some(OrderStatus::PaymentPending) => {
                booking.moves(State::Confirmed, Some(OrderStatus::Confirmed));
                Reply::Paid
            }
            Some(OrderStatus::Confirmed) => Reply::Paid,
            Some(ended) => Reply::TooLate(*ended),
            None => Reply::NoSuchOrder,
        }
    }

    fn sweep(&mut self, tier: usize) -> Reply {
        let here = self.bookings.iter().filter(|(_, b)| b.tier == tier);
        let here: Vec<BookingId> = here.map(|(id, _)| *id).collect();
        self.end(tier, &here, Ending::Lapsed)
    }

    fn end(&mut self, tier: usize, candidates: &[BookingId], ending: Ending) -> Reply {
        let mut ended = BTreeSet::new();
        for id in candidates {
            let booking = self.bookings.get_mut(id).filter(|b| b.may_end(ending));
            if let Some(booking) = booking {
                if !booking.was_paid() {
                    let seats = i64::try_from(booking.seats().len()).unwrap();
                    *self.unpaid.entry(booking.account).or_default() +=
                        seats * i64::from(booking.kept_seconds);
                    *self.gave_back.entry(booking.account).or_default() += 1;
                }
                booking.end(ending);
                ended.insert(*id);
            }
        }
        self.versions[tier] += i64::from(!ended.is_empty());
        Reply::Ended(ended)
    }

    fn refuse(
        &mut self,
        tier: usize,
        booking: BookingId,
        account: AccountId,
        key: Option<&String>,
    ) -> Reply {
        if self.bookings.contains_key(&booking) {
            return Reply::Refused(false);
        }
        let has = |key| self.bookings.values().any(|b| b.account == account && b.key == key);
        let key = key.cloned().filter(|key| !has(Some(key.clone())));
        let refused = Booking {
            account,
            tier,
            kind: Kind::Order,
            ticket: None,
            key,
            outcome: Outcome::rejected(Reason::SaleClosed),
            state: None,
            late: false,
            kept_seconds: 1,
            seq: 1,
            order: Vec::new(),
        };
        self.bookings.insert(booking, refused);
        Reply::Refused(true)
    }

    /// Whether exactly this is stored.
    pub(crate) fn agrees(&self, stored: &Records) -> Result<(), String> {
        let bookings: BTreeMap<BookingId, Row> =
            self.bookings.iter().map(|(id, booking)| (*id, self.row(*id, booking))).collect();
        same("bookings", &bookings, &stored.bookings)?;
        let live = self.bookings.iter().filter(|(_, b)| b.is_live());
        let claims = live.flat_map(|(id, b)| {
            let sold = b.state == Some(State::Confirmed);
            b.seats().iter().map(move |seat| (seat.to_string(), *id, sold))
        });
        same("claims", &claims.collect(), &stored.claims)?;
        for account in &self.hall.accounts {
            let due = self.quota(*account);
            let kept = stored.quotas.get(account).copied().unwrap_or_default();
            same("quotas", &due.live, &kept.live)?;
            same("times", &due.unpaid_times, &kept.unpaid_times)?;
            let took = kept.unpaid_seat_seconds - due.unpaid_seat_seconds;
            if !(0..COMMANDS_TAKE_MAX).contains(&took) {
                return Err(format!("{account} kept seats unpaid: {due:?}, stored {kept:?}"));
            }
        }
        let n_free = |tier| i32::try_from(self.free(tier).len()).unwrap();
        let tiers = [(n_free(0), self.versions[0]), (n_free(1), self.versions[1])];
        same("tiers", &tiers, &stored.tiers)
    }

    fn row(&self, id: BookingId, booking: &Booking) -> Row {
        let words = |seats: &[SeatLabel]| seats.iter().map(ToString::to_string).collect();
        let (reason, limit, taken, alternatives) = match &booking.outcome {
            Outcome::Allocated { .. } => (None, None, Vec::new(), Vec::new()),
            Outcome::Rejected { reason, limit, taken, alternatives } => {
                let reason = Some(reason.as_str().to_owned());
                let limit = limit.map(Limit::as_str).map(ToOwned::to_owned);
                (reason, limit, words(taken), words(alternatives))
            }
        };
        Row {
            booking_id: id.0,
            account_id: booking.account.0,
            tier: self.hall.tiers[booking.tier].tier.to_string(),
            kind: booking.kind.as_str().to_owned(),
            reason,
            limit,
            taken,
            alternatives,
            seats: words(booking.seats()),
            ticket_id: booking.ticket.map(|ticket| ticket.0),
            idempotency_key: booking.key.clone(),
            state: booking.state.map(|state| state.as_str().to_owned()),
            seq: booking.seq,
            order: booking.order.iter().map(|status| status.as_str().to_owned()).collect(),
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, model: &T, stored: &T) -> Result<(), String> {
    if model == stored {
        return Ok(());
    }
    Err(format!("{what} differ\nmodel:  {model:#?}\nstored: {stored:#?}"))
}
