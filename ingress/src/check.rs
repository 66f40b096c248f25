//! Checks of values in request bodies. Each error names the field by its JSON pointer.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use iso_currency::Currency;
use platform::http::{ApiError, ApiResult};

/// A line of text: not blank, no control characters, at most `chars_max` characters.
pub(crate) fn line(pointer: &str, text: &str, chars_max: usize) -> ApiResult<()> {
    if text.trim().is_empty() {
        return Err(ApiError::invalid(pointer, "is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::invalid(pointer, "has control characters"));
    }
    shorter(pointer, text, chars_max)
}

/// Text of several lines; may be empty.
pub(crate) fn prose(pointer: &str, text: &str, chars_max: usize) -> ApiResult<()> {
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t' && c != '\r') {
        return Err(ApiError::invalid(pointer, "has control characters"));
    }
    shorter(pointer, text, chars_max)
}

fn shorter(pointer: &str, text: &str, chars_max: usize) -> ApiResult<()> {
    if text.chars().count() > chars_max {
        return Err(ApiError::invalid(pointer, format!("is longer than {chars_max} characters")));
    }
    Ok(())
}

/// A new password.
pub(crate) fn password(pointer: &str, text: &str) -> ApiResult<()> {
    within(pointer, text.chars().count(), 8..=128)
        .map_err(|_| ApiError::invalid(pointer, "is not 8 to 128 characters long"))
}

/// A number within bounds.
pub(crate) fn within<T>(pointer: &str, value: T, bounds: RangeInclusive<T>) -> ApiResult<()>
where
    T: Copy + PartialOrd + std::fmt::Display,
{
    if bounds.contains(&value) {
        return Ok(());
    }
    let detail = format!("is not within {} and {}", bounds.start(), bounds.end());
    Err(ApiError::invalid(pointer, detail))
}

/// A time that a database and a calendar can hold.
pub(crate) fn time(pointer: &str, time: DateTime<Utc>) -> ApiResult<()> {
    within(pointer, time.year(), 2000..=2200)
}

/// A day that a database and a calendar can hold; the first films are from 1888.
pub(crate) fn date(pointer: &str, date: NaiveDate) -> ApiResult<()> {
    within(pointer, date.year(), 1888..=2200)
}

/// The name of a time zone, such as `Asia/Kolkata`.
pub(crate) fn time_zone(pointer: &str, name: &str) -> ApiResult<()> {
    let known = name.parse::<chrono_tz::Tz>();
    known.map(|_| ()).map_err(|_| not_a_zone(pointer))
}

pub(crate) fn not_a_zone(pointer: &str) -> ApiError {
    ApiError::invalid(pointer, "is not an IANA name of a time zone, such as Asia/Kolkata")
}

/// A currency in which prices can be told: of ISO 4217, with minor units. Neither funds, nor metals,
/// nor codes for tests.
pub(crate) fn currency(pointer: &str, code: &str) -> ApiResult<()> {
    let known = Currency::from_code(code).filter(|currency| {
        !currency.is_fund() && !currency.is_special() && currency.exponent().is_some()
    });
    known.map(|_| ()).ok_or_else(|| ApiError::invalid(pointer, "is not a currency of ISO 4217"))
}

/// An e-mail address: visible ASCII, one `@`, then a host name. Returns it in lower case.
pub(crate) fn email(pointer: &str, text: &str) -> ApiResult<String> {
    let lower = text.to_ascii_lowercase();
    let good = lower.len() <= 254
        && lower.bytes().all(|b| b.is_ascii_graphic())
        && lower.split_once('@').is_some_and(|(local, host)| {
            (1..=64).contains(&local.len())
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        });
    if good { Ok(lower) } else { Err(ApiError::invalid(pointer, "is not an e-mail address")) }
}

/// A phone number: 3 to 20 of digits, spaces, `+`, `-`, `.`, `(` and `)`.
pub(crate) fn phone(pointer: &str, text: Option<&str>) -> ApiResult<()> {
    let Some(text) = text else { return Ok(()) };
    let good = (3..=20).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit() || b" +-.()".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit());
    if good { Ok(()) } else { Err(ApiError::invalid(pointer, "is not a phone number")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_of_any_script_but_hold_no_control_characters() {
        for good in ["Zoë", "नेहा", "🎬", "Robert'); drop table accounts;--"] {
            assert!(line("/name", good, 100).is_ok(), "{good}");
        }
        for bad in ["", "  ", "a\u{0}b", "a\nb", "x".repeat(101).as_str()] {
            assert!(line("/name", bad, 100).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_taken_in_lower_case() {
        assert_eq!(email("/email", "Ann@Example.ORG").unwrap(), "ann@example.org");
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in ["", "ann", "@a.b", "a@", "a@b@c", "a b@c.d", "ä@c.d", "a@b..c", "a@\0", &long]
        {
            assert!(email("/email", bad).is_err(), "{bad:?}");
        }
    }
}
