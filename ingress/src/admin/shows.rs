//! Shows, as organisers write them.

use std::{collections::HashSet, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use chrono::{Days, SecondsFormat};
use contract::{
    ShowId,
    api::{
        catalogue::{NewShow, RoomSettings, ScreenDetails, Show, ShowDetails},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, Body, Params, PathId};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    Connection,
    catalogue::{self, Overlap, movies, screens, shows, theatres},
    sale::SaleState,
};
use utoipa::{IntoParams, ToSchema};

use super::write::{AdminBody, Created, Organiser, created};
use crate::{Ingress, check, errors::database, idempotency::Write};

/// Highest price in minor units; sums of such prices do not overflow.
const PRICE_MAX: i64 = 1_000_000_000_000;

/// What to do about a show that runs on the same screen at the same time.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum WhereTwoOverlap {
    Refuse,
    Allow,
}

#[derive(Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Overlaps {
    /// What to do about another show on the screen at that time; `refuse` where it is absent.
    #[param(inline)]
    overlap: Option<WhereTwoOverlap>,
}

/// Adds a show.
///
/// Its seats are copied from the screen. Tiers of the screen without a price are not sold. A show
/// takes its screen for as long as the movie lasts.
#[utoipa::path(post, path = "/shows", tag = "administration", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header), Overlaps), request_body = NewShow,
    responses(
        (status = 201, body = Show),
        (status = 409, description = "SHOW_OVERLAPS"),
    )
)]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    Params(overlaps): Params<Overlaps>,
    Body(new): AdminBody<NewShow>,
) -> ApiResult<Created<Show>> {
    let details = ShowDetails::from(new.clone());
    checked(&details)?;
    let node = Arc::clone(&ingress);
    let show = organiser
        .once(&ingress, write, &new, StatusCode::CREATED, move |tx| {
            Box::pin(async move {
                organiser.must_run(tx, details.theatre_id).await?;
                let (screen, minutes) = screen_for(tx, &details).await?;
                overlaps.check(tx, &details, minutes, None).await?;
                let show = ShowId::new();
                shows::insert(tx, show, &details, &screen).await.map_err(database)?;
                read_back(&node, tx, show).await
            })
        })
        .await?;
    ingress.board_caught_up().await;
    Ok(created("shows", show.show_id, show))
}

/// Replaces a show that is SCHEDULED.
#[utoipa::path(put, path = "/shows/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = ShowId, Path), Overlaps), request_body = NewShow, responses(
        (status = 200, body = Show),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 409, description = "SHOW_NOT_SCHEDULED, SHOW_OVERLAPS"),
    )
)]
pub(super) async fn change(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(show): PathId<ShowId>,
    Params(overlaps): Params<Overlaps>,
    Body(new): AdminBody<NewShow>,
) -> ApiResult<Json<Show>> {
    let details = ShowDetails::from(new);
    checked(&details)?;
    let node = Arc::clone(&ingress);
    let changing = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_run_show(tx, show).await?;
            organiser.must_run(tx, details.theatre_id).await?;
            match shows::locked_state(tx, show).await.map_err(database)? {
                None => return Err(ApiError::not_found(Code::ShowNotFound)),
                Some(SaleState::Scheduled) => {}
                Some(_) => {
                    return Err(ApiError::new(
                        Code::ShowNotScheduled,
                        "the sale has begun or is over: the show cannot be changed",
                    ));
                }
            }
            let (screen, minutes) = screen_for(tx, &details).await?;
            overlaps.check(tx, &details, minutes, Some(show)).await?;
            shows::replace(tx, show, &details, &screen).await.map_err(database)?;
            read_back(&node, tx, show).await
        })
    });
    let changed = changing.await?;
    ingress.board_caught_up().await;
    Ok(Json(changed))
}

/// Takes a show off the lists.
#[utoipa::path(delete, path = "/shows/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = ShowId, Path)), responses(
        (status = 204),
        (status = 404, description = "SHOW_NOT_FOUND"),
        (status = 409, description = "SHOW_ON_SALE"),
    )
)]
pub(super) async fn retire(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(show): PathId<ShowId>,
) -> ApiResult<StatusCode> {
    let retiring = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_run_show(tx, show).await?;
            match shows::locked_state(tx, show).await.map_err(database)? {
                None => Err(ApiError::not_found(Code::ShowNotFound)),
                Some(SaleState::OnSale) => {
                    Err(ApiError::new(Code::ShowOnSale, "close the sale first"))
                }
                Some(_) => shows::retire(tx, show).await.map_err(database),
            }
        })
    });
    retiring.await?;
    ingress.board_caught_up().await;
    Ok(StatusCode::NO_CONTENT)
}

/// The show as clients see it, with the changes of this transaction, which is not committed yet.
pub(super) async fn read_back(
    ingress: &Ingress,
    tx: &mut Connection,
    show: ShowId,
) -> ApiResult<Show> {
    let sale = shows::by_id(tx, show)
        .await
        .map_err(database)?
        .ok_or_else(|| ApiError::not_found(Code::ShowNotFound))?;
    Ok(ingress.as_seen(&sale))
}

