//! Many shows at once: a series by days of the week and times of day.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use contract::{
    ShowId,
    api::{
        catalogue::{NewShow, ScreenDetails, ShowDetails},
        problem::Code,
        series::{NewSeries, Series},
    },
};
use platform::http::{ApiError, ApiResult, Body, Params};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    Connection,
    catalogue::{shows, theatres},
};
use utoipa::IntoParams;

use super::{
    shows::{Overlaps, as_member, checked, screen_for},
    write::{AdminBody, Organiser},
};
use crate::{Ingress, check, errors::database, idempotency::Write};

/// Most shows of one call.
const SHOWS_MAX: usize = 200;
/// Most seats of one call: each show has its own copy of them.
const SEATS_MAX: usize = 200_000;
const DAYS_MAX: i64 = 366;
const TIMES_MAX: usize = 24;

#[derive(Clone, Copy, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Trial {
    /// Whether the shows are only tried: answered as if they had been entered.
    dry_run: Option<bool>,
}

/// Enters a series of shows, all or none.
///
/// At most 200 shows and 200,000 seats. Where shows are in the way of some of them, none is entered,
/// and `conflicts` names each. With `dryRun=true` none is entered either way.
#[utoipa::path(post, path = "/shows/bulk", tag = "administration", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header), Trial), request_body = NewSeries,
    responses(
        (status = 200, body = Series, description = "tried"),
        (status = 201, body = Series),
        (status = 409, description = "SHOW_OVERLAPS"),
        (status = 422, description = "LIMIT_EXCEEDED"),
    )
)]
pub(super) async fn create(
    State(ingress): State<Arc<Ingress>>,
    organiser: Organiser,
    write: Write,
    Params(Trial { dry_run }): Params<Trial>,
    Body(new): AdminBody<NewSeries>,
) -> ApiResult<(StatusCode, Json<Series>)> {
    let (node, series) = (Arc::clone(&ingress), new.clone());
    if dry_run == Some(true) {
        let tried = organiser.try_out(&ingress, move |tx| {
            Box::pin(async move { enter(&node, &organiser, tx, series).await })
        });
        return Ok((StatusCode::OK, Json(tried.await?)));
    }
    let entering = organiser.once(&ingress, write, &new, StatusCode::CREATED, move |tx| {
        Box::pin(async move { enter(&node, &organiser, tx, series).await })
    });
    let entered = entering.await?;
    ingress.board_caught_up().await;
    Ok((StatusCode::CREATED, Json(entered)))
}

async fn enter(
    ingress: &Ingress,
    organiser: &Organiser,
    tx: &mut Connection,
    series: NewSeries,
) -> ApiResult<Series> {
    let NewSeries { show, from, until, weekdays, times } = series;
    let theatre = theatres::by_id(&mut *tx, show.theatre_id).await.map_err(database)?;
    let theatre =
        theatre.ok_or_else(|| ApiError::invalid("/show/theatreId", "is not a theatre"))?;
    organiser.must_run(tx, show.theatre_id).await?;
    let zone = theatre.details.time_zone.as_deref().unwrap_or("UTC").parse::<Tz>();
    let zone = zone.map_err(ApiError::internal)?;
    check::date("/from", from)?;
    check::date("/until", until)?;
    if until < from || (until - from).num_days() > DAYS_MAX {
        return Err(ApiError::invalid("/until", "is not 0 to 366 days after from"));
    }
    let times = times_of_day(&times)?;
    let is_wanted = |day: &NaiveDate| {
        weekdays.as_ref().is_none_or(|weekdays| weekdays.contains(&day.weekday()))
    };
    let days: Vec<NaiveDate> =
        from.iter_days().take_while(|day| *day <= until).filter(is_wanted).collect();
    let starts = starts(&days, &times, zone)?;
    if starts.is_empty() {
        return Err(ApiError::invalid("/weekdays", "none of these days is between from and until"));
    }
    let shows: Vec<ShowDetails> =
        starts.into_iter().map(|starts_at| moved(&show, starts_at)).collect();
    for show in &shows {
        checked(show).map_err(|error| error.within("/show"))?;
    }
    let (screen, minutes) =
        screen_for(tx, &shows[0]).await.map_err(|error| error.within("/show"))?;
    if shows.len() > SHOWS_MAX || shows.len() * seats(&screen) > SEATS_MAX {
        let detail = format!(
            "{} shows with {} seats each are more than one call enters: {SHOWS_MAX} shows, and \
             {SEATS_MAX} seats; send several calls",
            shows.len(),
            seats(&screen)
        );
        return Err(ApiError::new(Code::LimitExceeded, detail).with("limit", "SERIES"));
    }
    let (mut entered, mut conflicts) = (Vec::with_capacity(shows.len()), Vec::<Value>::new());
    for details in &shows {
        let overlaps = Overlaps::default();
        if let Some(other) = overlaps.in_the_way(tx, details, minutes, None).await? {
            conflicts.push(json!({"startsAt": details.starts_at, "overlaps": as_member(&other)}));
            continue;
        }
        let show = ShowId::new();
        shows::insert(tx, show, details, &screen).await.map_err(database)?;
        entered.push(show);
    }
    if conflicts.is_empty() {
        let sales = shows::by_ids(tx, &entered).await.map_err(database)?;
        return Ok(Series { items: sales.iter().map(|sale| ingress.as_seen(sale)).collect() });
    }
    let detail = format!(
        "{} of {} shows would run while another does on this screen; none was entered",
        conflicts.len(),
        shows.len()
    );
    Err(ApiError::new(Code::ShowOverlaps, detail).with("conflicts", conflicts))
}

