//! Lists in pages. A cursor is the sort key of the last item of a page, opaque to clients.

use axum::{extract::FromRequestParts, http::request::Parts};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use contract::api::Page;
use platform::http::{ApiError, ApiResult, Params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::IntoParams;

use crate::check;

const LIMIT_DEFAULT: u16 = 20;
const LIMIT_MAX: u16 = 100;

/// What a list is sorted by: a text or a time, perhaps after a number, and the item's id.
pub(crate) trait SortKey: Serialize + DeserializeOwned {
    /// Whether an item can have this key. A client may have made it up, and the database refuses
    /// some texts and times that JSON can hold.
    fn is_possible(&self) -> bool;
}

impl<Id: Serialize + DeserializeOwned> SortKey for (String, Id) {
    fn is_possible(&self) -> bool {
        !self.0.contains('\0')
    }
}

impl<Id: Serialize + DeserializeOwned> SortKey for (i32, String, Id) {
    fn is_possible(&self) -> bool {
        !self.1.contains('\0')
    }
}

impl SortKey for i64 {
    fn is_possible(&self) -> bool {
        true
    }
}

impl<Id: Serialize + DeserializeOwned> SortKey for (DateTime<Utc>, Id) {
    fn is_possible(&self) -> bool {
        check::time("cursor", self.0).is_ok()
    }
}

/// Where a page begins, and its most items.
pub(crate) struct Window<K> {
    pub(crate) after: Option<K>,
    pub(crate) limit: u16,
}

/// The parameters of a list that has no others.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// 20 where it is absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u16>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

impl<K: SortKey, S: Send + Sync> FromRequestParts<S> for Window<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Params(PageParams { limit, cursor }) = Params::from_request_parts(parts, state).await?;
        Self::new(limit, cursor.as_deref())
    }
}

impl<K: SortKey> Window<K> {
    /// Reads `limit` and `cursor`.
    pub(crate) fn new(limit: Option<u16>, cursor: Option<&str>) -> ApiResult<Self> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", "is not within 1 and 100"));
        }
        let after = cursor.map(|cursor| {
            decode(cursor)
                .ok_or_else(|| ApiError::invalid("cursor", "is not a cursor of this list"))
        });
        Ok(Self { after: after.transpose()?, limit })
    }

    /// How many items to read: one more than the page has, to know whether another follows.
    pub(crate) fn read(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The page of the items that were read.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> K) -> Page<T> {
        let limit = usize::from(self.limit);
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more).map(key);
        page_to(items, last.as_ref())
    }
}

/// A page. `last` is the key of its last item if another page follows.
pub(crate) fn page_to<T>(items: Vec<T>, last: Option<&impl SortKey>) -> Page<T> {
    Page { items, next_cursor: last.map(encode) }
}

fn encode(key: &impl SortKey) -> String {
    let json = serde_json::to_vec(key).expect("sort keys are plain JSON");
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

fn decode<K: SortKey>(cursor: &str) -> Option<K> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    serde_json::from_slice(&json).ok().filter(K::is_possible)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type ByName = (String, u32);
    type ByTime = (DateTime<Utc>, u32);

    #[test]
    fn a_cursor_leads_to_what_follows_and_nonsense_nowhere() {
        let window = Window::<ByName>::new(Some(2), None).unwrap();
        assert_eq!(window.read(), 3);
        let page = window.page(vec![1, 2, 3], |item| ("a".to_owned(), *item));
        assert_eq!(page.items, [1, 2]);
        let next = Window::<ByName>::new(None, page.next_cursor.as_deref()).unwrap();
        assert_eq!(next.after, Some(("a".to_owned(), 2)));
        assert_eq!(next.page(vec![3], |item| ("a".to_owned(), *item)).next_cursor, None);
        for bad in ["", "%", "bm9uc2Vuc2U", &BASE64_URL_SAFE_NO_PAD.encode(r#"["\u0000",1]"#)] {
            assert!(Window::<ByName>::new(None, Some(bad)).is_err(), "{bad}");
        }
        for bad in ["-262143-01-01", "0000-01-01", "+262142-12-31"] {
            let cursor = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"["{bad}T00:00:00Z",1]"#));
            assert!(Window::<ByTime>::new(None, Some(&cursor)).is_err(), "{bad}");
        }
        assert!(Window::<ByName>::new(Some(0), None).is_err());
        assert!(Window::<ByName>::new(Some(101), None).is_err());
    }

    proptest! {
        #[test]
        fn any_key_of_an_item_is_read_back(
            name in "[^\0]{0,40}", seconds in 946_684_800..7_258_118_400i64, id: u32,
        ) {
            let by_name = (name, id);
            prop_assert_eq!(decode::<ByName>(&encode(&by_name)), Some(by_name));
            let by_time = (DateTime::from_timestamp(seconds, 0).unwrap(), id);
            prop_assert_eq!(decode::<ByTime>(&encode(&by_time)), Some(by_time));
        }

        #[test]
        fn what_is_read_of_any_cursor_is_possible(
            text in ".{0,60}", name in ".{0,20}", year in -300_000..300_000i32, id: u32,
        ) {
            let json = format!(r#"["{year:+07}-01-01T00:00:00Z",{id}]"#);
            for cursor in [text, encode(&(name, id)), BASE64_URL_SAFE_NO_PAD.encode(json)] {
                prop_assert!(decode::<ByName>(&cursor).is_none_or(|(name, _)| !name.contains('\0')));
                let by_time = decode::<ByTime>(&cursor);
                prop_assert!(by_time.is_none_or(|(at, _)| check::time("", at).is_ok()));
            }
        }
    }
}
