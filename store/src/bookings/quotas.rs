//! Quotas: how many seats of a show an account has, and for how long it kept seats from others
//! without payment.

use std::collections::HashMap;

use contract::{AccountId, BookingId, SeatLabel, ShowId};
use uuid::Uuid;

use super::outcome::Decided;
use crate::{Connection, StoreResult};

/// What an account has of a show, over all tiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Seats of live bookings.
    pub live: i32,
    /// Seats times seconds, over the bookings that ended without payment.
    pub unpaid_seat_seconds: i64,
    /// How many bookings ended without payment.
    pub unpaid_times: i32,
}

/// Locks the quota rows of these accounts, in order, and makes missing rows. An account that does
/// not exist is left out.
pub async fn lock_quotas(
    tx: &mut Connection,
    show: ShowId,
    accounts: &[AccountId],
) -> StoreResult<HashMap<AccountId, Quota>> {
    if accounts.is_empty() {
        return Ok(HashMap::new());
    }
    let mut ids: Vec<Uuid> = accounts.iter().map(|account| account.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query!(
        "insert into account_quotas (show_id, account_id, live)
         select $1, account_id, 0
         from (select account_id from accounts where account_id = any($2)
               order by account_id) as known
         on conflict (show_id, account_id) do update set live = account_quotas.live
         returning account_id, live, unpaid_seat_seconds, unpaid_times",
        show.0,
        &ids,
    )
    .fetch_all(tx)
    .await?;
    let quotas = rows.into_iter().map(|row| {
        let quota = Quota {
            live: row.live,
            unpaid_seat_seconds: row.unpaid_seat_seconds,
            unpaid_times: row.unpaid_times,
        };
        (AccountId(row.account_id), quota)
    });
    Ok(quotas.collect())
}

/// Adds the seats of a batch's winners. The quotas must be there and locked; they are written as
/// new ones so that each is found by the index.
pub(super) async fn raise(
    tx: &mut Connection,
    show: ShowId,
    winners: &[(&Decided, &[SeatLabel])],
) -> StoreResult<()> {
    let accounts: Vec<Uuid> = winners.iter().map(|(d, _)| d.account.0).collect();
    let seats: Vec<i32> = winners
        .iter()
        .map(|(_, seats)| i32::try_from(seats.len()).expect("a request has at most 20 seats"))
        .collect();
    sqlx::query!(
        "insert into account_quotas (show_id, account_id, live)
         select $1, account_id, sum(n)
         from unnest($2::uuid[], $3::integer[]) as w (account_id, n)
         group by account_id
         on conflict (show_id, account_id) do update
         set live = account_quotas.live + excluded.live",
        show.0,
        &accounts,
        &seats,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes the seats of ended bookings off the quotas of their accounts, and adds the time for which
/// unpaid seats were kept from others. The time of a lapsed booking counts up to its limit, however
/// late the booking is ended.
pub(super) async fn settle(
    tx: &mut Connection,
    show: ShowId,
    ended: &[(BookingId, AccountId, usize)],
) -> StoreResult<()> {
    let ids: Vec<Uuid> = ended.iter().map(|(booking, _, _)| booking.0).collect();
    let accounts: Vec<Uuid> = ended.iter().map(|(_, account, _)| account.0).collect();
    let n_seats: Vec<i32> =
        ended.iter().map(|(_, _, n)| i32::try_from(*n).unwrap_or(i32::MAX)).collect();
    sqlx::query!(
        "update account_quotas q
         set live = q.live - e.n, unpaid_seat_seconds = q.unpaid_seat_seconds + e.unpaid,
             unpaid_times = q.unpaid_times + e.times
         from (select e.account_id, sum(e.n)::integer as n,
                   coalesce(sum(kept.seconds), 0)::bigint as unpaid,
                   count(kept.seconds)::integer as times
               from unnest($2::uuid[], $3::uuid[], $4::integer[]) as e (booking_id, account_id, n)
               left join (
                   select c.booking_id, sum(greatest(1, ceil(extract(
                       epoch from least(c.ended_at, b.expires_at) - c.claimed_at)))) as seconds
                   from seat_claims c join bookings b using (show_id, booking_id)
                   where c.show_id = $1 and c.booking_id = any($2)
                     and not exists (
                         select from orders o
                         where o.show_id = $1 and o.booking_id = c.booking_id
                           and o.confirmed_at is not null)
                   group by c.booking_id) as kept using (booking_id)
               group by e.account_id) as e
         where q.show_id = $1 and q.account_id = e.account_id",
        show.0,
        &ids,
        &accounts,
        &n_seats,
    )
    .execute(tx)
    .await?;
    Ok(())
}
