//! Checking that bookings are decided in the order of their acceptance. One request counts as
//! earlier than another only if its acceptance was answered before the other was sent, so that the
//! check never assumes an order that was not there. Within one session the order is exact; across
//! sessions no booking is overtaken by more than a takeover takes.
//!
//! The check leaves out bookings that no session decided (refused as poison, parked, late, or
//! without a queue), and the show whose queue is deleted by hand: bookings that come meanwhile wait
//! elsewhere and return behind later ones.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use uuid::Uuid;

use super::scene::{Findings, Scene};
use crate::sale::Purpose;

/// Longest takeover of up to a hundred partitions.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);
/// Allows for the time from a session's row to its first delivery, and for clocks that differ.
const MARGIN: Duration = Duration::from_millis(250);

/// One accepted booking that a session decided.
#[derive(Clone, Copy, Debug)]
struct Decision {
    booking: Uuid,
    asked_at: DateTime<Utc>,
    accepted_at: DateTime<Utc>,
    decided_at: DateTime<Utc>,
    /// Its event's place in the outbox.
    event: i64,
    epoch: i64,
    session_began_at: DateTime<Utc>,
}

/// The first event of each booking that a session decided, in order. The excluded reasons are those
/// of bookings that waited elsewhere.
const DECISIONS: &str = "
    with events as materialized (
        select booking_id, row_number() over (order by outbox_id, place) as number
        from outbox_events where show_id = $1 and seq = 1)
    select b.tier, b.booking_id, b.decided_at, b.epoch, s.began_at, o.number as event
    from bookings b
    join events o using (booking_id)
    join partition_sessions s on s.show_id = b.show_id and s.tier = b.tier and s.epoch = b.epoch
    where b.show_id = $1 and coalesce(b.reason::text, '') not in ('EXPIRED', 'INTERNAL')
    order by b.tier, event";

pub(super) async fn check(scene: &Scene<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let mut times: HashMap<Uuid, (DateTime<Utc>, DateTime<Utc>)> = HashMap::new();
    for story in scene.stories {
        let Some(accepted_at) = story.accepted_at else { continue };
        times.extend(story.ids.iter().map(|id| (id.0, (story.asked_at, accepted_at))));
    }
    for hall in scene.halls.iter().filter(|hall| hall.purpose != Purpose::Aside) {
        let mut tiers: HashMap<String, Vec<Decision>> = HashMap::new();
        for row in sqlx::query(DECISIONS).bind(hall.show.0).fetch_all(scene.pool).await? {
            let booking: Uuid = row.try_get("booking_id")?;
            let Some((asked_at, accepted_at)) = times.get(&booking).copied() else { continue };
            tiers.entry(row.try_get("tier")?).or_default().push(Decision {
                booking,
                asked_at,
                accepted_at,
                decided_at: row.try_get("decided_at")?,
                event: row.try_get("event")?,
                epoch: row.try_get("epoch")?,
                session_began_at: row.try_get("began_at")?,
            });
        }
        // If PostgreSQL's clock jumped, its times give no order.
        if scene.steps_clock {
            continue;
        }
        for decisions in tiers.values() {
            for (first, later) in overtaken_in_session(decisions) {
                findings.add("decided out of order within a session", said(first, later));
            }
            let own = |from, to| scene.probe.own(from, to);
            for (first, later) in overtaken_by_far(decisions, own) {
                findings.add("overtaken by more than a takeover takes", said(first, later));
            }
        }
    }
    Ok(())
}

fn said(first: &Decision, later: &Decision) -> String {
    let ahead = first.accepted_at - later.asked_at;
    let behind = first.decided_at - later.decided_at;
    format!(
        "{} was accepted {} ms before {} was asked, and decided {} ms after it (epochs {}, {})",
        first.booking,
        -ahead.num_milliseconds(),
        later.booking,
        behind.num_milliseconds(),
        first.epoch,
        later.epoch,
    )
}

/// Pairs of decisions in the wrong order within one session, where both requests came after the
/// session had begun.
fn overtaken_in_session(decisions: &[Decision]) -> Vec<(&Decision, &Decision)> {
    let mut found = Vec::new();
    let fresh = |d: &&Decision| d.asked_at > d.session_began_at + MARGIN;
    let fresh: Vec<&Decision> = decisions.iter().filter(fresh).collect();
    for (at, later) in fresh.iter().enumerate() {
        let is_overtaken = |first: &&&Decision| {
            first.epoch == later.epoch
                && first.event > later.event
                && first.accepted_at < later.asked_at
        };
        found.extend(fresh[at..].iter().find(is_overtaken).map(|first| (*first, *later)));
    }
    found
}

/// Pairs in which the booking accepted first was decided later than the other, by more than a
/// takeover takes.
fn overtaken_by_far(
    decisions: &[Decision],
    own: impl Fn(DateTime<Utc>, DateTime<Utc>) -> Duration,
) -> Vec<(&Decision, &Decision)> {
    let mut found = Vec::new();
    for later in decisions {
        let is_overtaken = |first: &&Decision| {
            first.accepted_at < later.asked_at
                && (first.decided_at - later.decided_at).to_std().is_ok_and(|behind| {
                    behind > TAKEOVER_MAX
                        && behind > TAKEOVER_MAX + own(later.decided_at, first.decided_at)
                })
        };
        found.extend(decisions.iter().find(is_overtaken).map(|first| (first, later)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(asked: i64, accepted: i64, decided: i64, epoch: i64) -> Decision {
        let at = |ms| DateTime::from_timestamp_millis(ms).expect("a moment of our age");
        Decision {
            booking: Uuid::from_u128(u128::try_from(asked).expect("positive")),
            asked_at: at(asked),
            accepted_at: at(accepted),
            decided_at: at(decided),
            event: decided,
            epoch,
            session_began_at: at(0),
        }
    }

    #[test]
    fn a_later_one_decided_first_is_found_within_a_session() {
        let (first, later) = (decision(1000, 1010, 1100, 1), decision(1020, 1030, 1090, 1));
        assert_eq!(overtaken_in_session(&[later, first]).len(), 1);
        let (first, other) = (decision(1000, 1010, 1100, 2), decision(1020, 1030, 1090, 1));
        assert!(overtaken_in_session(&[other, first]).is_empty(), "of another session");
        let (first, both) = (decision(1000, 1025, 1100, 1), decision(1020, 1030, 1090, 1));
        assert!(overtaken_in_session(&[both, first]).is_empty(), "neither was first");
    }

    #[test]
    fn what_the_backends_needed_is_not_counted_against_a_takeover() {
        let both = [decision(1020, 1030, 1100, 1), decision(1000, 1010, 7100, 2)];
        assert_eq!(overtaken_by_far(&both, |_, _| Duration::ZERO).len(), 1);
        assert!(overtaken_by_far(&both, |_, _| Duration::from_secs(2)).is_empty());
    }
}
