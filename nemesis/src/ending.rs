//! The end of a run: waits until the backends serve, until everything is decided and published, and
//! until nothing is left to do.

use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::clock;
use store::Pool;
use tokio::time::{Instant, sleep};

use crate::{
    arena::Arena,
    check::{self, Scene},
    sale::Hall,
    story::Story,
};

/// Longest wait for the rest of the work, without time that the backends take.
pub(crate) const QUIET_WAIT: Duration = Duration::from_secs(45);
/// Longest wait for the rest of the work, even with slow backends.
const QUIET_WAIT_MAX: Duration = Duration::from_mins(5);
/// Longest wait for the backends to serve; after that the run goes on.
const SERVING_WAIT: Duration = Duration::from_mins(1);

/// A booking's wait for its decision.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub since: DateTime<Utc>,
    pub took: Duration,
}

/// The longest wait of an accepted booking, as far as clocks can tell; `None` if none was decided.
pub(crate) async fn longest_wait(pool: &Pool, stories: &[Story]) -> anyhow::Result<Option<Wait>> {
    let (ids, times) = accepted_at(stories);
    let longest: Option<(DateTime<Utc>, f64)> = sqlx::query_as(
        "select accepted.at, greatest(extract(epoch from b.decided_at - accepted.at), 0)::float8
         from unnest($1::uuid[], $2::timestamptz[]) as accepted (id, at)
         join bookings b on b.booking_id = accepted.id
         order by 2 desc limit 1",
    )
    .bind(&ids)
    .bind(&times)
    .fetch_optional(pool)
    .await?;
    Ok(longest.map(|(since, took)| Wait { since, took: Duration::from_secs_f64(took) }))
}

/// Waits until the backends serve again, which counts as the end of the faults: a killed broker
/// takes time to recover its queues.
pub(crate) async fn serving(arena: &Arena, pool: &Pool, halls: &[Hall]) {
    let until = Instant::now() + SERVING_WAIT;
    while Instant::now() < until {
        let postgres = store::pool::check(pool.clone()).await.is_ok();
        if postgres && check::left_over(arena, halls).await.is_ok() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The end of the last fault, and the bookings decided and events published before it. They are
/// listed, since only PostgreSQL's clock says when, and that clock may have been wrong.
pub(crate) struct Healed {
    pub(crate) on: DateTime<Utc>,
    decided: Vec<uuid::Uuid>,
    published: Vec<i64>,
}

impl Healed {
    pub(crate) async fn now(pool: &Pool, halls: &[Hall]) -> Self {
        let shows: Vec<uuid::Uuid> = halls.iter().map(|hall| hall.show.0).collect();
        let decided = sqlx::query_scalar("select booking_id from bookings where show_id = any($1)");
        let published = sqlx::query_scalar(
            "select outbox_id from outbox where show_id = any($1) and published_at is not null",
        );
        // If they cannot be read, every booking counts as done later.
        let decided = decided.bind(&shows).fetch_all(pool).await.unwrap_or_default();
        let published = published.bind(&shows).fetch_all(pool).await.unwrap_or_default();
        Self { on: clock::now(), decided, published }
    }
}

/// The longest wait of an accepted booking for its outcome and for its publication, counted from
/// `healed`, or from its acceptance if that was later: the line may admit buyers after the end of
/// the faults.
pub(crate) async fn converged(scene: &Scene<'_>, healed: &Healed) -> Result<Duration, String> {
    let (accepted, times) = accepted_at(scene.stories);
    let shows: Vec<uuid::Uuid> = scene.halls.iter().map(|hall| hall.show.0).collect();
    // It goes through four attempts, and is waited for, but not timed.
    let poison: Vec<uuid::Uuid> = scene.poison.iter().map(|booking| booking.0).collect();
    // The last buyers may have come long after the end of the faults.
    let began = Instant::now();
    let is_patient = || {
        let own = scene.probe.own(healed.on, clock::now());
        began.elapsed() < (QUIET_WAIT + own).min(QUIET_WAIT_MAX)
    };
    let mut why = String::new();
    while is_patient() {
        let left: Result<(i64, i64, Option<f64>), sqlx::Error> = sqlx::query_as(
            "select (select count(*) from unnest($1::uuid[] || $7::uuid[]) as a (id)
                     where not exists (select from bookings b where b.booking_id = a.id)),
                (select count(*) from outbox where show_id = any($3) and published_at is null),
                extract(epoch from greatest(
                    (select max(b.decided_at - greatest(a.at, $4))
                     from unnest($1::uuid[], $2::timestamptz[]) as a (id, at)
                     join bookings b on b.booking_id = a.id
                     where b.booking_id <> all($5)),
                    (with events as materialized (
                         select show_id, booking_id, published_at from outbox_events
                         where show_id = any($3) and seq = 1 and outbox_id <> all($6))
                     select max(o.published_at - greatest(b.decided_at, $4))
                     from events o join bookings b using (show_id, booking_id))))::float8",
        )
        .bind(&accepted)
        .bind(&times)
        .bind(&shows)
        .bind(healed.on)
        .bind(&healed.decided)
        .bind(&healed.published)
        .bind(&poison)
        .fetch_one(scene.pool)
        .await;
        why = match left {
            Ok((0, 0, longest)) => {
                return Ok(Duration::from_secs_f64(longest.unwrap_or_default().max(0.0)));
            }
            Ok((bookings, events, _)) => {
                format!("{bookings} accepted bookings are undecided, {events} events unpublished")
            }
            Err(error) => format!("what is left cannot be counted: {error}"),
        };
        sleep(Duration::from_millis(200)).await;
    }
    Err(why)
}

/// The accepted bookings, and when their buyers heard of the acceptance.
fn accepted_at(stories: &[Story]) -> (Vec<uuid::Uuid>, Vec<DateTime<Utc>>) {
    let accepted = stories.iter().filter(|story| story.accepted);
    let each = accepted.flat_map(|story| {
        let at = story.accepted_at.unwrap_or(story.asked_at);
        story.ids.iter().map(move |id| (id.0, at))
    });
    each.unzip()
}

/// Waits until lapses are done and Redis has caught up, for [`QUIET_WAIT`]; the checks find what is
/// left.
pub(crate) async fn settled(scene: &Scene<'_>) {
    let until = Instant::now() + QUIET_WAIT;
    let shows: Vec<uuid::Uuid> = scene.halls.iter().map(|hall| hall.show.0).collect();
    while Instant::now() < until {
        let open: Result<i64, sqlx::Error> = sqlx::query_scalar(
            "select (select count(*) from bookings where show_id = any($1)
                       and state in ('HELD', 'PAYMENT_PENDING'))
                  + (select count(*) from outbox where show_id = any($1) and published_at is null)",
        )
        .bind(&shows)
        .fetch_one(scene.pool)
        .await;
        if matches!(open, Ok(0)) {
            let locks = check::lock_differences(scene.arena, scene.pool, scene.halls).await;
            let left = check::left_over(scene.arena, scene.halls).await;
            let uncounted = check::uncounted(scene).await;
            if locks.is_ok_and(|found| found.is_empty())
                && left.is_ok_and(|found| found.is_empty())
                && uncounted.is_ok_and(|found| found.is_empty())
            {
                return;
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}
