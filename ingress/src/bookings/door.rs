//! The checks before a request is accepted, in the order that clients may rely on: form, account,
//! show, repetition, sale, pass, limits of the show, seats. The rate limits come before all of
//! them. A request that is refused here may repeat one that was accepted: the caller of these
//! checks looks ([`super::repetition`]) before it answers.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use chrono::{DateTime, Utc};
use contract::{
    AccountId, SeatLabel, ShowId, TicketId, TierCode,
    api::{bookings::NewBooking, catalogue::RoomMode, problem::Code},
    booking::{Limit, SEATS_PER_REQUEST_MAX, Wish},
    deadline::PREFER_WAIT_MAX,
    pass::InvalidPass,
};
use platform::http::{ApiError, ApiResult};
use store::sale::{Sale, TierOnSale};

use crate::{Ingress, form::Form};

/// A request of correct form.
pub(crate) struct BookingAsked {
    pub(crate) show: ShowId,
    pub(crate) tier: TierCode,
    pub(crate) wish: Wish,
}

impl Form for BookingAsked {
    type Body = NewBooking;

    fn check(body: NewBooking) -> ApiResult<Self> {
        let wish = match (body.seats, body.quantity) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid("/quantity", "cannot come with seats"));
            }
            (None, None) => return Err(ApiError::invalid("/seats", "or quantity is needed")),
            (Some(seats), None) => Wish::Seats(sorted(seats)?),
            (None, Some(n)) if (1..=SEATS_PER_REQUEST_MAX).contains(&usize::from(n)) => {
                Wish::BestAvailable(n)
            }
            (None, Some(_)) => {
                let detail = format!("must be 1 to {SEATS_PER_REQUEST_MAX}");
                return Err(ApiError::invalid("/quantity", detail));
            }
        };
        Ok(Self { show: body.show_id, tier: body.tier, wish })
    }
}

fn sorted(mut seats: Vec<SeatLabel>) -> ApiResult<Vec<SeatLabel>> {
    if !(1..=SEATS_PER_REQUEST_MAX).contains(&seats.len()) {
        let detail = format!("must name 1 to {SEATS_PER_REQUEST_MAX} seats");
        return Err(ApiError::invalid("/seats", detail));
    }
    seats.sort_unstable();
    if seats.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ApiError::invalid("/seats", "names a seat twice"));
    }
    Ok(seats)
}

/// How long the client wants to wait: `Prefer: wait=<seconds>`, at most 30.
pub(crate) struct PreferWait(pub(crate) Option<Duration>);

impl<S: Send + Sync> FromRequestParts<S> for PreferWait {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        prefer_wait(&parts.headers).map(Self)
    }
}

fn prefer_wait(headers: &HeaderMap) -> ApiResult<Option<Duration>> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let wait = preferences
        .flat_map(|value| value.split([',', ';']))
        .find_map(|part| part.trim().strip_prefix("wait="));
    let Some(wait) = wait else { return Ok(None) };
    let seconds: u64 = wait
        .trim_matches('"')
        .parse()
        .map_err(|_| ApiError::invalid("Prefer", "wait must be a whole number of seconds"))?;
    Ok(Some(Duration::from_secs(seconds).min(PREFER_WAIT_MAX)))
}

/// The W3C trace context of the request, if it has a plausible one.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    (value.len() == 55 && value.is_ascii()).then(|| value.to_owned())
}

/// Lets the request in, or says why not. Returns the place of the admission pass.
pub(crate) async fn pass_through(
    ingress: &Ingress,
    sale: &Sale,
    now: DateTime<Utc>,
    account: AccountId,
    asked: &BookingAsked,
    headers: &HeaderMap,
) -> ApiResult<Option<TicketId>> {
    let tier = sale.tier(&asked.tier);
    sale_is_open(sale, tier, now)?;
    let ticket = pass(ingress, sale, now, account, headers)?;
    within_limit(sale, &asked.wish)?;
    seats_exist(ingress, sale, tier, asked).await?;
    Ok(ticket)
}

fn sale_is_open(sale: &Sale, tier: Option<&TierOnSale>, now: DateTime<Utc>) -> ApiResult<()> {
    if sale.is_over(now) {
        return Err(ApiError::new(Code::SaleClosed, "the sale of this show has ended"));
    }
    if !sale.is_open(now) {
        let error = ApiError::new(Code::SaleNotOpen, "the sale of this show has not begun");
        let wait = (sale.sale_opens_at - now).to_std().unwrap_or_default();
        let at = serde_json::to_value(sale.sale_opens_at).unwrap_or_default();
        return Err(error.retry_after(wait).with("saleOpensAt", at));
    }
    match tier {
        Some(tier) if tier.available == 0 && tier.held => {
            let detail = "no seat of this tier is free; some are only held and may come back";
            Err(ApiError::new(Code::AllHeld, detail))
        }
        Some(tier) if tier.available == 0 => {
            Err(ApiError::new(Code::SoldOut, "every seat of this tier is sold"))
        }
        _ => Ok(()),
    }
}

