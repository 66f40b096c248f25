//! The text that tells how to try the system that a demonstration leaves running.

use std::net::SocketAddr;

use contract::ShowId;

/// The values in the text.
pub(super) struct Invitation<'a> {
    pub(super) origin: &'a str,
    pub(super) metrics: SocketAddr,
    /// A show on sale without a line.
    pub(super) show: ShowId,
    /// The token of an account without orders for this show.
    pub(super) token: &'a str,
    pub(super) admin_email: &'a str,
    pub(super) admin_password: &'a str,
}

/// Lines to paste into a shell.
pub(super) fn text(invitation: &Invitation<'_>) -> String {
    let Invitation { origin, metrics, show, token, admin_email, admin_password } = invitation;
    format!(
        r#"Usher stays up at {origin} until Ctrl-C.
  API to read   {origin}/docs
  metrics       http://{metrics}/metrics
  admin         {admin_email}  password {admin_password}

Try it:
  API={origin}/api/v1
  TOKEN={token}
  curl -s "$API/shows/upcoming?limit=3"
  curl -s "$API/shows/{show}"
  curl -s -X POST "$API/bookings" -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Prefer: wait=5" -d '{{"showId":"{show}","tier":"LAWN","quantity":2}}'
  curl -s "$API/auth/bookings" -H "Authorization: Bearer $TOKEN"
  curl -s -X POST "$API/orders/<orderId>/confirm-payment" -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d '{{"method":"mock"}}'
  curl -s "$API/orders/<orderId>/ticket" -H "Authorization: Bearer $TOKEN"
"#
    )
}
