//! Everything stored about a show, and what must always be true of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::{AccountId, BookingId, ShowId};
use store::{Pool, audit::audit, bookings::Quota};
use uuid::Uuid;

use crate::stage::{Hall, SEATS_PER_TIER, TIERS};

/// A booking, in the words of its table.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) booking_id: Uuid,
    pub(crate) account_id: Uuid,
    pub(crate) tier: String,
    pub(crate) kind: String,
    pub(crate) reason: Option<String>,
    pub(crate) limit: Option<String>,
    pub(crate) taken: Vec<String>,
    pub(crate) alternatives: Vec<String>,
    pub(crate) seats: Vec<String>,
    pub(crate) ticket_id: Option<Uuid>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) seq: i32,
    /// Every status its order has had, in order.
    pub(crate) order: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) bookings: BTreeMap<BookingId, Row>,
    /// Live claims: the seat, whose it is, and whether it is sold.
    pub(crate) claims: BTreeSet<(String, BookingId, bool)>,
    pub(crate) quotas: HashMap<AccountId, Quota>,
    /// Free seats and version of each tier.
    pub(crate) tiers: [(i32, i64); TIERS],
    /// Claimed and freed seats, by tier and version.
    changes: Vec<(String, i64, Vec<String>, Vec<String>)>,
    /// The booking, its number, the state it tells.
    events: Vec<(Uuid, i32, Option<String>)>,
    /// Where the order of each booking stands.
    orders: BTreeMap<Uuid, String>,
    /// Seats that were given back unpaid: who had each, and for how many seconds.
    unpaid: Vec<(Uuid, f64)>,
}

