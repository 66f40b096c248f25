//! What callers may ask of the lists of shows and theatres.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use contract::{MovieId, ShowId, TheatreId};
use platform::http::{ApiError, ApiResult};
use serde::Deserialize;
use store::catalogue::{shows, theatres::Nearby};
use utoipa::IntoParams;

use crate::{check, page::Window};

/// Within what distance theatres are near where nobody says it.
const RADIUS_KM: f64 = 25.0;
/// Half of the way around the earth.
const RADIUS_KM_MAX: f64 = 20_040.0;

/// Which shows are wanted. Days and times of day are those of the theatre.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ShowsWanted {
    /// A day, such as `2026-12-24`; not together with `from` or `until`.
    date: Option<NaiveDate>,
    /// The first day.
    from: Option<NaiveDate>,
    /// The last day.
    until: Option<NaiveDate>,
    /// The earliest time of day, such as `18:00`.
    #[param(value_type = Option<String>, example = "18:00")]
    after: Option<NaiveTime>,
    /// Shows begin before this time of day. `after=22:00&before=02:00` goes over midnight.
    #[param(value_type = Option<String>, example = "23:00")]
    before: Option<NaiveTime>,
    /// In this theatre.
    theatre_id: Option<TheatreId>,
    /// In this city, in upper or lower case.
    city: Option<String>,
    /// Latitude and longitude in degrees, such as `19.05,72.83`.
    near: Option<String>,
    /// Most kilometres from `near`, by the great circle; 25 where it is absent.
    #[param(minimum = 0.1, maximum = 20_040)]
    radius_km: Option<f64>,
    /// Movies of this genre.
    genre: Option<String>,
    /// Movies in this language.
    language: Option<String>,
    /// The highest price of the cheapest tier, in minor units of `currency`.
    #[param(minimum = 0)]
    max_price: Option<i64>,
    /// Goes with `maxPrice`.
    #[param(example = "INR")]
    currency: Option<String>,
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

impl ShowsWanted {
    /// The filter of the store; of one movie, or of all.
    pub(super) fn filter(&self, movie: Option<MovieId>) -> ApiResult<shows::Filter<'_>> {
        let window = Window::<(DateTime<Utc>, ShowId)>::new(self.limit, self.cursor.as_deref())?;
        for (name, day) in [("date", self.date), ("from", self.from), ("until", self.until)] {
            if let Some(day) = day {
                check::date(name, day)?;
            }
        }
        if self.date.is_some() && (self.from.is_some() || self.until.is_some()) {
            return Err(ApiError::invalid("date", "stands beside from or until"));
        }
        Ok(shows::Filter {
            movie,
            genre: text("genre", self.genre.as_deref())?,
            language: text("language", self.language.as_deref())?,
            theatre: self.theatre_id,
            city: text("city", self.city.as_deref())?,
            near: nearby(self.near.as_deref(), self.radius_km)?,
            from: self.date.or(self.from),
            until: self.date.or(self.until),
            not_before: self.after,
            before: self.before,
            price_max: self.price_max()?,
            after: window.after,
            limit: window.limit,
        })
    }

    fn price_max(&self) -> ApiResult<Option<(i64, &str)>> {
        match (self.max_price, self.currency.as_deref()) {
            (None, None) => Ok(None),
            (Some(price), Some(currency)) => {
                check::within("maxPrice", price, 0..=i64::MAX)?;
                check::currency("currency", currency)?;
                Ok(Some((price, currency)))
            }
            (Some(_), None) => Err(ApiError::invalid("currency", "is missing beside maxPrice")),
            (None, Some(_)) => Err(ApiError::invalid("maxPrice", "is missing beside currency")),
        }
    }
}

/// A text that is looked for; an empty one is none.
pub(super) fn text<'a>(pointer: &str, text: Option<&'a str>) -> ApiResult<Option<&'a str>> {
    check::prose(pointer, text.unwrap_or_default(), 100)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// The circle around a place.
pub(super) fn nearby(place: Option<&str>, radius_km: Option<f64>) -> ApiResult<Option<Nearby>> {
    let Some(place) = place else {
        return match radius_km {
            None => Ok(None),
            Some(_) => Err(ApiError::invalid("near", "is missing beside radiusKm")),
        };
    };
    let wrong = || ApiError::invalid("near", "is not a latitude and a longitude: 19.05,72.83");
    let (latitude, longitude) = place.split_once(',').ok_or_else(wrong)?;
    let degrees = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
    let (latitude, longitude) = (degrees(latitude)?, degrees(longitude)?);
    check::within("near", latitude, -90.0..=90.0)?;
    check::within("near", longitude, -180.0..=180.0)?;
    let radius = radius_km.unwrap_or(RADIUS_KM);
    check::within("radiusKm", radius, 0.1..=RADIUS_KM_MAX)?;
    Ok(Some(Nearby { latitude, longitude, metres: radius * 1000.0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_two_numbers_on_the_earth() {
        let near = nearby(Some("19.05, -72.83"), None).unwrap().unwrap();
        assert_eq!((near.latitude, near.longitude, near.metres), (19.05, -72.83, 25_000.0));
        for bad in ["", "19", "19;72", "19,72,1", "91,0", "0,181", "NaN,0", "inf,0", "1e999,0"] {
            assert!(nearby(Some(bad), None).is_err(), "{bad}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 20_041.0] {
            assert!(nearby(Some("0,0"), Some(bad)).is_err(), "{bad}");
        }
        assert!(nearby(None, Some(1.0)).is_err());
    }
}
