//! Requests with an `Idempotency-Key`: each is carried out once, and every repetition gets the same
//! answer.
//!
//! Redis knows which request a key is bound to, so that a repetition costs PostgreSQL nothing. If
//! Redis is away or has lost keys, PostgreSQL is asked, at a bounded rate. If neither can tell, the
//! answer is `OUTCOME_UNKNOWN` and never a refusal.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use contract::{
    AccountId, BookingId, api::problem::Code, deadline::CONFIRM_WAIT, message::BookingRequested,
    topology::Partition,
};
use platform::{
    broker::PublishError,
    faults::sometimes,
    http::{ApiError, ApiResult},
};
use redis::RedisResult;
use store::{
    bookings::{self, LastTry, View},
    bound_keys::{self, Binding, BindingState, KeyMemory},
    sale::Sale,
};
use tokio::time::{Instant, sleep};

use crate::pipeline::intake::count_accepted;
use crate::{Ingress, idempotency::key_reused};

/// Time after which a node that has not recorded the result of its publish counts as dead: the
/// broker has this long for a channel and a confirm.
const TRY_MAX: Duration = CONFIRM_WAIT.saturating_mul(2).saturating_add(Duration::from_secs(1));
/// Pauses between two looks at another request with the same key.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A request with a key.
#[derive(Clone)]
pub(crate) struct Keyed {
    pub(crate) account: AccountId,
    pub(crate) booking: BookingId,
    pub(crate) last: LastTry,
}

/// An accepted booking of the key: how it ended, or `None` where it is not decided.
pub(crate) type Before = Option<View>;

/// Whose turn it is to publish.
enum Turn {
    /// Redis is away: every request publishes, and the allocator recognises repetitions.
    Anybodys,
    First,
    /// The result of the last try is unknown.
    Again(Binding),
    Done(Binding),
    /// The key is bound to another request.
    Anothers,
}

impl Keyed {
    fn binding(&self, state: BindingState) -> Binding {
        Binding { request: self.booking.to_string(), state, at: self.last.at }
    }

    fn is_mine(&self, binding: &Binding) -> bool {
        binding.request == self.booking.to_string()
    }
}

/// Carries out a request that passed the checks, unless it was carried out before. The work goes on
/// even if the client goes away.
pub(crate) async fn once(
    ingress: &Arc<Ingress>,
    sale: &Sale,
    keyed: Keyed,
    partition: Partition,
    request: BookingRequested,
) -> ApiResult<Before> {
    let (here, mine) = (Arc::clone(ingress), keyed.clone());
    let turn = store::detached(async move {
        match take_turn(&here, &mine).await? {
            turn @ (Turn::Done(_) | Turn::Anothers) => Ok(turn),
            turn => publish(&here, &mine, turn, partition, request).await,
        }
    });
    match turn.await? {
        Turn::Done(before) => accepted(ingress, &keyed, &before).await,
        Turn::Anothers => refused(ingress, sale, &keyed, key_reused()).await,
        Turn::Anybodys | Turn::First | Turn::Again(_) => Ok(None),
    }
}

