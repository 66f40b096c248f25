//! Makes the locks of some seats what their claims say. It changes only locks that are still as it
//! read them, so any process may do it, for any seats, at any time.

use std::time::Duration;

use contract::{BookingId, SeatLabel, ShowId};
use platform::{cache::Cache, number::millis};
use uuid::Uuid;

use super::call::{MEND, SEATS_PER_CALL_MAX, key, run};
use crate::{Pool, StoreResult, error::readable};

/// A seat's lock, and what it should be.
struct Finding {
    seat: SeatLabel,
    seen: Option<BookingId>,
    wanted: Option<(BookingId, Duration)>,
}

/// Compares the locks of these seats with their claims and mends them: a held seat is locked until
/// its hold or order ends, a sold one until its show is over, a free one only for a booking that
/// is undecided. Returns how many locks changed.
pub async fn mirror(
    pool: &Pool,
    cache: &Cache,
    show: ShowId,
    seats: &[SeatLabel],
) -> anyhow::Result<u64> {
    let mut mended = 0;
    for seats in seats.chunks(SEATS_PER_CALL_MAX) {
        // Read the locks before the claims: a lock that changes after that is left alone.
        let seen = look(cache, show, seats).await?;
        let findings = compare(pool, show, seats, &seen).await?;
        if findings.is_empty() {
            continue;
        }
        let mut call = MEND.prepare_invoke();
        for Finding { seat, seen, wanted } in &findings {
            let text =
                |booking: Option<BookingId>| booking.map_or(String::new(), |b| b.to_string());
            call.key(key(show, seat))
                .arg(text(*seen))
                .arg(text(wanted.map(|(booking, _)| booking)));
            call.arg(millis(wanted.map_or(Duration::ZERO, |(_, ttl)| ttl)));
        }
        mended += run::<u64>(cache, &call).await?;
    }
    Ok(mended)
}

async fn look(
    cache: &Cache,
    show: ShowId,
    seats: &[SeatLabel],
) -> redis::RedisResult<Vec<Option<BookingId>>> {
    let mut get = redis::cmd("MGET");
    for seat in seats {
        get.arg(key(show, seat));
    }
    let mut connection = cache.connection()?;
    let holders: Vec<Option<String>> = cache.observe(get.query_async(&mut connection).await)?;
    Ok(holders.into_iter().map(|holder| holder?.parse().ok()).collect())
}

/// Seats with a live claim, and seats without one whose lock names a decided booking.
async fn compare(
    pool: &Pool,
    show: ShowId,
    seats: &[SeatLabel],
    seen: &[Option<BookingId>],
) -> StoreResult<Vec<Finding>> {
    let labels: Vec<String> = seats.iter().map(|seat| seat.as_str().to_owned()).collect();
    let holders: Vec<Option<Uuid>> = seen.iter().map(|holder| holder.map(|b| b.0)).collect();
    // `offset 0`: seat by seat, by the index (`store::bookings`).
    let rows = sqlx::query!(
        r#"select l.seat_id as "seat_id!", l.holder, c.booking_id as "booking_id?",
               (extract(epoch from c.until - clock_timestamp()) * 1000)::bigint as "left_ms?"
           from unnest($2::text[], $3::uuid[]) as l (seat_id, holder)
           left join lateral (
               select booking_id, case b.state when 'CONFIRMED'
                   then s.starts_at + interval '6 hours' else b.expires_at end as until
               from seat_claims
               join bookings b using (show_id, booking_id)
               join shows s using (show_id)
               where seat_claims.show_id = $1 and seat_claims.seat_id = l.seat_id
                 and seat_claims.state in ('HELD', 'SOLD')
               offset 0) as c
               on c.until > clock_timestamp()
           where c.booking_id is not null
              or exists (select from bookings d
                         where d.show_id = $1 and d.booking_id = l.holder)"#,
        show.0,
        &labels,
        &holders as &[Option<Uuid>],
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            // A lock whose time is over this moment still needs one: Redis takes no zero.
            let ttl = |ms: i64| Duration::from_millis(ms.unsigned_abs().max(1));
            Ok(Finding {
                seat: readable(&row.seat_id)?,
                seen: row.holder.map(BookingId),
                wanted: row.booking_id.zip(row.left_ms).map(|(b, ms)| (BookingId(b), ttl(ms))),
            })
        })
        .collect()
}
