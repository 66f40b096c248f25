//! Bounds on the time in which a client sends a body and on the body's length, whichever handler
//! reads it.

use std::{
    error::Error,
    iter::successors,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Body, Bytes, to_bytes},
};
use contract::api::problem::Code;
use http_body_util::LengthLimitError;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Sleep;

use super::{ApiError, ApiResult};

/// Most bytes a body may have.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;
/// Longest time from a client's headers to the end of its body.
const BODY_WAIT: Duration = Duration::from_secs(10);

/// A body that is broken off if it is not complete in time.
pub(super) fn bounded(body: Incoming) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(Bounded { body, over: Box::pin(tokio::time::sleep(BODY_WAIT)) })
}

/// Reads a whole body.
pub(super) async fn read(body: Body, bytes_max: usize) -> ApiResult<Bytes> {
    to_bytes(body, bytes_max).await.map_err(|error| not_whole(&error, bytes_max))
}

struct Bounded {
    body: Incoming,
    over: Pin<Box<Sleep>>,
}

#[derive(Debug, Error)]
#[error("the body came too slowly")]
struct TooSlow;

impl hyper::body::Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        self.over.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The error for a body that is too slow or too long, or that the client broke off.
fn not_whole(error: &axum::Error, bytes_max: usize) -> ApiError {
    let first: &(dyn Error + 'static) = error;
    let mut causes = successors(Some(first), |&error| error.source());
    let why = causes.find_map(|cause| {
        if cause.is::<TooSlow>() {
            let detail = "the body arrived too slowly; send it again";
            return Some(ApiError::new(Code::Timeout, detail));
        }
        cause.is::<LengthLimitError>().then(|| {
            let detail = format!("the body must have at most {bytes_max} bytes");
            ApiError::new(Code::BodyTooLarge, detail)
        })
    });
    let broken = "the body ended too early";
    why.unwrap_or_else(|| ApiError::new(Code::BadRequest, broken))
}
