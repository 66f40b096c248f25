//! Commands to bookings, carried out on the real store as the services do it.

use std::collections::{BTreeSet, HashMap, HashSet};

use contract::{
    AccountId, BookingId, OrderId, SeatLabel,
    api::bookings::Customer,
    booking::{Ending, Kind, OrderStatus, Reason},
};
use store::{
    Connection, Pool, StoreError, StoreResult,
    bookings::{
        self, Asked, Decided, Ended, Known, Outcome, Payment, Placement, Refusal, SeatsInAdvance,
    },
    orders,
    partitions::{self, Terms},
};

use crate::{
    rules::{self, Facts, Request},
    stage::{Hall, TIERS},
};

#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// A batch of a tier, under its session's epoch.
    Decide(usize, Vec<Request>),
    Place(BookingId, AccountId),
    Pay(BookingId, AccountId),
    End(usize, BookingId, AccountId, Ending),
    /// The time of a live booking is over, this many seconds after it was decided.
    TimePasses(BookingId, i32),
    Sweep(usize),
    Refuse(usize, BookingId, AccountId, Option<String>),
    /// Outcomes that contradict stored rows, which only the database can notice.
    Forge(Forgery, usize, Vec<Decided>),
}

/// What is wrong with forged outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    SeatOfAnother,
    SeatOfNoShow,
    AccountOfNobody,
    PassOfAnother,
    KeyOfAnother,
    DecidedBefore,
    OldSession,
}

/// What the store answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Decided(Vec<(BookingId, Outcome)>),
    Ended(BTreeSet<BookingId>),
    Placed,
    HoldExpired,
    NoSuchHold,
    Paid,
    TooLate(OrderStatus),
    NoSuchOrder,
    TimePassed,
    Refused(bool),
    /// Denied by this constraint.
    Denied(String),
    StaleEpoch,
}

/// A session for each tier, and a client for the rest.
pub(crate) struct Clerk {
    pool: Pool,
    hall: Hall,
    epochs: [i64; TIERS],
    terms: Vec<Terms>,
    maps: [Map; TIERS],
}

/// The seats of a tier at a version.
#[derive(Clone)]
struct Map {
    version: i64,
    free: BTreeSet<SeatLabel>,
}

impl Clerk {
    /// Begins a session for each tier.
    pub(crate) async fn new(pool: &Pool, hall: &Hall) -> Self {
        for tier in &hall.tiers {
            partitions::begin_session(pool, tier, "clerk").await.unwrap();
        }
        Self::colleague(pool, hall, [1; TIERS]).await
    }

    /// Joins the sessions with these epochs.
    pub(crate) async fn colleague(pool: &Pool, hall: &Hall, epochs: [i64; TIERS]) -> Self {
        let mut terms = Vec::new();
        let mut maps = Vec::new();
        for tier in &hall.tiers {
            let opening = partitions::open(pool, tier).await.unwrap();
            let free = opening.seats.into_iter().filter(|(_, claimed)| !claimed);
            let free = free.map(|(seat, _)| seat.label).collect();
            maps.push(Map { version: opening.version, free });
            terms.push(opening.terms);
        }
        let maps = maps.try_into().unwrap_or_else(|_| unreachable!("a map for each tier"));
        Self { pool: pool.clone(), hall: hall.clone(), epochs, terms, maps }
    }