/// Checks the admission pass. `now` is by Postgres's clock, as both ends of a pass are.
fn pass(
    ingress: &Ingress,
    sale: &Sale,
    now: DateTime<Utc>,
    account: AccountId,
    headers: &HeaderMap,
) -> ApiResult<Option<TicketId>> {
    if sale.room.mode == RoomMode::Off {
        return Ok(None);
    }
    let Some(token) = headers.get("admission-pass") else {
        let detail = "this show has a waiting room: join its line and send the pass it gives you";
        let room = format!("/api/v1/shows/{}/queue", sale.show);
        return Err(ApiError::new(Code::PassRequired, detail).with("waitingRoom", room));
    };
    let keys = Arc::clone(&ingress.pass_keys.borrow());
    let verified = keys.verify.verify(token.to_str().unwrap_or_default(), sale.show, account, now);
    let verified = verified.and_then(|pass| {
        let revoked = ingress.revoked.contains(pass.ticket);
        if revoked { Err(InvalidPass::Revoked) } else { Ok(pass) }
    });
    match verified {
        Ok(pass) => Ok(Some(pass.ticket)),
        Err(why) => {
            metrics::counter!("usher_pass_refused_total", "why" => format!("{why:?}")).increment(1);
            let detail = format!("the pass cannot be used: {why}");
            Err(ApiError::new(Code::PassInvalid, detail))
        }
    }
}

fn within_limit(sale: &Sale, wish: &Wish) -> ApiResult<()> {
    let most = usize::try_from(sale.max_seats_per_user).unwrap_or(0);
    if wish.n_seats() <= most {
        return Ok(());
    }
    let detail = format!("an account may have at most {most} seats of this show");
    let error = ApiError::new(Code::LimitExceeded, detail);
    Err(error.with("limit", Limit::Seats.as_str()))
}

async fn seats_exist(
    ingress: &Ingress,
    sale: &Sale,
    tier: Option<&TierOnSale>,
    asked: &BookingAsked,
) -> ApiResult<()> {
    let unknown = |detail: String| ApiError::new(Code::SeatUnknown, detail);
    let Some(tier) = tier else {
        return Err(unknown(format!("this show has no tier {}", asked.tier)));
    };
    let Wish::Seats(seats) = &asked.wish else { return Ok(()) };
    if tier.general_admission {
        return Err(unknown(format!("{} has no seat numbers: ask for a quantity", tier.tier)));
    }
    let tiers = ingress.pipeline.seat_tiers.of_show(sale.show).await?;
    let strangers: Vec<&str> = seats
        .iter()
        .filter(|seat| tiers.get(*seat) != Some(&tier.tier))
        .map(SeatLabel::as_str)
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    Err(unknown(format!("not seats of {}: {}", tier.tier, strangers.join(", "))))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn headers_are_read_or_refused() {
        assert_eq!(
            prefer_wait(&headers("prefer", "respond-async, wait=7")).unwrap(),
            Some(Duration::from_secs(7))
        );
        assert_eq!(prefer_wait(&headers("prefer", "wait=999")).unwrap(), Some(PREFER_WAIT_MAX));
        assert!(prefer_wait(&headers("prefer", "wait=soon")).is_err());
    }

    proptest! {
        #[test]
        fn no_preference_makes_anybody_wait_longer_than_the_limit(
            bytes in vec(any::<u8>(), 0..40), wait in "[0-9\"+. -]{0,24}",
        ) {
            for value in [bytes, format!("wait={wait}").into_bytes()] {
                let Ok(value) = axum::http::HeaderValue::from_bytes(&value) else { continue };
                let headers = HeaderMap::from_iter([("prefer".parse().unwrap(), value)]);
                if let Ok(Some(wait)) = prefer_wait(&headers) {
                    prop_assert!(wait <= PREFER_WAIT_MAX);
                }
            }
        }

        #[test]
        fn a_wait_is_read_wherever_it_stands(seconds in 0..=30u64, quoted: bool) {
            let wait = if quoted { format!("wait=\"{seconds}\"") } else { format!("wait={seconds}") };
            for value in [wait.clone(), format!("respond-async, {wait}"), format!("{wait}; x=1")] {
                let headers = HeaderMap::from_iter([("prefer".parse().unwrap(), value.parse().unwrap())]);
                prop_assert_eq!(prefer_wait(&headers).unwrap(), Some(Duration::from_secs(seconds)));
            }
        }
    }

    #[test]
    fn a_request_names_seats_or_a_number_once() {
        let asked =
            |json: &str| serde_json::from_str::<NewBooking>(json).ok().map(BookingAsked::check);
        let show = ShowId::new();
        let with = |rest: &str| asked(&format!(r#"{{"showId":"{show}","tier":"A",{rest}}}"#));
        assert!(with(r#""quantity":2"#).unwrap().is_ok());
        assert!(with(r#""seats":["B2","A1"]"#).unwrap().is_ok());
        for refused in [
            r#""quantity":0"#,
            r#""quantity":21"#,
            r#""seats":[]"#,
            r#""seats":["A1","A1"]"#,
            r#""seats":["A1"],"quantity":1"#,
        ] {
            assert!(with(refused).unwrap().is_err(), "{refused}");
        }
        for unreadable in
            [r#""quantity":"2""#, r#""quantity":-1"#, r#""quantity":1.5"#, r#""quantity":1,"x":1"#]
        {
            assert!(with(unreadable).is_none(), "{unreadable}");
        }
    }
}