fn seats(screen: &ScreenDetails) -> usize {
    screen.tiers.iter().map(|tier| usize::try_from(tier.capacity).unwrap_or(0)).sum()
}

/// The show of a series that begins at this time.
fn moved(show: &NewShow, starts_at: DateTime<Utc>) -> ShowDetails {
    let closes_after_start = show.sale_closes_at - show.starts_at;
    let details = ShowDetails::from(show.clone());
    ShowDetails { starts_at, sale_closes_at: starts_at + closes_after_start, ..details }
}

fn times_of_day(texts: &[String]) -> ApiResult<Vec<NaiveTime>> {
    check::within("/times", texts.len(), 1..=TIMES_MAX)?;
    let times = texts.iter().enumerate().map(|(n, text)| {
        let wrong = |_| ApiError::invalid(format!("/times/{n}"), "is not a time of day: 20:30");
        NaiveTime::parse_from_str(text, "%H:%M").map_err(wrong)
    });
    let mut times: Vec<NaiveTime> = times.collect::<ApiResult<_>>()?;
    times.sort_unstable();
    times.dedup();
    Ok(times)
}

/// The moments at which the clocks of this zone show these times on these days. A time that comes
/// twice in the night when clocks go back is the first one; one that is left out in the night when
/// they go forward is refused.
fn starts(days: &[NaiveDate], times: &[NaiveTime], zone: Tz) -> ApiResult<Vec<DateTime<Utc>>> {
    let moments = days.iter().flat_map(|day| times.iter().map(|time| day.and_time(*time)));
    let moments = moments.map(|local| {
        let moment = zone.from_local_datetime(&local).earliest();
        moment.map(|moment| moment.to_utc()).ok_or_else(|| {
            let detail = format!("no clock shows {local} in {zone}: clocks go forward then");
            ApiError::invalid("/times", detail)
        })
    });
    moments.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(texts: &[&str]) -> Vec<NaiveTime> {
        times_of_day(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn shows_begin_by_the_clocks_of_the_theatre_in_every_season() {
        let days = [day("2027-03-27"), day("2027-03-28"), day("2027-10-31")];
        let starts = starts(&days, &at(&["20:00"]), Tz::Europe__Berlin).unwrap();
        let expected = ["2027-03-27T19:00:00Z", "2027-03-28T18:00:00Z", "2027-10-31T19:00:00Z"];
        assert_eq!(starts, expected.map(|text| text.parse::<DateTime<Utc>>().unwrap()));
    }

    #[test]
    fn a_time_that_comes_twice_is_the_first_and_one_that_does_not_come_is_refused() {
        let twice = starts(&[day("2027-10-31")], &at(&["02:30"]), Tz::Europe__Berlin).unwrap();
        assert_eq!(twice, ["2027-10-31T00:30:00Z".parse::<DateTime<Utc>>().unwrap()]);
        assert!(starts(&[day("2027-03-28")], &at(&["02:30"]), Tz::Europe__Berlin).is_err());
        for bad in ["", "24:00", "8", "20:60", "20:30:00", "8 pm", "-1:00"] {
            assert!(times_of_day(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert_eq!(at(&["20:30", "18:00", "20:30"]), at(&["18:00", "20:30"]));
    }

    proptest! {
        #[test]
        fn every_start_shows_its_time_on_the_clocks(
            days in 0..20_000i32, minute in 0..1440u32, zone in prop::sample::select(
                [Tz::Asia__Kolkata, Tz::America__St_Johns, Tz::Australia__Lord_Howe].as_slice()),
        ) {
            let day = NaiveDate::from_num_days_from_ce_opt(735_000 + days).unwrap();
            let time = NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).unwrap();
            if let Ok(starts) = starts(&[day], &[time], zone) {
                prop_assert_eq!(starts[0].with_timezone(&zone).naive_local(), day.and_time(time));
            }
        }
    }
}
