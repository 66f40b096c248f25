//! Quotas: how many seats of a show an account has, and for how long it kept seats from others
//! without payment.

use std::collections::HashMap;

use contract::{AccountId, BookingId, SeatLabel, ShowId};
use uuid::Uuid;

use super::outcome::Decided;
use crate::{Connection, StoreResult, error::all_written};

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

/// The seats that a batch added to quotas when it locked them, because it is likely to decide so: a
/// winner's quota is then written once.
#[derive(Debug, Default)]
pub struct SeatsInAdvance(HashMap<AccountId, i32>);

impl SeatsInAdvance {
    /// Locks the quotas of these accounts as [`lock_quotas`] does, and adds the seats to them. The
    /// quotas that it returns are without what was added.
    pub async fn lock(
        &mut self,
        tx: &mut Connection,
        show: ShowId,
        likely: &HashMap<AccountId, i32>,
    ) -> StoreResult<HashMap<AccountId, Quota>> {
        let mut quotas = lock(tx, show, likely).await?;
        for (account, quota) in &mut quotas {
            let added = self.0.entry(*account).or_default();
            *added += likely[account];
            quota.live -= *added;
        }
        Ok(quotas)
    }

    /// Makes the quotas right for the winners of the batch, which must be locked.
    pub(super) async fn settle(
        &self,
        tx: &mut Connection,
        show: ShowId,
        winners: &[(&Decided, &[SeatLabel])],
    ) -> StoreResult<()> {
        let mut missing: HashMap<AccountId, i32> =
            self.0.iter().map(|(account, added)| (*account, -added)).collect();
        for (decided, seats) in winners {
            *missing.entry(decided.account).or_default() += n_seats(seats.len());
        }
        missing.retain(|_, n| *n != 0);
        if missing.is_empty() {
            return Ok(());
        }
        let (accounts, seats): (Vec<Uuid>, Vec<i32>) =
            missing.into_iter().map(|(account, n)| (account.0, n)).unzip();
        // `offset 0`: account by account, by the index (`store::bookings`).
        let written = sqlx::query!(
            "update account_quotas q set live = q.live + m.n
             from unnest($2::uuid[], $3::integer[]) as m (account_id, n)
             cross join lateral (
                 select ctid from account_quotas
                 where show_id = $1 and account_id = m.account_id offset 0) as found
             where q.ctid = found.ctid",
            show.0,
            &accounts,
            &seats,
        )
        .execute(tx)
        .await?
        .rows_affected();
        all_written(written, accounts.len(), "account_quotas_locked")
    }
}

fn n_seats(n: usize) -> i32 {
    i32::try_from(n).expect("a booking has at most 20 seats")
}

/// Locks the quota rows of these accounts, in order, and makes missing rows. An account that does
/// not exist is left out.
pub async fn lock_quotas(
    tx: &mut Connection,
    show: ShowId,
    accounts: &[AccountId],
) -> StoreResult<HashMap<AccountId, Quota>> {
    lock(tx, show, &accounts.iter().map(|account| (*account, 0)).collect()).await
}

async fn lock(
    tx: &mut Connection,
    show: ShowId,
    to_add: &HashMap<AccountId, i32>,
) -> StoreResult<HashMap<AccountId, Quota>> {
    if to_add.is_empty() {
        return Ok(HashMap::new());
    }
    let (accounts, seats): (Vec<Uuid>, Vec<i32>) =
        to_add.iter().map(|(account, n)| (account.0, *n)).unzip();
    // `offset 0`: account by account, by the index (`store::bookings`).
    let rows = sqlx::query!(
        "insert into account_quotas (show_id, account_id, live)
         select $1, a.account_id, a.n
         from unnest($2::uuid[], $3::integer[]) as a (account_id, n)
         cross join lateral (
             select from accounts where account_id = a.account_id offset 0) as known
         order by a.account_id
         on conflict (show_id, account_id) do update
         set live = account_quotas.live + excluded.live
         returning account_id, live, unpaid_seat_seconds, unpaid_times",
        show.0,
        &accounts,
        &seats,
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
    let n_seats: Vec<i32> = ended.iter().map(|(_, _, n)| n_seats(*n)).collect();
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
                   where c.booking_id = any($2)
                     and not exists (
                         select from orders o
                         where o.show_id = $1 and o.booking_id = c.booking_id
                           and o.confirmed_at is not null)
                   group by c.booking_id) as kept using (booking_id)
               group by e.account_id) as e
         cross join lateral (
             select ctid from account_quotas
             where show_id = $1 and account_id = e.account_id offset 0) as found
         where q.ctid = found.ctid",
        show.0,
        &ids,
        &accounts,
        &n_seats,
    )
    .execute(tx)
    .await?;
    Ok(())
}
