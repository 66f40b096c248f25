//! The audit: counts what must never happen.

use contract::{BookingId, ShowId, topology::Partition};
use uuid::Uuid;

use crate::{Pool, StoreResult, acceptance};

/// Counts of what must never happen. A clean audit is all zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Seats with more than one live claim.
    pub seats_sold_twice: i64,
    /// Bookings that clients say were accepted and that have no outcome.
    pub accepted_without_outcome: i64,
    /// Partitions with accepted requests that have no outcome although their queue is gone or their
    /// time is over, and how many.
    pub accepted_and_lost: Vec<(Partition, i64)>,
    /// Live orders that lack a claim on one of their seats.
    pub orders_without_seats: i64,
    /// Live claims that no live booking accounts for.
    pub seats_without_order: i64,
    /// Bookings whose claims are not exactly their seats.
    pub bookings_in_part: i64,
    /// Passes that bought more than one live booking.
    pub passes_used_twice: i64,
    /// Accounts over their limit, or whose count differs from their live seats.
    pub quotas_wrong: i64,
    /// Tiers whose free seats differ from their capacity less the live claims.
    pub tiers_miscounted: i64,
    /// Messages of events that have waited more than ten seconds for the broker.
    pub events_stuck: i64,
}

impl Audit {
    /// Every figure with its name.
    #[must_use]
    pub fn findings(&self) -> Vec<(&'static str, i64)> {
        vec![
            ("seats sold twice", self.seats_sold_twice),
            ("accepted without outcome", self.accepted_without_outcome),
            ("accepted and lost", self.accepted_and_lost.iter().map(|(_, count)| count).sum()),
            ("orders without seats", self.orders_without_seats),
            ("seats without order", self.seats_without_order),
            ("bookings in part", self.bookings_in_part),
            ("passes used twice", self.passes_used_twice),
            ("quotas wrong", self.quotas_wrong),
            ("tiers miscounted", self.tiers_miscounted),
            ("events stuck", self.events_stuck),
        ]
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, count)| *count == 0)
    }
}

/// Counts over one show or all, and over the bookings that clients say were accepted.
pub async fn audit(
    pool: &Pool,
    show: Option<ShowId>,
    accepted: &[BookingId],
) -> StoreResult<Audit> {
    let accepted: Vec<Uuid> = accepted.iter().map(|id| id.0).collect();
    let row = sqlx::query!(
        r#"with live_claims as materialized (
               select show_id, seat_id, booking_id from seat_claims
               where state in ('HELD', 'SOLD') and ($1::uuid is null or show_id = $1)),
           live_bookings as materialized (
               select show_id, booking_id, account_id, seat_ids, ticket_id from bookings
               where state in ('HELD', 'PAYMENT_PENDING', 'CONFIRMED')
                 and ($1::uuid is null or show_id = $1)),
           claimed as materialized (
               select show_id, booking_id, array_agg(seat_id order by seat_id) as seats
               from live_claims group by show_id, booking_id)
           select
               (select count(*) from (select from live_claims group by show_id, seat_id
                                      having count(*) > 1) as twice)
                   as "seats_sold_twice!",
               (select count(*) from unnest($2::uuid[]) as promised (booking_id)
                where not exists (select from bookings b
                                  where b.booking_id = promised.booking_id))
                   as "accepted_without_outcome!",
               (select count(*) from orders o left join claimed c using (show_id, booking_id)
                where o.status in ('PAYMENT_PENDING', 'CONFIRMED')
                  and ($1::uuid is null or o.show_id = $1)
                  and (c.seats is null or not c.seats @> o.seat_ids))
                   as "orders_without_seats!",
               (select count(*) from live_claims c
                where not exists (select from live_bookings b
                                  where b.show_id = c.show_id and b.booking_id = c.booking_id
                                    and c.seat_id = any(b.seat_ids)))
                   as "seats_without_order!",
               (select count(*) from live_bookings b left join claimed c using (show_id, booking_id)
                where c.seats is distinct from
                      (select array_agg(s order by s) from unnest(b.seat_ids) as s))
                   as "bookings_in_part!",
               (select count(*) from (select from live_bookings where ticket_id is not null
                                      group by show_id, ticket_id having count(*) > 1) as twice)
                   as "passes_used_twice!",
               (select count(*) from account_quotas q join shows s using (show_id)
                left join (select show_id, account_id, sum(cardinality(seat_ids)) as seats
                           from live_bookings group by show_id, account_id) as b
                    on b.show_id = q.show_id and b.account_id = q.account_id
                where ($1::uuid is null or q.show_id = $1)
                  and (q.live > s.max_seats_per_user or q.live <> coalesce(b.seats, 0)))
                   as "quotas_wrong!",
               (select count(*) from partitions p
                left join (select show_id, s.tier, count(*) as seats
                           from live_claims c join show_seats s using (show_id, seat_id)
                           group by show_id, s.tier) as c
                    on c.show_id = p.show_id and c.tier = p.tier
                where ($1::uuid is null or p.show_id = $1)
                  and p.available <> p.capacity - coalesce(c.seats, 0))
                   as "tiers_miscounted!",
               (select count(*) from outbox
                where published_at is null
                  and created_at < clock_timestamp() - interval '10 seconds'
                  and ($1::uuid is null or show_id = $1))
                   as "events_stuck!""#,
        show.map(|show| show.0),
        &accepted,
    )
    .fetch_one(pool)
    .await?;
    let accepted_and_lost = acceptance::lost(&mut pool.acquire().await?, show).await?;
    Ok(Audit {
        accepted_and_lost,
        seats_sold_twice: row.seats_sold_twice,
        accepted_without_outcome: row.accepted_without_outcome,
        orders_without_seats: row.orders_without_seats,
        seats_without_order: row.seats_without_order,
        bookings_in_part: row.bookings_in_part,
        passes_used_twice: row.passes_used_twice,
        quotas_wrong: row.quotas_wrong,
        tiers_miscounted: row.tiers_miscounted,
        events_stuck: row.events_stuck,
    })
}