    pub(crate) async fn perform(&mut self, command: &Command) -> StoreResult<Reply> {
        let pool = &self.pool;
        match command {
            Command::Decide(tier, requests) => self.decide(*tier, requests).await,
            Command::Place(hold, account) => {
                let mut tx = pool.begin().await?;
                let placed = bookings::place(&mut tx, *hold, *account, &customer()).await?;
                tx.commit().await?;
                Ok(match placed {
                    Placement::Placed(order) => {
                        assert_eq!(order.booking_id, *hold);
                        Reply::Placed
                    }
                    Placement::HoldExpired => Reply::HoldExpired,
                    Placement::NoSuchHold => Reply::NoSuchHold,
                })
            }
            Command::Pay(booking, account) => {
                let order = orders::of_booking(pool, self.hall.show, *booking).await?;
                let order = order.map_or_else(OrderId::new, |order| order.order_id);
                let mut tx = pool.begin().await?;
                let payment = bookings::confirm(&mut tx, order, *account).await?;
                tx.commit().await?;
                Ok(match payment {
                    Payment::Confirmed(_) => Reply::Paid,
                    Payment::TooLate(order) => Reply::TooLate(order.status),
                    Payment::NoSuchOrder => Reply::NoSuchOrder,
                })
            }
            Command::End(tier, booking, account, ending) => {
                let tier = &self.hall.tiers[*tier];
                let ended = bookings::end_one(pool, tier, *booking, *account, *ending).await?;
                Ok(told_ended(ended))
            }
            Command::TimePasses(booking, seconds) => {
                time_passes(pool, *booking, *seconds).await?;
                Ok(Reply::TimePassed)
            }
            Command::Sweep(tier) => {
                Ok(told_ended(bookings::sweep(pool, &self.hall.tiers[*tier]).await?))
            }
            Command::Refuse(tier, booking, account, key) => {
                let refusal = Refusal {
                    partition: self.hall.tiers[*tier].clone(),
                    booking: *booking,
                    account: *account,
                    kind: Kind::Order,
                    idempotency_key: key.clone(),
                    number: None,
                    deadline: None,
                    reason: Reason::SaleClosed,
                };
                Ok(Reply::Refused(bookings::refuse(pool, &refusal).await?))
            }
            Command::Forge(forgery, tier, decided) => self.forge(*forgery, *tier, decided).await,
        }
    }

    async fn decide(&mut self, tier: usize, requests: &[Request]) -> StoreResult<Reply> {
        let partition = &self.hall.tiers[tier];
        let mut tx = self.pool.begin().await?;
        let locked = partitions::lock(&mut tx, partition, Some(self.epochs[tier])).await?;
        let mut map = self.maps[tier].clone();
        let (known, latest) = (map.version, locked.version);
        for change in partitions::changes_between(&mut tx, partition, known, latest).await? {
            map.free.extend(change.freed);
            map.free.retain(|seat| !change.claimed.contains(seat));
        }
        let due = bookings::due(&mut tx, partition).await?;
        // As if each request were likely to win, so that what is wrong has to be made right.
        let mut likely: HashMap<AccountId, i32> = HashMap::new();
        for request in requests {
            *likely.entry(request.account).or_default() +=
                i32::try_from(request.wish.n_seats()).unwrap();
        }
        let mut advance = SeatsInAdvance::default();
        let nothing = due.iter().map(|(_, account)| (*account, 0)).collect();
        for seats in [nothing, likely] {
            advance.lock(&mut tx, partition.show, &seats).await?;
        }
        let lapsed = bookings::end(&mut tx, partition, &due, Ending::Lapsed).await?;
        map.free.extend(lapsed.iter().flat_map(|ended| ended.seats.iter().cloned()));
        let facts = self.facts(&mut tx, requests, map.free.clone(), &mut advance).await?;
        let decided = rules::decide(requests, facts);
        let (epoch, terms) = (self.epochs[tier], &self.terms[tier]);
        let version = bookings::write_outcomes(
            &mut tx, partition, epoch, terms, &decided, &advance, locked.now,
        )
        .await?;
        tx.commit().await?;
        for decided in &decided {
            if let Outcome::Allocated { seats } = &decided.outcome {
                map.free.retain(|seat| !seats.contains(seat));
            }
        }
        map.version = version.unwrap_or(locked.version + i64::from(!lapsed.is_empty()));
        self.maps[tier] = map;
        Ok(Reply::Decided(decided.into_iter().map(|d| (d.booking, d.outcome)).collect()))
    }

