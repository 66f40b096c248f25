//! Server-sent events, as far as the line uses them: one JSON frame per event.

use std::time::Duration;

use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::CallError;

/// Most bytes one event may have.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// A random pause before connecting again, if the server gave none.
pub(super) fn soon() -> Duration {
    Duration::from_millis(fastrand::u64(200..1_000))
}

/// An open stream of events.
pub(super) struct Events {
    answer: Response,
    buffer: Vec<u8>,
    /// The pause before connecting again, as the server last gave it.
    retry: Option<Duration>,
}

impl Events {
    pub(super) fn new(answer: Response) -> Self {
        Self { answer, buffer: Vec::new(), retry: None }
    }

    /// The pause before connecting again: the server's, or a random one.
    pub(super) fn comes_back_after(&self) -> Duration {
        self.retry.unwrap_or_else(soon)
    }

    /// The next frame; `None` once the stream has ended. May be cancelled and called again.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CallError> {
        loop {
            while let Some(event) = cut_event(&mut self.buffer) {
                self.retry = retry_of(&event).or(self.retry);
                if let Some(data) = data_of(&event) {
                    return serde_json::from_str(&data)
                        .map(Some)
                        .map_err(|error| CallError::Unexpected(format!("an event: {error}")));
                }
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(CallError::Unexpected("an event without an end".into()));
            }
            match self.answer.chunk().await? {
                Some(bytes) => self.buffer.extend(bytes.iter().filter(|byte| **byte != b'\r')),
                None => return Ok(None),
            }
        }
    }
}

/// The pause before connecting again, if the event gives one.
fn retry_of(event: &str) -> Option<Duration> {
    let millis = event.lines().find_map(|line| line.strip_prefix("retry:"))?;
    millis.trim().parse().ok().map(Duration::from_millis)
}

/// Takes the first whole event out of the buffer.
fn cut_event(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
    let event = buffer.drain(..end + 2).collect::<Vec<u8>>();
    Some(String::from_utf8_lossy(&event).into_owned())
}

/// The data lines of an event; `None` for a comment that keeps the connection alive.
fn data_of(event: &str) -> Option<String> {
    let lines: Vec<&str> =
        event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_where_they_end_and_comments_carry_nothing() {
        let mut buffer =
            b": keep alive\n\nevent: position\ndata: {\"a\":\ndata: 1}\n\ndata: {".to_vec();
        let comment = cut_event(&mut buffer).unwrap();
        assert_eq!(data_of(&comment), None);
        let event = cut_event(&mut buffer).unwrap();
        assert_eq!(data_of(&event).as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(cut_event(&mut buffer), None);
        assert_eq!(buffer, b"data: {");
    }
}
