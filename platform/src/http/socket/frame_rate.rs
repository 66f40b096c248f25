//! How fast a client may send.

use std::time::Duration;

use axum::extract::ws::Message;
use tokio::time::Instant;

/// Most frames that a client may send per second.
const FRAMES_PER_SECOND_MAX: u32 = 5;

/// How fast a client sends.
pub(super) struct FrameRate {
    since: Instant,
    frames: u32,
}

impl FrameRate {
    /// Counts from `now` on.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, frames: 0 }
    }

    /// Counts a frame and says whether it is one too many. Answers to the server's pings do not
    /// count.
    pub(super) fn is_exceeded(&mut self, message: &Message, now: Instant) -> bool {
        if matches!(message, Message::Pong(_)) {
            return false;
        }
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.frames += 1;
        self.frames > FRAMES_PER_SECOND_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_frames_in_a_second_are_one_too_many_and_pongs_do_not_count() {
        let start = Instant::now();
        let mut rate = FrameRate::new(start);
        let ping = Message::Ping(axum::body::Bytes::new());
        let answer = Message::Pong(axum::body::Bytes::new());
        assert!((0..100).all(|_| !rate.is_exceeded(&answer, start)));
        assert!((0..5).all(|_| !rate.is_exceeded(&ping, start)));
        assert!(rate.is_exceeded(&ping, start));
        assert!(!rate.is_exceeded(&ping, start + Duration::from_secs(1)));
    }
}