/// The show's screen, and how many minutes the movie lasts; an error where the movie, the theatre, the
/// screen or a tier does not exist.
pub(super) async fn screen_for(
    tx: &mut Connection,
    show: &ShowDetails,
) -> ApiResult<(ScreenDetails, i32)> {
    let movie = movies::locked(tx, show.movie_id).await.map_err(database)?;
    let movie = movie.ok_or_else(|| ApiError::invalid("/movieId", "is not a movie"))?;
    if !theatres::exists(tx, show.theatre_id).await.map_err(database)? {
        return Err(ApiError::invalid("/theatreId", "is not a theatre"));
    }
    let screen = screens::locked(tx, show.screen_id).await.map_err(database)?;
    let screen = screen.filter(|screen| screen.details.theatre_id == show.theatre_id);
    let screen = screen
        .ok_or_else(|| ApiError::invalid("/screenId", "is not a screen of this theatre"))?
        .details;
    for (n, price) in show.prices.iter().enumerate() {
        if !screen.tiers.iter().any(|tier| tier.tier == price.tier) {
            let pointer = format!("/prices/{n}/tier");
            return Err(ApiError::invalid(pointer, "is not a tier of the screen"));
        }
    }
    Ok((screen, movie.details.duration_minutes))
}

impl Overlaps {
    /// The show that is in the way of this one, but `itself`, unless that is allowed.
    pub(super) async fn in_the_way(
        self,
        tx: &mut Connection,
        show: &ShowDetails,
        minutes: i32,
        itself: Option<ShowId>,
    ) -> ApiResult<Option<Overlap>> {
        if matches!(self.overlap, Some(WhereTwoOverlap::Allow)) {
            return Ok(None);
        }
        let found = catalogue::overlap(tx, show.screen_id, show.starts_at, minutes, itself).await;
        found.map_err(database)
    }

    async fn check(
        self,
        tx: &mut Connection,
        show: &ShowDetails,
        minutes: i32,
        itself: Option<ShowId>,
    ) -> ApiResult<()> {
        let other = self.in_the_way(tx, show, minutes, itself).await?;
        other.map_or(Ok(()), |other| Err(overlapping(&other)))
    }
}

fn overlapping(other: &Overlap) -> ApiError {
    let Overlap { title, starts_at, ends_at, .. } = other;
    let detail = format!(
        "{title:?} runs on this screen from {} to {}: choose another time or screen, or send \
         ?overlap=allow",
        starts_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        ends_at.to_rfc3339_opts(SecondsFormat::Secs, true),
    );
    ApiError::new(Code::ShowOverlaps, detail).with("overlaps", as_member(other))
}

/// A show that is in the way, as a member of a problem.
pub(super) fn as_member(other: &Overlap) -> Value {
    json!({"showId": other.show, "startsAt": other.starts_at, "endsAt": other.ends_at})
}

pub(super) fn checked(show: &ShowDetails) -> ApiResult<()> {
    check::time("/startsAt", show.starts_at)?;
    check::time("/saleOpensAt", show.sale_opens_at)?;
    check::time("/saleClosesAt", show.sale_closes_at)?;
    if show.sale_opens_at >= show.sale_closes_at {
        return Err(ApiError::invalid("/saleClosesAt", "is not after saleOpensAt"));
    }
    if show.sale_opens_at >= show.starts_at {
        return Err(ApiError::invalid("/saleOpensAt", "is not before startsAt"));
    }
    // The board drops a show a day after its start.
    if show.sale_closes_at > show.starts_at + Days::new(1) {
        return Err(ApiError::invalid("/saleClosesAt", "is more than a day after startsAt"));
    }
    if let Some(prequeue_opens_at) = show.prequeue_opens_at {
        check::time("/prequeueOpensAt", prequeue_opens_at)?;
        if prequeue_opens_at > show.sale_opens_at {
            return Err(ApiError::invalid("/prequeueOpensAt", "is after saleOpensAt"));
        }
    }
    checked_prices(show)?;
    check::within("/maxSeatsPerUser", show.max_seats_per_user, 1..=20)?;
    check::within("/holdSeconds", show.hold_seconds, 1..=86_400)?;
    check::within("/orderSeconds", show.order_seconds, 1..=86_400)?;
    checked_room("/waitingRoom", &show.waiting_room)
}

fn checked_prices(show: &ShowDetails) -> ApiResult<()> {
    let Some(first) = show.prices.first() else {
        return Err(ApiError::invalid("/prices", "is empty"));
    };
    let mut known = HashSet::new();
    for (n, price) in show.prices.iter().enumerate() {
        let at = |field: &str| format!("/prices/{n}/{field}");
        check::currency(&at("currency"), &price.currency)?;
        if price.currency != first.currency {
            return Err(ApiError::invalid(at("currency"), "is not that of the other prices"));
        }
        check::within(&at("amount"), price.amount, 0..=PRICE_MAX)?;
        if !known.insert(&price.tier) {
            return Err(ApiError::invalid(at("tier"), "is listed twice"));
        }
    }
    Ok(())
}

/// Checks the settings of a waiting room; `pointer` is its JSON pointer.
pub(super) fn checked_room(pointer: &str, room: &RoomSettings) -> ApiResult<()> {
    let at = |field: &str| format!("{pointer}/{field}");
    check::within(&at("ratePerSecond"), room.rate_per_second, 0.01..=100_000.0)?;
    check::within(&at("burst"), room.burst, 1..=100_000)?;
    check::within(&at("maxActive"), room.max_active.unwrap_or(1), 1..=10_000_000)
}