async fn take_turn(ingress: &Ingress, keyed: &Keyed) -> ApiResult<Turn> {
    let cache = &ingress.cache;
    let (account, key) = (keyed.account, keyed.last.key.as_str());
    let mine = keyed.binding(BindingState::Trying);
    let end = Instant::now() + TRY_MAX + PAUSE_MAX;
    let mut pause = PAUSE_MIN;
    loop {
        let before = match bound_keys::bind(cache, account, key, &mine).await {
            Err(_) => return Ok(Turn::Anybodys),
            Ok(None) => return Ok(Turn::First),
            Ok(Some(before)) if !keyed.is_mine(&before) => return Ok(Turn::Anothers),
            Ok(Some(before)) => before,
        };
        match before.state {
            BindingState::Done => return Ok(Turn::Done(before)),
            BindingState::Trying if ingress.board.borrow().now() < before.at + TRY_MAX => {}
            BindingState::Trying | BindingState::Unknown => {
                match bound_keys::swap(cache, account, key, &before, Some(&mine)).await {
                    Err(_) => return Ok(Turn::Anybodys),
                    Ok(true) => return Ok(Turn::Again(before)),
                    // Another request took over.
                    Ok(false) => {}
                }
            }
        }
        if pause == PAUSE_MIN {
            metrics::counter!("usher_key_waits_total").increment(1);
        }
        if Instant::now() >= end {
            return Err(unknown(keyed.booking, "another try is on its way"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn publish(
    ingress: &Ingress,
    keyed: &Keyed,
    turn: Turn,
    partition: Partition,
    request: BookingRequested,
) -> ApiResult<Turn> {
    let is_again = matches!(turn, Turn::Again(_));
    if is_again {
        sometimes("unknown publish retried");
    }
    let published = ingress.pipeline.intake.submit(&partition, request).await;
    match &published {
        Ok(()) => {
            count_accepted(&partition);
            remember(ingress, keyed, BindingState::Done).await;
        }
        Err(PublishError::Unknown(_)) => remember(ingress, keyed, BindingState::Unknown).await,
        Err(PublishError::Refused(_)) => {
            let before = match &turn {
                Turn::Again(before) => Some(before),
                _ => None,
            };
            let mine = keyed.binding(BindingState::Trying);
            let key = &keyed.last.key;
            let freed = bound_keys::swap(&ingress.cache, keyed.account, key, &mine, before);
            // If Redis is away now, the key becomes free after `TRY_MAX`.
            let _ = freed.await;
        }
    }
    published.map_err(|error| not_published(&error, is_again, keyed.booking))?;
    Ok(turn)
}

/// Records the result of a try in Redis. If that fails, the allocator recognises a repetition, and
/// Redis no longer proves that a key is new.
async fn remember(ingress: &Ingress, keyed: &Keyed, state: BindingState) {
    if try_to_remember(ingress, keyed, state).await.is_err() {
        ingress.pipeline.untold.fetch_add(1, Ordering::SeqCst);
        metrics::counter!("usher_keys_untold_total").increment(1);
    }
}

async fn try_to_remember(ingress: &Ingress, keyed: &Keyed, state: BindingState) -> RedisResult<()> {
    let cache = &ingress.cache;
    let mut connection = cache.connection()?;
    let mut both = redis::pipe();
    let (account, key, binding) = (keyed.account, &keyed.last.key, keyed.binding(state));
    if state == BindingState::Done {
        bound_keys::rebind(&mut both, account, key, &binding);
    } else {
        // A try that took over meanwhile may know more.
        let mine = keyed.binding(BindingState::Trying);
        if !bound_keys::swap(cache, account, key, &mine, Some(&binding)).await? {
            bound_keys::bind(cache, account, key, &binding).await?;
        }
    }
    bookings::remember(&mut both, keyed.booking, &keyed.last);
    cache.observe(both.query_async::<()>(&mut connection).await)
}

/// The answer to a request that failed the checks: accepted if it was accepted before, unknown if
/// that cannot be told, else the refusal.
pub(crate) async fn refused(
    ingress: &Ingress,
    sale: &Sale,
    keyed: &Keyed,
    refusal: ApiError,
) -> ApiResult<Before> {
    let now = ingress.board.borrow().now();
    let (account, key) = (keyed.account, &keyed.last.key);
    let show = Some(keyed.last.show);
    // Read before the look, since `tend_memory` may clear the count after Redis begins anew.
    let is_told = ingress.pipeline.untold.load(Ordering::SeqCst) == 0;
    let memory = bound_keys::look(&ingress.cache, account, show, key, now).await.ok();
    let (is_anothers, is_proof) = match &memory {
        Some(KeyMemory { binding: Some(before), .. }) if keyed.is_mine(before) => {
            return match before.state {
                BindingState::Done => accepted(ingress, keyed, before).await,
                // The booking may be on its queue or decided, so a refusal could be wrong.
                _ if !bookings::is_over(before.at, now) => asked_before(ingress, keyed).await,
                _ => match over(ingress, keyed, before).await {
                    Some(view) => Ok(Some(view)),
                    None => Err(unknown(keyed.booking, "the database does not answer")),
                },
            };
        }
        Some(KeyMemory { binding: None, older: Some(booking), .. }) => {
            match booking.strip_prefix(&keyed.booking.to_string()) {
                Some("") => return Ok(None),
                Some(_) => return asked_before(ingress, keyed).await,
                None => (true, false),
            }
        }
        // The key cannot have been used for this show before its sale was to open.
        Some(memory) => {
            let is_whole = memory.is_whole_for(sale.sale_opens_at, now);
            (memory.binding.is_some(), is_whole && is_told)
        }
        None => (false, false),
    };
    let refusal = if is_anothers { key_reused() } else { refusal };
    if is_proof {
        return Err(refusal);
    }
    let asked = if is_anothers {
        // Redis may have forgotten this request before the other one used the key.
        ingress.pipeline.questions.is_decided(keyed.booking).await
    } else {
        let since = memory.map(|memory| memory.since);
        ingress.pipeline.questions.was_accepted(sale, keyed.booking, since).await
    };
    match asked {
        Some(true) => Ok(None),
        Some(false) => Err(refusal),
        None => Err(unknown(keyed.booking, "it cannot be looked up now")),
    }
}

/// The answer to a request whose first try may have been accepted: accepted if it is decided.
async fn asked_before(ingress: &Ingress, keyed: &Keyed) -> ApiResult<Before> {
    match ingress.pipeline.questions.is_decided(keyed.booking).await {
        Some(true) => Ok(None),
        Some(false) | None => Err(unknown(keyed.booking, "asked before")),
    }
}

/// The answer for an accepted booking: how it ended, if its time is over.
async fn accepted(ingress: &Ingress, keyed: &Keyed, before: &Binding) -> ApiResult<Before> {
    let now = ingress.board.borrow().now();
    Ok(if bookings::is_over(before.at, now) { over(ingress, keyed, before).await } else { None })
}

/// How a booking ended whose time is over; without an outcome it is recorded as expired now. `None`
/// where the database does not answer.
async fn over(ingress: &Ingress, keyed: &Keyed, before: &Binding) -> Before {
    if let Some(view) = ingress.pipeline.looker.look(keyed.booking).await.ok()?.view {
        return Some(view);
    }
    let last = LastTry { at: before.at, ..keyed.last.clone() };
    bookings::expire(&ingress.pool, keyed.booking, keyed.account, last).await.ok()?;
    ingress.pipeline.looker.look(keyed.booking).await.ok()?.view
}

/// The answer 503 where it is not known whether a booking was accepted.
pub(crate) fn unknown(booking: BookingId, why: &str) -> ApiError {
    let detail = format!(
        "it is not known whether the booking was accepted ({why}); send it again with the same \
         Idempotency-Key, or look at the bookingId: where it was not, that ends as EXPIRED some 17 \
         minutes after the last try"
    );
    ApiError::unavailable(Code::OutcomeUnknown, detail, 1).with("bookingId", booking.to_string())
}

/// The answer to a request that was not published. `before` says whether there was an earlier try
/// with an unknown result.
pub(crate) fn not_published(error: &PublishError, before: bool, booking: BookingId) -> ApiError {
    metrics::counter!("usher_not_accepted_total").increment(1);
    match error {
        // This try was refused, but the earlier one may have been accepted.
        PublishError::Refused(why) if before => unknown(booking, why),
        PublishError::Refused(why) => ApiError::unavailable(
            Code::QueueUnavailable,
            format!("the booking was not accepted ({why}); send it again"),
            1,
        ),
        PublishError::Unknown(why) => unknown(booking, why),
    }
}
