//! Checking the answers to clients against the tables.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use uuid::Uuid;

use super::scene::{Findings, Scene};
use crate::story::{OrderStory, OutcomeHeard, Story};

/// A decided booking in the tables.
struct DecidedRow {
    id: Uuid,
    account: Uuid,
    key: Option<String>,
    outcome: OutcomeHeard,
    state: Option<String>,
    free_at_decision: Option<i64>,
}

struct OrderRow {
    status: String,
    ticket_code: Option<String>,
}

/// Every decided booking, and how many seats of its tier were free after the transaction that
/// decided it; `null` where old changes are deleted already. A transaction that changes a tier
/// holds the tier's row until its commit, so the times of changes and decisions are in their true
/// order. Changes of the deciding transaction itself count, too. The row of a rejected booking is
/// never written again.
const BOOKINGS: &str = "
    select b.booking_id, b.account_id, b.idempotency_key, b.status::text, b.reason::text,
        b.taken_seats, b.state::text,
        case when p.version = (select count(*) from tier_changes t
                               where t.show_id = b.show_id and t.tier = b.tier)
        then p.capacity - (
            select coalesce(sum(cardinality(t.claimed) - cardinality(t.freed)), 0)
            from tier_changes t
            where t.show_id = b.show_id and t.tier = b.tier
              and (t.xmin = b.xmin or t.at < b.decided_at))
        end as free
    from bookings b join partitions p using (show_id, tier)
    where b.show_id = any($1)";

const ORDERS: &str =
    "select order_id, status::text, ticket_code from orders where show_id = any($1)";

pub(super) async fn check(scene: &Scene<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let shows = scene.shows();
    let mut by_id: HashMap<Uuid, DecidedRow> = HashMap::new();
    for row in sqlx::query(BOOKINGS).bind(&shows).fetch_all(scene.pool).await? {
        let decided = DecidedRow {
            id: row.try_get("booking_id")?,
            account: row.try_get("account_id")?,
            key: row.try_get("idempotency_key")?,
            outcome: OutcomeHeard {
                status: row.try_get("status")?,
                reason: row.try_get("reason")?,
                taken: row.try_get::<Option<Vec<String>>, _>("taken_seats")?.unwrap_or_default(),
            },
            state: row.try_get("state")?,
            free_at_decision: row.try_get("free")?,
        };
        by_id.insert(decided.id, decided);
    }
    let mut orders: HashMap<Uuid, OrderRow> = HashMap::new();
    for row in sqlx::query(ORDERS).bind(&shows).fetch_all(scene.pool).await? {
        let order =
            OrderRow { status: row.try_get("status")?, ticket_code: row.try_get("ticket_code")? };
        orders.insert(row.try_get("order_id")?, order);
    }
    let asked: HashSet<(Uuid, &str)> =
        scene.stories.iter().map(|story| (story.account.0, story.key.as_str())).collect();
    let mut named = HashSet::new();
    for story in scene.stories {
        named.extend(story.ids.iter().map(|id| id.0));
        check_story(scene, story, &by_id, findings);
        if let Some(order) = &story.order {
            check_order(order, &orders, findings);
        }
    }
    for poison in scene.poison {
        named.insert(poison.0);
        let reason = by_id.get(&poison.0).and_then(|decided| decided.outcome.reason.as_deref());
        if reason != Some("INTERNAL") {
            findings.add("poison that was not refused", format!("{poison}: {reason:?}"));
        }
    }
    for decided in by_id.values() {
        if decided.outcome.reason.as_deref() == Some("INTERNAL")
            && !scene.poison.iter().any(|poison| poison.0 == decided.id)
        {
            findings.add("bookings refused as INTERNAL", decided.id.to_string());
        }
        let key = decided.key.as_deref().unwrap_or_default();
        if !named.contains(&decided.id) && !asked.contains(&(decided.account, key)) {
            findings.add("bookings nobody asked for", decided.id.to_string());
        }
    }
    Ok(())
}

fn check_story(
    scene: &Scene<'_>,
    story: &Story,
    by_id: &HashMap<Uuid, DecidedRow>,
    findings: &mut Findings,
) {
    let key = &story.key;
    for trouble in &story.trouble {
        findings.add("answers that should not have been given", format!("key {key}: {trouble}"));
    }
    if story.ids.len() > 1 {
        findings.add("one key, several bookings", format!("key {key}: {:?}", story.ids));
    }
    for outcome in story.told.windows(2) {
        if outcome[0] != outcome[1] {
            findings.add("outcomes that changed", format!("key {key}: {outcome:?}"));
        }
    }
    let same_key: Vec<&DecidedRow> = by_id
        .values()
        .filter(|d| d.account == story.account.0 && d.key.as_ref() == Some(key))
        .collect();
    if same_key.len() > 1 {
        findings.add("one key, several bookings", format!("key {key} in the tables"));
    }
    // A refused booking must not be decided, unless an earlier try may have been accepted.
    if story.refused.is_some() && !story.accepted && !story.unknown {
        for decided in &same_key {
            findings.add("refused at the door and decided all the same", decided.id.to_string());
        }
    }
    for id in &story.ids {
        // The audit counts bookings without a row.
        let Some(decided) = by_id.get(&id.0) else { continue };
        check_outcome(story, decided, findings);
        check_sold_out(scene, story, decided, findings);
    }
}

fn check_outcome(story: &Story, decided: &DecidedRow, findings: &mut Findings) {
    let id = decided.id;
    if let Some(told) = story.told.last()
        && *told != decided.outcome
    {
        findings
            .add("told otherwise than decided", format!("{id}: {told:?}, {:?}", decided.outcome));
    }
    // The hold may have lapsed before it was released.
    let is_gone = matches!(decided.state.as_deref(), Some("RELEASED" | "EXPIRED"));
    if story.released && !is_gone {
        findings.add("released, and still there", format!("{id}: {:?}", decided.state));
    }
    let paid = story.order.as_ref().is_some_and(|order| order.asked_to_pay);
    if decided.state.as_deref() == Some("CONFIRMED") && !paid {
        findings.add("confirmed without a payment", id.to_string());
    }
}

fn check_sold_out(scene: &Scene<'_>, story: &Story, decided: &DecidedRow, findings: &mut Findings) {
    let quantity = i64::try_from(story.quantity).unwrap_or(i64::MAX);
    let is_sold_out = matches!(decided.outcome.reason.as_deref(), Some("SOLD_OUT" | "ALL_HELD"));
    // If the clock jumped, the free seats of that moment are not known.
    let is_known = is_sold_out && !scene.steps_clock;
    if let Some(free) = decided.free_at_decision.filter(|free| is_known && *free >= quantity) {
        let text = format!("{}: wanted {quantity} of {free}", decided.id);
        findings.add("SOLD_OUT with seats free", text);
    }
}

fn check_order(order: &OrderStory, rows: &HashMap<Uuid, OrderRow>, findings: &mut Findings) {
    let id = order.id;
    let Some(row) = rows.get(&id.0) else {
        return findings.add("orders that were shown and are not there", id.to_string());
    };
    if let Some(code) = &order.paid
        && (row.status != "CONFIRMED" || row.ticket_code.as_ref() != Some(code))
    {
        findings.add("paid, and not confirmed", format!("{id}: {}", row.status));
    }
    if order.cancelled && row.status != "CANCELLED" {
        findings.add("cancelled, and not cancelled", format!("{id}: {}", row.status));
    }
    if row.status == "CANCELLED" && !order.asked_to_cancel {
        findings.add("cancelled without being asked", id.to_string());
    }
}
