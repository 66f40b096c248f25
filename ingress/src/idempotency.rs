//! Writes that a client may send again under one `Idempotency-Key`.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use contract::{AccountId, api::problem::Code, booking_id::is_key};
use futures_util::future::BoxFuture;
use platform::http::{ApiError, ApiResult};
use serde::{Serialize, de::DeserializeOwned};
use store::{
    Connection,
    bound_keys::{self, Binding, BindingState},
    idempotency::Attempt,
};

use crate::{
    Ingress,
    errors::{database, transaction},
};

const HEADER: &str = "idempotency-key";

/// The `Idempotency-Key`, where one was sent: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let is_alone = values.next().is_none();
        match value.to_str() {
            Ok(text) if is_key(value.as_bytes()) && is_alone => Ok(Self(Some(text.to_owned()))),
            _ => Err(ApiError::invalid("Idempotency-Key", "is not 1 to 64 visible characters")),
        }
    }
}

/// The key and the call of a write.
#[derive(Debug)]
pub(crate) struct Write {
    key: IdempotencyKey,
    call: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Write {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let key = IdempotencyKey::from_request_parts(parts, state).await?;
        Ok(Self { key, call: format!("{} {}", parts.method, parts.uri.path()) })
    }
}

impl Write {
    /// Does the work once, in a transaction that also keeps the answer. The same key with the
    /// same call and body gets that answer again; with another call or body it gets 422. Without a
    /// key the work is always done. Work that fails leaves no trace, so its key may be used again.
    ///
    /// The work goes on even if the client goes away.
    pub(crate) async fn once<T, W>(
        self,
        ingress: &Arc<Ingress>,
        account: AccountId,
        body: &impl Serialize,
        status: StatusCode,
        work: W,
    ) -> ApiResult<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        W: for<'t> FnOnce(&'t mut Connection) -> BoxFuture<'t, ApiResult<T>> + Send + 'static,
    {
        let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
        let fingerprint = fingerprint(&self.call, &body);
        let ingress = Arc::clone(ingress);
        store::detached(async move {
            if let Some(key) = &self.key.0 {
                belongs_to(&ingress, account, key, &fingerprint).await?;
            }
            let mut tx = ingress.pool.begin().await.map_err(transaction)?;
            let Some(key) = self.key.0 else {
                let answer = work(&mut tx).await?;
                tx.commit().await.map_err(transaction)?;
                return Ok(answer);
            };
            match store::idempotency::begin(&mut tx, account, &key, &fingerprint).await {
                Ok(Attempt::First) => {}
                Ok(Attempt::Repeated(answer)) => {
                    return serde_json::from_value(answer).map_err(ApiError::internal);
                }
                Ok(Attempt::KeyReused) => return Err(key_reused()),
                Err(error) => return Err(database(error)),
            }
            let answer = work(&mut tx).await?;
            let kept = serde_json::to_value(&answer).map_err(ApiError::internal)?;
            store::idempotency::finish(&mut tx, account, &key, status.as_u16(), &kept)
                .await
                .map_err(database)?;
            tx.commit().await.map_err(transaction)?;
            bind(&ingress, account, &key, &fingerprint).await;
            Ok(answer)
        })
        .await
    }
}

/// 422 if Redis knows that the key came with another request; only Redis has the keys of bookings.
async fn belongs_to(
    ingress: &Ingress,
    account: AccountId,
    key: &str,
    fingerprint: &[u8],
) -> ApiResult<()> {
    let now = ingress.board.borrow().now();
    let Ok(memory) = bound_keys::look(&ingress.cache, account, None, key, now).await else {
        return Ok(());
    };
    match memory.binding {
        Some(before) if before.request != word(fingerprint) => Err(key_reused()),
        _ => Ok(()),
    }
}

/// Binds the key to this request in Redis, so that a booking with the same key is refused.
async fn bind(ingress: &Ingress, account: AccountId, key: &str, fingerprint: &[u8]) {
    let at = ingress.board.borrow().now();
    let binding = Binding { request: word(fingerprint), state: BindingState::Done, at };
    // If Redis is away, such a booking is not refused; other writes are, by the database.
    let _ = bound_keys::bind(&ingress.cache, account, key, &binding).await;
}

fn word(fingerprint: &[u8]) -> String {
    format!("write {}", URL_SAFE_NO_PAD.encode(fingerprint))
}

/// SHA-256 over the call and its body.
fn fingerprint(call: &str, body: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&(call.len() as u64).to_be_bytes());
    context.update(call.as_bytes());
    context.update(body);
    context.finish().as_ref().to_vec()
}

/// 422 for a key that came with another request.
pub(crate) fn key_reused() -> ApiError {
    ApiError::new(
        Code::IdempotencyKeyReused,
        "this Idempotency-Key was sent with another request before; choose a new one",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, Request};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The key read from these header values; an error where they are refused.
    fn read(values: &[&[u8]]) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).map_err(drop)?);
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = headers;
        let reading = IdempotencyKey::from_request_parts(&mut parts, &());
        let read = futures_util::FutureExt::now_or_never(reading)
            .expect("headers are read without waiting");
        read.map(|IdempotencyKey(key)| key).map_err(drop)
    }

    proptest! {
        #[test]
        fn a_good_key_is_read_and_two_are_not(key in "[!-~]{1,64}", other in "[!-~]{1,64}") {
            prop_assert_eq!(read(&[]), Ok(None));
            prop_assert_eq!(read(&[key.as_bytes()]), Ok(Some(key.clone())));
            prop_assert_eq!(read(&[key.as_bytes(), other.as_bytes()]), Err(()));
        }

        #[test]
        fn any_other_key_is_refused(bytes in vec(any::<u8>(), 0..70), long in "[!-~]{65,80}") {
            let good = (1..=64).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
            prop_assert_eq!(read(&[&bytes]).is_ok(), good);
            prop_assert_eq!(read(&[long.as_bytes()]), Err(()));
        }
    }

    #[test]
    fn another_call_or_body_has_another_fingerprint() {
        let print = fingerprint("POST /movies", b"{}");
        assert_eq!(print, fingerprint("POST /movies", b"{}"));
        assert_ne!(print, fingerprint("POST /movies", b"[]"));
        assert_ne!(print, fingerprint("POST /movies{", b"}"));
    }
}
