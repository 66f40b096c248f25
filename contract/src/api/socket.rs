//! What every WebSocket has in common: its subprotocols and its close codes.

/// The subprotocol of every socket.
pub const SUBPROTOCOL: &str = "usher.v1";
/// Prefix of the subprotocol that carries an access token as credential.
pub const BEARER_PROTOCOL: &str = "bearer.";

/// Close codes of sockets. The reasons of [`DRAIN`](close::DRAIN) and
/// [`TRY_LATER`](close::TRY_LATER) begin with when to connect again: `retry in 2.345 s: `, with a
/// different number for each client.
pub mod close {
    use std::time::Duration;

    /// Precedes the seconds in a reason.
    const RETRY_IN: &str = "retry in ";

    /// A reason that says when to connect again.
    #[must_use]
    pub fn with_retry(wait: Duration, reason: &str) -> String {
        format!("{RETRY_IN}{}.{:03} s: {reason}", wait.as_secs(), wait.subsec_millis())
    }

    /// The wait before connecting again, if the reason names one.
    #[must_use]
    pub fn retry_in(reason: &str) -> Option<Duration> {
        let (seconds, _) = reason.strip_prefix(RETRY_IN)?.split_once(" s")?;
        Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
    }

    /// Both sides agree that the conversation is over.
    pub const NORMAL: u16 = 1000;
    /// The node is stopping; connect again.
    pub const DRAIN: u16 = 1001;
    /// This is not the WebSocket protocol.
    pub const PROTOCOL: u16 = 1002;
    /// Text that is not UTF-8.
    pub const NOT_TEXT: u16 = 1007;
    /// A frame or a credential was refused.
    pub const POLICY: u16 = 1008;
    /// A frame was too big.
    pub const TOO_BIG: u16 = 1009;
    /// Come back later.
    pub const TRY_LATER: u16 = 1013;
    /// The same account opened a newer socket.
    pub const REPLACED: u16 = 4001;
    /// The client did not read.
    pub const TOO_SLOW: u16 = 4002;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_when_to_connect_again() {
        let reason = close::with_retry(std::time::Duration::from_millis(2_045), "it stops");
        assert_eq!(reason, "retry in 2.045 s: it stops");
        assert_eq!(close::retry_in(&reason).unwrap().as_millis(), 2_045);
        for other in ["", "it stops", "retry in a while", "retry in -1 s: no", "retry in 1e99 s"] {
            assert_eq!(close::retry_in(other), None, "{other}");
        }
    }
}
