//! HTTP as every service speaks it: one way to serve, one shape of error, one way to read bodies.

mod serve;
mod ready;
mod problem;
mod refusals;
mod hint;
mod extract;
mod deadline;
mod address;
mod origin;
mod browser;
mod door;
mod openapi;
mod docs;
pub mod access;
pub mod limits;
pub mod socket;

pub use docs::docs;
pub use door::Door;
pub use extract::{
    ADMIN_BODY_BYTES_MAX, Body, ClientAddr, KnownCaller, OptionalBody, OptionalCaller, Params,
    PathId, SignedIn, asks_for, bearer, path_ids, set_caller,
};
pub use hint::{reconnect_after, retry_after};
pub use origin::origin_is_allowed;
pub use problem::{ApiError, ApiResult, RequestId};
pub use serve::{ClientConnection, HEADERS_WAIT, serve, serve_admin};
