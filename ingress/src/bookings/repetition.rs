//! Requests with an `Idempotency-Key`: each is carried out once, and answered the same ever after.
//!
//! Redis knows which request a key is bound to, so that a repetition costs PostgreSQL nothing. Where
//! it has lost its memory, or is away, PostgreSQL is asked, so many times a second; what neither can
//! tell is answered as unknown, never as no.

use std::{sync::atomic::Ordering, time::Duration};

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
    bound_keys::{self, Binding, BindingState, Memory},
    sale::Sale,
};
use tokio::time::{Instant, sleep};

use super::{Desk, intake::count_accepted};
use crate::idempotency::key_reused;

/// A node that has not said after this what came of a publish has died over it: the broker has
/// this long for a channel and a confirm.
const TRY_MAX: Duration = CONFIRM_WAIT.saturating_mul(2).saturating_add(Duration::from_secs(1));
/// Pauses between two looks at what another request with the same key has come to.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A request with a key.
#[derive(Clone)]
pub(crate) struct Keyed {
    pub(crate) account: AccountId,
    pub(crate) booking: BookingId,
    pub(crate) last: LastTry,
}

/// What became of a key's booking before: accepted, and perhaps over.
pub(crate) type Before = Option<View>;

/// Whose turn it is to publish.
enum Turn {
    /// Redis is away: whoever comes publishes, and the allocator knows a repetition.
    Anybodys,
    First,
    /// After a try of which nobody knows what came.
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

/// Carries out a request that the door let in, unless it was before. It runs to its end even when
/// the client goes away.
pub(crate) async fn once(
    desk: &Desk,
    sale: &Sale,
    keyed: Keyed,
    partition: Partition,
    request: BookingRequested,
) -> ApiResult<Before> {
    let (here, mine) = (desk.clone(), keyed.clone());
    let turn = store::detached(async move {
        match take_turn(&here, &mine).await? {
            turn @ (Turn::Done(_) | Turn::Anothers) => Ok(turn),
            turn => publish(&here, &mine, turn, partition, request).await,
        }
    });
    match turn.await? {
        Turn::Done(before) => accepted(desk, &keyed, &before).await,
        Turn::Anothers => refused(desk, sale, &keyed, key_reused()).await,
        Turn::Anybodys | Turn::First | Turn::Again(_) => Ok(None),
    }
}

async fn take_turn(desk: &Desk, keyed: &Keyed) -> ApiResult<Turn> {
    let cache = &desk.state.cache;
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
            BindingState::Trying if desk.state.board.borrow().now() < before.at + TRY_MAX => {}
            BindingState::Trying | BindingState::Unknown => {
                match bound_keys::swap(cache, account, key, &before, Some(&mine)).await {
                    Err(_) => return Ok(Turn::Anybodys),
                    Ok(true) => return Ok(Turn::Again(before)),
                    // Somebody else took over.
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
    desk: &Desk,
    keyed: &Keyed,
    turn: Turn,
    partition: Partition,
    request: BookingRequested,
) -> ApiResult<Turn> {
    let is_again = matches!(turn, Turn::Again(_));
    if is_again {
        sometimes("unknown publish retried");
    }
    let published = desk.intake.submit(&partition, request).await;
    match &published {
        Ok(()) => {
            count_accepted(&partition);
            remember(desk, keyed, BindingState::Done).await;
        }
        Err(PublishError::Unknown(_)) => remember(desk, keyed, BindingState::Unknown).await,
        Err(PublishError::Refused(_)) => {
            let (cache, before) = (
                &desk.state.cache,
                match &turn {
                    Turn::Again(before) => Some(before),
                    _ => None,
                },
            );
            let mine = keyed.binding(BindingState::Trying);
            let key = &keyed.last.key;
            let freed = bound_keys::swap(cache, keyed.account, key, &mine, before);
            // Where Redis is away, the key is free once nobody can be trying any more.
            let _ = freed.await;
        }
    }
    published.map_err(|error| not_published(&error, is_again, keyed.booking))?;
    Ok(turn)
}

/// Remembers what came of a try. What Redis does not learn is found by the allocator; and Redis is
/// not believed any more that a key is new.
async fn remember(desk: &Desk, keyed: &Keyed, state: BindingState) {
    if try_to_remember(desk, keyed, state).await.is_err() {
        desk.untold.fetch_add(1, Ordering::SeqCst);
        metrics::counter!("usher_keys_untold_total").increment(1);
    }
}

async fn try_to_remember(desk: &Desk, keyed: &Keyed, state: BindingState) -> RedisResult<()> {
    let cache = &desk.state.cache;
    let mut connection = cache.connection()?;
    let mut both = redis::pipe();
    let key = &keyed.last.key;
    bound_keys::rebind(&mut both, keyed.account, key, &keyed.binding(state));
    bookings::remember(&mut both, keyed.booking, &keyed.last);
    cache.observe(both.query_async::<()>(&mut connection).await)
}

/// What to say to a request that is to be refused: that it was accepted before, where it was; that
/// it is not known, where it is not; else the refusal.
pub(crate) async fn refused(
    desk: &Desk,
    sale: &Sale,
    keyed: &Keyed,
    refusal: ApiError,
) -> ApiResult<Before> {
    let now = desk.state.board.borrow().now();
    let (account, key) = (keyed.account, &keyed.last.key);
    let show = Some(keyed.last.show);
    // Before the look: what begins anew in between was not whole when it was looked at.
    let is_told = desk.untold.load(Ordering::SeqCst) == 0;
    let memory = bound_keys::look(&desk.state.cache, account, show, key, now).await.ok();
    let (is_anothers, is_proof) = match &memory {
        Some(Memory { binding: Some(before), .. }) if keyed.is_mine(before) => {
            return match before.state {
                BindingState::Done => accepted(desk, keyed, before).await,
                // It may be on its queue: then a refusal would be a lie.
                _ if !bookings::is_over(before.at, now) => {
                    Err(unknown(keyed.booking, "asked before"))
                }
                _ => match over(desk, keyed, before).await {
                    Some(view) => Ok(Some(view)),
                    None => Err(unknown(keyed.booking, "the database does not answer")),
                },
            };
        }
        Some(Memory { binding: None, older: Some(booking), .. }) => {
            match booking.strip_prefix(&keyed.booking.to_string()) {
                Some("") => return Ok(None),
                Some(_) => return Err(unknown(keyed.booking, "asked before")),
                None => (true, false),
            }
        }
        // Nobody can have used it for this show before its sale was to open.
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
        // Redis may have been told of another request after it had forgotten this one.
        desk.questions.is_decided(keyed.booking).await
    } else {
        let since = memory.map(|memory| memory.since);
        desk.questions.was_accepted(sale, keyed.booking, since).await
    };
    match asked {
        Some(true) => Ok(None),
        Some(false) => Err(refusal),
        None => Err(unknown(keyed.booking, "it cannot be looked up now")),
    }
}

/// An accepted booking: how it ended, where its time is over.
async fn accepted(desk: &Desk, keyed: &Keyed, before: &Binding) -> ApiResult<Before> {
    let now = desk.state.board.borrow().now();
    Ok(if bookings::is_over(before.at, now) { over(desk, keyed, before).await } else { None })
}

/// How a booking ended whose time is over: refused now, where nothing came of it. Nothing, where
/// the database cannot tell.
async fn over(desk: &Desk, keyed: &Keyed, before: &Binding) -> Before {
    if let Some(view) = desk.looker.look(keyed.booking).await.ok()?.view {
        return Some(view);
    }
    let last = LastTry { at: before.at, ..keyed.last.clone() };
    bookings::expire(&desk.state.pool, keyed.booking, keyed.account, last).await.ok()?;
    desk.looker.look(keyed.booking).await.ok()?.view
}

/// 503 where it is not known whether a booking was accepted.
pub(crate) fn unknown(booking: BookingId, why: &str) -> ApiError {
    let detail = format!(
        "it is not known whether the booking was accepted ({why}); send it again with the same \
         Idempotency-Key, or look at the bookingId: where it was not, that ends as EXPIRED some 17 \
         minutes after the last try"
    );
    ApiError::unavailable(Code::OutcomeUnknown, detail, 1).with("bookingId", booking.to_string())
}

/// Why a booking was not accepted, as far as that is known. `before` there was a try of which nobody
/// knows what came.
pub(crate) fn not_published(error: &PublishError, before: bool, booking: BookingId) -> ApiError {
    metrics::counter!("usher_not_accepted_total").increment(1);
    match error {
        // Not this time; but the time before it may have been.
        PublishError::Refused(why) if before => unknown(booking, why),
        PublishError::Refused(why) => ApiError::unavailable(
            Code::QueueUnavailable,
            format!("the booking was not accepted ({why}); send it again"),
            1,
        ),
        PublishError::Unknown(why) => unknown(booking, why),
    }
}
