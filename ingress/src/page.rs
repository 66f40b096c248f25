//! Lists in pages. A cursor is opaque to clients: the sort key of the last item they saw.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use contract::api::Page;
use platform::http::{ApiError, ApiResult};
use serde::{Serialize, de::DeserializeOwned};

const LIMIT_DEFAULT: u16 = 20;
const LIMIT_MAX: u16 = 100;

/// Where a page begins and how long it is at most.
pub(crate) struct Window<K> {
    pub(crate) after: Option<K>,
    limit: usize,
}

impl<K: Serialize + DeserializeOwned> Window<K> {
    /// Reads `limit` and `cursor`.
    pub(crate) fn new(limit: Option<u16>, cursor: Option<&str>) -> ApiResult<Self> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", "is not within 1 and 100"));
        }
        let after = cursor.map(|cursor| {
            decode(cursor).ok_or_else(|| ApiError::invalid("cursor", "is no cursor of this list"))
        });
        Ok(Self { after: after.transpose()?, limit: limit.into() })
    }

    /// How many items to read: one more than the page has, to know whether another follows.
    pub(crate) fn read(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// The page of what was read.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> K) -> Page<T> {
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next_cursor = if more { items.last().map(|last| encode(&key(last))) } else { None };
        Page { items, next_cursor }
    }
}

fn encode(key: &impl Serialize) -> String {
    let json = serde_json::to_vec(key).expect("sort keys are plain JSON");
    BASE64_URL_SAFE_NO_PAD.encode(json)
}

fn decode<K: DeserializeOwned>(cursor: &str) -> Option<K> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    // Postgres takes no NUL in a text.
    let has_nul = json.windows(6).any(|bytes| bytes == b"\\u0000");
    if has_nul { None } else { serde_json::from_slice(&json).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_what_follows_and_nonsense_nowhere() {
        let window = Window::<u32>::new(Some(2), None).unwrap();
        assert_eq!(window.read(), 3);
        let page = window.page(vec![1, 2, 3], |item| *item);
        assert_eq!(page.items, [1, 2]);
        let next = Window::<u32>::new(None, page.next_cursor.as_deref()).unwrap();
        assert_eq!(next.after, Some(2));
        assert_eq!(next.page(vec![3], |item| *item).next_cursor, None);
        for bad in ["", "%", "bm9uc2Vuc2U", &BASE64_URL_SAFE_NO_PAD.encode(r#""\u0000""#)] {
            assert!(Window::<String>::new(None, Some(bad)).is_err(), "{bad}");
        }
        assert!(Window::<u32>::new(Some(0), None).is_err());
        assert!(Window::<u32>::new(Some(101), None).is_err());
    }
}
