//! Screens and their layouts, as organisers write them.

use std::{collections::HashSet, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use contract::{
    ScreenId, TierCode,
    api::{
        catalogue::{NewScreen, Screen, ScreenDetails},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, Body, PathId};
use store::{
    Connection,
    catalogue::{
        screens::{self, ScreenChange},
        theatres,
    },
};

use super::write::{Created, Organiser, created, retired};
use crate::{Ingress, check, errors::database, idempotency::Write};

const TIERS_MAX: usize = 20;
const ROWS_MAX: usize = 2_000;
const SEATS_IN_ROW_MAX: usize = 500;
const SEATS_MAX: usize = 100_000;
const GENERAL_ADMISSION_MAX: i32 = 100_000;

/// A seat with the longest names has about 100 bytes.
const SCREEN_BYTES_MAX: usize = 12 * 1024 * 1024;
type ScreenBody = Body<NewScreen, SCREEN_BYTES_MAX>;

/// Adds a screen.
///
/// With at most 100,000 seats, in rows of at most 500.
/// The capacity of a tier with seats is counted from the layout.
#[utoipa::path(post, path = "/screens", tag = "administration", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)), request_body = NewScreen, responses(
        (status = 201, body = Screen),
    )
)]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    Body(new): ScreenBody,
) -> ApiResult<Created<Screen>> {
    let details = checked(new.clone().into())?;
    let screen = organiser
        .once(&ingress, write, &new, StatusCode::CREATED, move |tx| {
            Box::pin(async move {
                stands_in_a_theatre(tx, &details).await?;
                organiser.must_run(tx, details.theatre_id).await?;
                let screen_id = ScreenId::new();
                screens::insert(tx, screen_id, &details).await.map_err(database)?;
                Ok(Screen { screen_id, details })
            })
        })
        .await?;
    Ok(created("screens", screen.screen_id, screen))
}

/// Replaces what is known of a screen.
///
/// While shows to come are sold by its layout, only the name may change.
#[utoipa::path(put, path = "/screens/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = ScreenId, Path)), request_body = NewScreen, responses(
        (status = 200, body = Screen),
        (status = 404, description = "SCREEN_NOT_FOUND"),
        (status = 409, description = "SCREEN_IN_USE"),
    )
)]
pub(super) async fn change(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(screen_id): PathId<ScreenId>,
    Body(new): ScreenBody,
) -> ApiResult<Json<Screen>> {
    let details = checked(new.into())?;
    let changing = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_run_screen(tx, screen_id).await?;
            let change = screens::change(tx, screen_id, &details).await.map_err(database)?;
            match change {
                ScreenChange::NotFound => return Err(ApiError::not_found(Code::ScreenNotFound)),
                ScreenChange::InUse => {
                    return Err(ApiError::new(
                        Code::ScreenInUse,
                        "shows to come use this layout: only the name can be changed",
                    ));
                }
                ScreenChange::Done => {}
            }
            stands_in_a_theatre(tx, &details).await?;
            organiser.must_run(tx, details.theatre_id).await?;
            Ok(Screen { screen_id, details })
        })
    });
    changing.await.map(Json)
}

/// Takes a screen off the lists, if no show to come needs it; shows of the past stay.
#[utoipa::path(delete, path = "/screens/{id}", tag = "administration", security(("bearer" = [])),
    params(("id" = ScreenId, Path)), responses(
        (status = 204),
        (status = 404, description = "SCREEN_NOT_FOUND"),
        (status = 409, description = "STILL_IN_USE"),
    )
)]
pub(super) async fn retire(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    PathId(screen): PathId<ScreenId>,
) -> ApiResult<StatusCode> {
    let retiring = organiser.change(&ingress, move |tx| {
        Box::pin(async move {
            organiser.must_run_screen(tx, screen).await?;
            retired(screens::retire(tx, screen).await.map_err(database)?, Code::ScreenNotFound)
        })
    });
    retiring.await
}

async fn stands_in_a_theatre(tx: &mut Connection, screen: &ScreenDetails) -> ApiResult<()> {
    if theatres::exists(tx, screen.theatre_id).await.map_err(database)? {
        return Ok(());
    }
    Err(ApiError::invalid("/theatreId", "is not a theatre"))
}

/// Checks that the tiers and the layout of a screen agree, and counts the capacities of tiers with
/// seats.
fn checked(mut screen: ScreenDetails) -> ApiResult<ScreenDetails> {
    check::line("/name", &screen.name, 100)?;
    check::within("/tiers", screen.tiers.len(), 1..=TIERS_MAX)?;
    checked_layout(&screen)?;
    let mut known = HashSet::new();
    for (n, tier) in screen.tiers.iter_mut().enumerate() {
        let at = |field: &str| format!("/tiers/{n}/{field}");
        check::line(&at("name"), &tier.name, 100)?;
        if !known.insert(tier.tier.clone()) {
            return Err(ApiError::invalid(at("tier"), "is listed twice"));
        }
        if tier.general_admission {
            check::within(&at("capacity"), tier.capacity, 1..=GENERAL_ADMISSION_MAX)?;
            continue;
        }
        let seats = screen.layout.rows.iter().flat_map(|row| &row.seats);
        let sold = seats.filter(|seat| seat.tier == tier.tier && seat.kind.is_sellable()).count();
        if sold == 0 {
            return Err(ApiError::invalid(at("tier"), "has no seat in the layout"));
        }
        tier.capacity = i32::try_from(sold).map_err(ApiError::internal)?;
    }
    Ok(screen)
}

fn checked_layout(screen: &ScreenDetails) -> ApiResult<()> {
    let with_seats: HashSet<&TierCode> =
        screen.tiers.iter().filter(|tier| !tier.general_admission).map(|tier| &tier.tier).collect();
    check::within("/layout/rows", screen.layout.rows.len(), 0..=ROWS_MAX)?;
    let n_seats: usize = screen.layout.rows.iter().map(|row| row.seats.len()).sum();
    check::within("/layout", n_seats, 0..=SEATS_MAX)?;
    let mut labels = HashSet::with_capacity(n_seats);
    for (r, row) in screen.layout.rows.iter().enumerate() {
        check::line(&format!("/layout/rows/{r}/row"), &row.row, 10)?;
        let at = format!("/layout/rows/{r}/seats");
        check::within(&at, row.seats.len(), 0..=SEATS_IN_ROW_MAX)?;
        for (s, seat) in row.seats.iter().enumerate() {
            if !with_seats.contains(&seat.tier) {
                let pointer = format!("{at}/{s}/tier");
                return Err(ApiError::invalid(pointer, "is not a tier of this screen with seats"));
            }
            if !labels.insert(&seat.seat_id) {
                return Err(ApiError::invalid(format!("{at}/{s}/seatId"), "is listed twice"));
            }
        }
    }
    Ok(())
}
