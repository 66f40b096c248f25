//! Checking the invariants that the tables alone can show.

use contract::topology::Partition;
use sqlx::Row as _;

use super::scene::{Findings, Scene};

/// A check: the kind of the finding, and SQL that returns one line of text per case. `$1` is the
/// list of shows.
type Check = (&'static str, &'static str);

/// Claims on one seat that overlap in time: it was sold twice for a while, even if not at the end.
const CLAIMS_OVERLAP: Check = (
    "claims on one seat that overlap in time",
    "select a.seat_id || ': ' || a.booking_id || ', ' || b.booking_id
     from seat_claims a join seat_claims b using (show_id, seat_id)
     where show_id = any($1) and a.claim_id < b.claim_id
       and coalesce(a.ended_at, 'infinity') > b.claimed_at",
);

/// Batches that committed after a newer session had begun.
const STALE_EPOCHS: Check = (
    "outcomes that a displaced session wrote",
    "select b.booking_id || ' of epoch ' || b.epoch
     from bookings b
     join partition_sessions s on s.show_id = b.show_id and s.tier = b.tier
       and s.epoch = b.epoch + 1
     where b.show_id = any($1) and b.decided_at > s.began_at",
);

const EVENTS_HAVE_GAPS: Check = (
    "bookings whose events have gaps",
    "with events as materialized (
         select booking_id, seq from outbox_events where show_id = any($1))
     select b.booking_id || ' at ' || b.seq || ' has ' || count(o.seq)
     from bookings b left join events o using (booking_id)
     where b.show_id = any($1)
     group by b.booking_id, b.seq
     having count(o.seq) <> b.seq or max(o.seq) <> b.seq",
);

const EVENTS_WAIT: Check = (
    "events that are not published",
    "select booking_id || ' seq ' || seq from outbox_events
     where show_id = any($1) and published_at is null",
);

/// Bookings rejected with `SEAT_TAKEN` though one of the named seats was free after that
/// transaction; times compare as in `told.rs`.
const NOT_TAKEN: Check = (
    "SEAT_TAKEN where nobody had the seat",
    "select b.booking_id || ' wanted ' || taken.seat_id
     from bookings b
     join partitions p using (show_id, tier)
     cross join unnest(b.taken_seats) as taken (seat_id)
     where b.show_id = any($1) and b.reason = 'SEAT_TAKEN'
       and p.version = (select count(*) from tier_changes t
                        where t.show_id = b.show_id and t.tier = b.tier)
       and not coalesce((
           select taken.seat_id = any(t.claimed) from tier_changes t
           where t.show_id = b.show_id and t.tier = b.tier
             and taken.seat_id = any(t.claimed || t.freed)
             and (t.xmin = b.xmin or t.at < b.decided_at)
           order by t.version desc limit 1), false)",
);

/// Bookings that should have lapsed seconds ago.
const LAPSED_AND_LIVE: Check = (
    "bookings that have lapsed and keep their seats",
    "select booking_id || ' ' || state from bookings
     where show_id = any($1) and state in ('HELD', 'PAYMENT_PENDING')
       and expires_at < clock_timestamp() - interval '5 seconds'",
);

const OPEN_TRANSACTIONS: Check = (
    "transactions left open",
    "select application_name || ' since ' || xact_start from pg_stat_activity
     where state = 'idle in transaction' and xact_start < clock_timestamp() - interval '5 seconds'
       and cardinality($1::uuid[]) >= 0",
);

/// Independent of clocks: a version of a tier may only claim seats that earlier versions left free.
const CLAIMED_TWICE: Check = (
    "seats claimed while they were claimed, by the versions of a tier",
    "select show_id || ' ' || tier || ' ' || seat || ' at ' || version from (
         select show_id, tier, version, seat, step,
             lag(step) over (partition by show_id, tier, seat order by version, step) as before
         from tier_changes, lateral (
             select unnest(freed) as seat, 0 as step union all select unnest(claimed), 1) as s
         where show_id = any($1)) as steps
     where step = 1 and before = 1",
);

const CHECKS: [Check; 5] =
    [EVENTS_HAVE_GAPS, EVENTS_WAIT, LAPSED_AND_LIVE, OPEN_TRANSACTIONS, CLAIMED_TWICE];

/// The checks that compare times of PostgreSQL; skipped if its clock jumped.
const TIMED: [Check; 3] = [CLAIMS_OVERLAP, STALE_EPOCHS, NOT_TAKEN];

/// Admissions against the bucket: `admitted ≤ burst + rate × w` over every window that begins
/// with an admission.
const TOO_MANY_ADMITTED: &str =
    "select count(*) from admissions a join shows s using (show_id)
     cross join lateral (
         select count(*) as n, max(b.admitted_at) as last from admissions b
         where b.show_id = a.show_id and b.admitted_at between a.admitted_at and a.admitted_at + interval '5 seconds') w
     where a.show_id = any($1)
       and w.n > s.room_burst + 1 + s.room_rate_per_second * (extract(epoch from w.last - a.admitted_at) + 1)";

/// Partitions in which more bookings were accepted than decided, by the numbers of requests. This
/// also counts bookings whose clients got no answer.
pub async fn uncounted(scene: &Scene<'_>) -> anyhow::Result<Vec<(Partition, i64)>> {
    let undecided = store::acceptance::undecided(scene.pool).await?;
    let shows = scene.shows();
    Ok(undecided.into_iter().filter(|(partition, _)| shows.contains(&partition.show.0)).collect())
}

pub(super) async fn check(scene: &Scene<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let accepted = scene.accepted();
    for (n, hall) in scene.halls.iter().enumerate() {
        // Accepted bookings without a row have no show; the audit of the first show counts them.
        let accepted = if n == 0 { accepted.as_slice() } else { &[] };
        let audit = store::audit::audit(scene.pool, Some(hall.show), accepted).await?;
        for (what, count) in audit.findings() {
            findings.add_many(what, count, "by the audit");
        }
    }
    for (partition, n) in uncounted(scene).await? {
        findings.add_many("accepted and lost, by the count", n, partition.to_string());
    }
    let shows = scene.shows();
    let timed = TIMED.iter().filter(|_| !scene.steps_clock);
    for (what, sql) in CHECKS.iter().chain(timed) {
        let rows = sqlx::query(*sql).bind(&shows).fetch_all(scene.pool).await?;
        for row in rows {
            findings.add(what, row.try_get::<String, _>(0)?);
        }
    }
    if scene.steps_clock {
        return Ok(());
    }
    let n: i64 = sqlx::query_scalar(TOO_MANY_ADMITTED).bind(&shows).fetch_one(scene.pool).await?;
    findings.add_many("windows in which too many were admitted", n, "by the log of admissions");
    Ok(())
}