impl Records {
    pub(crate) async fn read(pool: &Pool, show: ShowId) -> Self {
        let mut connection = pool.acquire().await.unwrap();
        let bookings: Vec<Row> = sqlx::query_as(
            "select booking_id, account_id, tier, kind::text, reason::text,
                 limit_hit as limit,
                 coalesce(taken_seats, '{}') as taken,
                 coalesce(alternatives, '{}') as alternatives, coalesce(seat_ids, '{}') as seats,
                 ticket_id, idempotency_key, state::text, seq,
                 array(select 'PAYMENT_PENDING' from orders o
                       where o.show_id = b.show_id and o.booking_id = b.booking_id)
                 || array(select t.to_status::text
                          from orders o join order_transitions t using (order_id)
                          where o.show_id = b.show_id and o.booking_id = b.booking_id
                          order by t.at) as order
             from bookings b where show_id = $1",
        )
        .bind(show.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let claims: Vec<(String, Uuid, bool)> = sqlx::query_as(
            "select seat_id, booking_id, state = 'SOLD' from seat_claims
             where show_id = $1 and state in ('HELD', 'SOLD')",
        )
        .bind(show.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let quotas: Vec<(Uuid, i32, i64, i32)> = sqlx::query_as(
            "select account_id, live, unpaid_seat_seconds, unpaid_times from account_quotas
             where show_id = $1",
        )
        .bind(show.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let unpaid = sqlx::query_as(
            "select b.account_id,
                 extract(epoch from least(ended_at, expires_at) - claimed_at)::float8
             from seat_claims c join bookings b using (show_id, booking_id)
             where c.show_id = $1 and c.state = 'RELEASED' and not exists (
                 select from orders o join order_transitions t using (order_id)
                 where o.show_id = $1 and o.booking_id = b.booking_id
                   and t.to_status = 'CONFIRMED')",
        )
        .bind(show.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let tiers: Vec<(i32, i64)> = sqlx::query_as(
            "select available, version from partitions where show_id = $1 order by tier",
        )
        .bind(show.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let changes = sqlx::query_as(
            "select tier, version, claimed, freed from tier_changes where show_id = $1
             order by tier, version",
        )
        .bind(show.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let events = sqlx::query_as(
            "select booking_id, seq, event->>'state' from outbox_events where show_id = $1
             order by booking_id, seq",
        )
        .bind(show.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        let orders: Vec<(Uuid, String)> =
            sqlx::query_as("select booking_id, status::text from orders where show_id = $1")
                .bind(show.0)
                .fetch_all(&mut connection)
                .await
                .unwrap();
        Self {
            bookings: bookings.into_iter().map(|row| (BookingId(row.booking_id), row)).collect(),
            claims: claims
                .into_iter()
                .map(|(seat, id, sold)| (seat, BookingId(id), sold))
                .collect(),
            quotas: quotas
                .into_iter()
                .map(|(id, live, unpaid_seat_seconds, unpaid_times)| {
                    (AccountId(id), Quota { live, unpaid_seat_seconds, unpaid_times })
                })
                .collect(),
            unpaid,
            tiers: tiers.try_into().unwrap(),
            changes,
            events,
            orders: orders.into_iter().collect(),
        }
    }

    /// Checks that need no model.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.changes_add_up_to_the_claims()?;
        self.events_tell_every_step()?;
        self.orders_move_forward()?;
        self.unpaid_time_adds_up()
    }

    /// Each seat counts for at least a second, and a begun second counts as a whole one.
    fn unpaid_time_adds_up(&self) -> Result<(), String> {
        for (account, quota) in &self.quotas {
            let own = self.unpaid.iter().filter(|(id, _)| *id == account.0);
            let due: f64 = own.map(|(_, seconds)| seconds.ceil().max(1.0)).sum();
            #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
            let kept = quota.unpaid_seat_seconds as f64;
            if (due - kept).abs() > 0.1 {
                return Err(format!("{account} kept {due} seat-seconds unpaid, stored {kept}"));
            }
        }
        Ok(())
    }

    fn changes_add_up_to_the_claims(&self) -> Result<(), String> {
        let mut claimed: BTreeSet<&str> = BTreeSet::new();
        let mut versions: HashMap<&str, i64> = HashMap::new();
        for (tier, version, claims, frees) in &self.changes {
            let last = versions.entry(tier).or_default();
            *last += 1;
            let gap_free = *last == *version;
            let freed = frees.iter().all(|seat| claimed.remove(seat.as_str()));
            let taken = claims.iter().all(|seat| claimed.insert(seat));
            if !(gap_free && freed && taken) {
                return Err(format!("version {version} of {tier} does not follow: {self:#?}"));
            }
        }
        let live: BTreeSet<&str> = self.claims.iter().map(|(seat, ..)| seat.as_str()).collect();
        let last: i64 = versions.values().sum();
        let free: i32 = self.tiers.iter().map(|(available, _)| available).sum();
        let seats = TIERS * SEATS_PER_TIER - live.len();
        if live == claimed
            && last == self.tiers.iter().map(|(_, version)| version).sum::<i64>()
            && usize::try_from(free) == Ok(seats)
        {
            return Ok(());
        }
        Err(format!("the changes add up to {claimed:?}: {self:#?}"))
    }

    fn events_tell_every_step(&self) -> Result<(), String> {
        let mut events = self.events.iter();
        for row in self.bookings.values() {
            for seq in 1..=row.seq {
                let Some((booking, told, state)) = events.next() else {
                    return Err(format!("event {seq} of {row:?} is missing"));
                };
                let last = seq == row.seq;
                if *booking != row.booking_id || *told != seq || (last && *state != row.state) {
                    return Err(format!("{state:?} is told as step {told}, not {seq} of {row:?}"));
                }
            }
        }
        events.next().map_or(Ok(()), |event| Err(format!("nothing happened for {event:?}")))
    }

    fn orders_move_forward(&self) -> Result<(), String> {
        for row in self.bookings.values() {
            let words: Vec<&str> = row.order.iter().map(String::as_str).collect();
            let allowed = match words[..] {
                [] => row.kind == "HOLD" || row.state.is_none(),
                ["PAYMENT_PENDING"] => true,
                ["PAYMENT_PENDING", end] => end != "PAYMENT_PENDING",
                ["PAYMENT_PENDING", "CONFIRMED", end] => end == "CANCELLED",
                _ => false,
            };
            let current = self.orders.get(&row.booking_id).map(String::as_str);
            // An order says where its booking stands.
            let agrees = current.is_none_or(|current| row.state.as_deref() == Some(current));
            if !allowed || current != words.last().copied() || !agrees {
                return Err(format!("an order cannot go this way: {row:?}, {current:?}"));
            }
        }
        Ok(())
    }
}

/// Whether the audit finds nothing in this show, where these bookings were accepted.
pub(crate) async fn audited(
    pool: &Pool,
    hall: &Hall,
    accepted: &[BookingId],
) -> Result<(), String> {
    let found = audit(pool, Some(hall.show), accepted).await.unwrap();
    // Nothing is published here, so waiting events are no fault.
    let found = store::audit::Audit { events_stuck: 0, ..found };
    if found.is_clean() { Ok(()) } else { Err(format!("{found:?}")) }
}
