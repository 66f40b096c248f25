//! The waiting room: joining, places and live frames.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::TicketId;

/// The body of a join; all of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinRequest {
    /// A ticket of an earlier join, to have that place again after an outage.
    pub place_ticket: Option<String>,
}

/// What a client is to solve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Posed {
    /// Find a number such that the SHA-256 of `<challenge>.<number>` begins with `bits` zero bits,
    /// and send that text as `Challenge-Solution`.
    ProofOfWork { challenge: String, bits: u8, expires_at: DateTime<Utc> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PlaceState {
    /// Before the opening of a lottery; there is no position yet.
    Prequeue,
    Waiting,
    Admitted,
    Left,
    Expired,
    #[serde(rename = "SOLD_OUT")]
    SoldOut,
    Closed,
}

/// A place in the line, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaceStatus {
    pub ticket_id: TicketId,
    /// Keep it: it proves the place, on another device and after an outage.
    pub place_ticket: String,
    pub state: PlaceState,
    pub position: Option<u64>,
    pub ahead: Option<u64>,
    /// Everybody in the line.
    pub waiting: u64,
    /// Null while paused or not known.
    pub eta_seconds: Option<Interval>,
    pub live_url: String,
    /// Present in state ADMITTED, if the show's waiting room is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A wait in seconds, at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    pub low: u32,
    pub high: u32,
}

/// What the server sends to a waiting visitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum LineFrame {
    Position {
        position: Option<u64>,
        ahead: Option<u64>,
        waiting: u64,
        eta_seconds: Option<Interval>,
        rate_per_second: f64,
    },
    Admitted {
        pass: Option<String>,
        expires_at: Option<DateTime<Utc>>,
    },
    Paused {
        detail: String,
    },
    Resumed,
    /// No seat is free, but some are only held: they may come back. The place is kept.
    AllHeld,
    /// Every seat is sold. The place is kept: a cancellation may bring one back.
    SoldOut,
    Closed {
        detail: String,
    },
}

/// What a waiting visitor may send to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", from = "StrictFrame")]
pub enum VisitorFrame {
    Leave,
}

/// `VisitorFrame` with braces, because serde ignores unknown fields of a variant without braces.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum StrictFrame {
    Leave {},
}

impl From<StrictFrame> for VisitorFrame {
    fn from(StrictFrame::Leave {}: StrictFrame) -> Self {
        Self::Leave
    }
}

/// Prefix of the subprotocol that carries a place ticket as credential.
pub const PLACE_TICKET_PROTOCOL: &str = "place-ticket.";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_is_a_visitors_frame_but_the_one(text in ".{0,200}", kind in ".{0,20}") {
            prop_assert!(serde_json::from_str::<VisitorFrame>(&text).is_err());
            let frame = serde_json::json!({"type": kind});
            prop_assert!(serde_json::from_value::<VisitorFrame>(frame).is_err());
            let leave = serde_json::json!({"type": "leave"});
            prop_assert_eq!(serde_json::from_value::<VisitorFrame>(leave).unwrap(), VisitorFrame::Leave);
        }

        #[test]
        fn a_place_is_read_back_from_its_frame(
            position: Option<u64>, waiting: u64, low: u32, high: u32, rate in 0.001..1e6f64,
        ) {
            let frame = LineFrame::Position {
                position,
                ahead: position,
                waiting,
                eta_seconds: Some(Interval { low, high }),
                rate_per_second: rate,
            };
            let text = serde_json::to_string(&frame).unwrap();
            let LineFrame::Position { rate_per_second, .. } = serde_json::from_str(&text).unwrap()
            else { panic!("{text}") };
            // A double that is read back from its decimal digits may become a neighbouring double.
            prop_assert!((rate_per_second - rate).abs() <= rate * f64::EPSILON);
        }
    }

    #[test]
    fn a_visitors_frame_has_no_unknown_fields() {
        let read = |text| serde_json::from_str::<VisitorFrame>(text).ok();
        assert_eq!(read(r#"{"type":"leave"}"#), Some(VisitorFrame::Leave));
        assert_eq!(read(r#"{"type":"leave","now":true}"#), None);
        assert_eq!(read(r#"{"type":"stay"}"#), None);
        let written = serde_json::to_string(&VisitorFrame::Leave).unwrap();
        assert_eq!(written, r#"{"type":"leave"}"#);
    }
}