    async fn facts(
        &self,
        tx: &mut Connection,
        requests: &[Request],
        free: BTreeSet<SeatLabel>,
        advance: &mut SeatsInAdvance,
    ) -> StoreResult<Facts> {
        let show = self.hall.show;
        let nothing_more = requests.iter().map(|r| (r.account, 0)).collect();
        let keys = requests.iter().filter_map(|r| Some((r.account, r.key.clone()?)));
        let asked = Asked {
            bookings: requests.iter().map(|r| r.booking).collect(),
            keys: keys.collect(),
            tickets: requests.iter().filter_map(|r| r.ticket).collect(),
        };
        let quotas = advance.lock(tx, show, &nothing_more).await?;
        let Known { decided, keys_used, passes_spent } = bookings::known(tx, show, &asked).await?;
        Ok(Facts { free, quotas, decided, keys: keys_used, passes: passes_spent })
    }

    async fn forge(
        &self,
        forgery: Forgery,
        tier: usize,
        decided: &[Decided],
    ) -> StoreResult<Reply> {
        let partition = &self.hall.tiers[tier];
        let epoch = self.epochs[tier] - i64::from(forgery == Forgery::OldSession);
        let mut tx = self.pool.begin().await?;
        let forged = async {
            let locked = partitions::lock(&mut tx, partition, Some(epoch)).await?;
            let accounts: Vec<AccountId> = decided.iter().map(|d| d.account).collect();
            bookings::lock_quotas(&mut tx, partition.show, &accounts).await?;
            let (terms, now) = (&self.terms[tier], locked.now);
            let advance = SeatsInAdvance::default();
            bookings::write_outcomes(&mut tx, partition, epoch, terms, decided, &advance, now).await
        };
        let forged = forged.await;
        match forged {
            Err(StoreError::Constraint { constraint, .. }) => Ok(Reply::Denied(constraint)),
            Err(StoreError::StaleEpoch) => Ok(Reply::StaleEpoch),
            Err(other) => Err(other),
            Ok(_) => {
                tx.commit().await?;
                Ok(Reply::Decided(Vec::new()))
            }
        }
    }
}

fn told_ended(ended: impl IntoIterator<Item = Ended>) -> Reply {
    Reply::Ended(ended.into_iter().map(|ended| ended.booking).collect())
}

pub(crate) fn customer() -> Customer {
    Customer { name: "Asha Rao".into(), email: "asha@visitor.example".into(), phone: None }
}

/// Puts the end of a live, unpaid booking and of its order into the past.
async fn time_passes(pool: &Pool, booking: BookingId, seconds: i32) -> StoreResult<()> {
    let mut tx = pool.begin().await?;
    sqlx::query(
        "with late as (
             update bookings set expires_at = clock_timestamp() - interval '1 second'
             where booking_id = $1 and state in ('HELD', 'PAYMENT_PENDING')
             returning show_id, booking_id, expires_at)
         update seat_claims c set claimed_at = expires_at - make_interval(secs => $2)
         from late where c.show_id = late.show_id and c.booking_id = late.booking_id",
    )
    .bind(booking.0)
    .bind(f64::from(seconds))
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "update orders set expires_at = clock_timestamp() - interval '1 second'
         where booking_id = $1 and status = 'PAYMENT_PENDING'",
    )
    .bind(booking.0)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Bookings a command is about.
pub(crate) fn subjects(command: &Command) -> HashSet<BookingId> {
    match command {
        Command::Decide(_, requests) => requests.iter().map(|r| r.booking).collect(),
        Command::Place(booking, _)
        | Command::Pay(booking, _)
        | Command::End(_, booking, ..)
        | Command::TimePasses(booking, _)
        | Command::Refuse(_, booking, ..) => HashSet::from([*booking]),
        Command::Forge(..) | Command::Sweep(_) => HashSet::new(),
    }
}
