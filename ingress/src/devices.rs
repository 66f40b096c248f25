//! The caller's sign-in sessions: seeing them, and ending one that is not theirs.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
};
use contract::{
    SessionId,
    api::{
        accounts::{Session, SessionList},
        problem::Code,
    },
};
use platform::http::{ApiError, ApiResult, ClientAddr, PathId, SignedIn, limits::Network};
use store::{
    devices,
    sessions::{Device, Start},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Ingress, errors::database};

const USER_AGENT_CHARS_MAX: usize = 200;

pub(crate) fn router() -> OpenApiRouter<Arc<Ingress>> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(end))
}

/// The sessions of the caller that are not over.
#[utoipa::path(get, path = "/auth/sessions", tag = "accounts", security(("bearer" = [])),
    responses(
        (status = 200, body = SessionList),
    )
)]
async fn list(
    State(ingress): State<Arc<Ingress>>,
    SignedIn(caller): SignedIn,
) -> ApiResult<Json<SessionList>> {
    let seen = devices::of(&ingress.pool, caller.account).await.map_err(database)?;
    let items = seen.into_iter().map(|seen| Session {
        session_id: seen.id,
        created_at: seen.began_at,
        last_used_at: seen.used_at,
        expires_at: seen.expires_at,
        network: seen.device.network,
        user_agent: seen.device.user_agent,
        current: caller.session == Some(seen.id),
    });
    Ok(Json(SessionList { items: items.collect() }))
}

/// Ends a session of the caller.
///
/// Its refresh token is good no more; its access token is until it expires. To end every token
/// within two seconds, log out everywhere.
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "accounts", security(("bearer" = [])),
    params(("id" = SessionId, Path)), responses(
        (status = 204),
        (status = 404, description = "SESSION_NOT_FOUND"),
    )
)]
async fn end(
    State(ingress): State<Arc<Ingress>>,
    id: ApiResult<PathId<SessionId>>,
    SignedIn(caller): SignedIn,
) -> ApiResult<StatusCode> {
    let PathId(session) = id?;
    if devices::end(&ingress.pool, caller.account, session).await.map_err(database)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found(Code::SessionNotFound))
    }
}

/// Where a call comes from, as far as a session keeps it.
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    pub(crate) device: Device,
}

impl Caller {
    /// The start of a session from here.
    pub(crate) fn start(self, ingress: &Ingress) -> Start {
        Start { device: self.device, lifetime: ingress.session }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let ClientAddr(address) = ClientAddr::from_request_parts(parts, state).await?;
        let user_agent = parts.headers.get(header::USER_AGENT);
        let user_agent = user_agent.and_then(|text| cleaned(text.as_bytes()));
        let device = Device { network: Some(neighbourhood(address)), user_agent };
        Ok(Self { address, device })
    }
}

/// The network of an address, such as `192.0.2.0/24`: enough to know one's own town and provider
/// by, and less than the address of a home.
fn neighbourhood(address: IpAddr) -> String {
    let bits = if address.to_canonical().is_ipv4() { 24 } else { 48 };
    format!("{}/{bits}", Network::around(address))
}

/// A header as text of one line: whatever is not printable ASCII becomes a space.
fn cleaned(header: &[u8]) -> Option<String> {
    let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { ' ' };
    let text: String = header.iter().take(USER_AGENT_CHARS_MAX).map(printable).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_its_network_and_a_short_clean_name() {
        let network = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(network("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("::ffff:192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2::3"), "2001:db8:1::/48");
        assert_eq!(cleaned(b" Firefox\t\xff/1 ").as_deref(), Some("Firefox  /1"));
        assert_eq!(cleaned(b" \x01 "), None);
        assert_eq!(cleaned(&[b'x'; 500]).unwrap().len(), USER_AGENT_CHARS_MAX);
    }
}
