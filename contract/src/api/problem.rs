//! Errors as RFC 9457 problems.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::booking::Reason;

/// An error, as every call answers it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What is wrong with this request, and what to do next.
    pub detail: String,
    pub code: Code,
    /// Quote it when asking for help; the log has it too.
    pub request_id: String,
    /// The fields that were refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// More members, by kind of problem.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the body, or the name of a parameter or header.
    #[schema(example = "/seats/0")]
    pub pointer: String,
    pub detail: String,
}

macro_rules! codes {
    ($($status:ident { $(#[doc = $meaning:literal] $code:ident = $word:literal,)+ })+) => {
        /// Which error it is: stable, for programs to match on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub enum Code {
            $($(#[doc = $meaning] $code,)+)+
        }

        impl Code {
            /// Every code there is, by status.
            pub const ALL: &[Self] = &[$($(Self::$code,)+)+];

            /// The word in answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($(Self::$code => $word,)+)+ }
            }

            /// The status it is answered with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $($(Self::$code)|+ => StatusCode::$status,)+ }
            }

            /// When it is answered.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $($(Self::$code => $meaning.trim_ascii(),)+)+ }
            }
        }
    };
}

codes! {
    BAD_REQUEST {
        /// The request cannot be understood.
        BadRequest = "BAD_REQUEST",
        /// The body is not JSON.
        MalformedJson = "MALFORMED_JSON",
        /// A field, parameter or header is refused; `errors` says which.
        ValidationFailed = "VALIDATION_FAILED",
    }
    UNAUTHORIZED {
        /// The e-mail address or the password is wrong.
        BadCredentials = "BAD_CREDENTIALS",
        /// The place ticket is not valid for this line and account.
        PlaceTicketInvalid = "PLACE_TICKET_INVALID",
        /// The link to set a password was used, has expired, or never existed.
        ResetTokenInvalid = "RESET_TOKEN_INVALID",
        /// The password is right: sign in again with `code`, from the authenticator app.
        SecondFactorRequired = "SECOND_FACTOR_REQUIRED",
        /// The code is wrong or was used before.
        SecondFactorWrong = "SECOND_FACTOR_WRONG",
        /// The session has ended: sign in again.
        SessionEnded = "SESSION_ENDED",
        /// A valid access token is needed.
        Unauthenticated = "UNAUTHENTICATED",
        /// The link to verify an address was used, has expired, or never existed.
        VerifyTokenInvalid = "VERIFY_TOKEN_INVALID",
    }
    PAYMENT_REQUIRED {
        /// The payment was declined, and the seats are free again.
        PaymentFailed = "PAYMENT_FAILED",
    }
    FORBIDDEN {
        /// Solve the challenge in `challenge` and join again.
        ChallengeRequired = "CHALLENGE_REQUIRED",
        /// The call needs the role `admin`.
        Forbidden = "FORBIDDEN",
        /// Pages of this origin may not open sockets.
        OriginRefused = "ORIGIN_REFUSED",
        /// The admission pass was issued for another show or account, has expired, or was revoked.
        PassInvalid = "PASS_INVALID",
        /// The show has a waiting room: join its line first.
        PassRequired = "PASS_REQUIRED",
        /// The API key has no scope for this call, or no key may make it.
        ScopeMissing = "SCOPE_MISSING",
        /// Administrators need a second factor here: set one up first.
        SecondFactorNeeded = "SECOND_FACTOR_NEEDED",
    }
    NOT_FOUND {
        /// No such account here.
        AccountNotFound = "ACCOUNT_NOT_FOUND",
        /// No such API key of the caller.
        ApiKeyNotFound = "API_KEY_NOT_FOUND",
        /// No such booking of the caller.
        BookingNotFound = "BOOKING_NOT_FOUND",
        /// No such hold of the caller.
        HoldNotFound = "HOLD_NOT_FOUND",
        /// No such movie.
        MovieNotFound = "MOVIE_NOT_FOUND",
        /// Nothing is at this path.
        NotFound = "NOT_FOUND",
        /// No such order of the caller.
        OrderNotFound = "ORDER_NOT_FOUND",
        /// No such place of the caller in this line.
        PlaceNotFound = "PLACE_NOT_FOUND",
        /// No such screen.
        ScreenNotFound = "SCREEN_NOT_FOUND",
        /// No such session of the caller.
        SessionNotFound = "SESSION_NOT_FOUND",
        /// No such show.
        ShowNotFound = "SHOW_NOT_FOUND",
        /// No such theatre.
        TheatreNotFound = "THEATRE_NOT_FOUND",
    }
    METHOD_NOT_ALLOWED {
        /// `Allow` names the methods that this path has.
        MethodNotAllowed = "METHOD_NOT_ALLOWED",
    }
    NOT_ACCEPTABLE {
        /// The answer does not exist in a format of `Accept`.
        NotAcceptable = "NOT_ACCEPTABLE",
    }
    REQUEST_TIMEOUT {
        /// The body came too slowly.
        Timeout = "TIMEOUT",
    }
    CONFLICT {
        /// Too few seats are free; some are only held and may come back.
        AllHeld = "ALL_HELD",
        /// The secret before the present one is still good: wait, or rotate without an overlap.
        ApiKeyJustRotated = "API_KEY_JUST_ROTATED",
        /// The account has as many API keys as it may: delete one.
        ApiKeysFull = "API_KEYS_FULL",
        /// An account has this e-mail address.
        EmailTaken = "EMAIL_TAKEN",
        /// The request was not decided in time: send it again.
        Expired = "EXPIRED",
        /// The hold is over, and its seats are free again.
        HoldExpired = "HOLD_EXPIRED",
        /// An order was made of the hold: cancel the order.
        HoldOrdered = "HOLD_ORDERED",
        /// The order was cancelled.
        OrderCancelled = "ORDER_CANCELLED",
        /// The time to pay is over, and the seats are free again.
        OrderExpired = "ORDER_EXPIRED",
        /// The payment had failed, and the seats are free again.
        OrderFailed = "ORDER_FAILED",
        /// Only a paid order has a ticket.
        OrderNotConfirmed = "ORDER_NOT_CONFIRMED",
        /// The pass was used for another booking.
        PassUsed = "PASS_USED",
        /// Nobody can join this line at the moment.
        RoomClosed = "ROOM_CLOSED",
        /// The sale has ended.
        SaleClosed = "SALE_CLOSED",
        /// The sale, or the line before it, has not begun; `Retry-After` says when.
        SaleNotOpen = "SALE_NOT_OPEN",
        /// Shows that are not over use the layout of this screen.
        ScreenInUse = "SCREEN_IN_USE",
        /// At least one of the seats is taken; `alternatives` may name others.
        SeatTaken = "SEAT_TAKEN",
        /// The account has no second factor, or none that is set up and not confirmed.
        SecondFactorMissing = "SECOND_FACTOR_MISSING",
        /// The account has a second factor: remove it first.
        SecondFactorPresent = "SECOND_FACTOR_PRESENT",
        /// The show is not on sale: there is no sale to end.
        ShowNotOnSale = "SHOW_NOT_ON_SALE",
        /// The show was put on sale, or cancelled, and cannot be changed.
        ShowNotScheduled = "SHOW_NOT_SCHEDULED",
        /// Close the sale of the show first.
        ShowOnSale = "SHOW_ON_SALE",
        /// Another show runs on this screen at that time; `overlaps` names it.
        ShowOverlaps = "SHOW_OVERLAPS",
        /// The show has begun.
        ShowStarted = "SHOW_STARTED",
        /// Too few seats are left.
        SoldOut = "SOLD_OUT",
        /// Shows to come need it: cancel or move them first; `first` names one.
        StillInUse = "STILL_IN_USE",
    }
    PAYLOAD_TOO_LARGE {
        /// The body is longer than this call takes.
        BodyTooLarge = "BODY_TOO_LARGE",
    }
    UNSUPPORTED_MEDIA_TYPE {
        /// Send the body as `application/json`.
        UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    }
    UNPROCESSABLE_ENTITY {
        /// The `Idempotency-Key` was sent with another request before.
        IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED",
        /// The account would have more seats of the show than it may; `limit` names the rule.
        LimitExceeded = "LIMIT_EXCEEDED",
        /// The show does not sell such a tier or seat.
        SeatUnknown = "SEAT_UNKNOWN",
    }
    UPGRADE_REQUIRED {
        /// The path is for WebSockets only.
        UpgradeRequired = "UPGRADE_REQUIRED",
    }
    TOO_MANY_REQUESTS {
        /// A limit is reached; `Retry-After` says when to come back.
        RateLimited = "RATE_LIMITED",
    }
    INTERNAL_SERVER_ERROR {
        /// A fault of the service; with 409, a hold could not be decided and nothing is held.
        Internal = "INTERNAL",
    }
    SERVICE_UNAVAILABLE {
        /// The database does not answer.
        DatabaseUnavailable = "DATABASE_UNAVAILABLE",
        /// The line cannot be reached; places are kept.
        LineUnavailable = "LINE_UNAVAILABLE",
        /// The node cannot open more sockets.
        NodeFull = "NODE_FULL",
        /// The node cannot serve; `missing` names what it needs.
        NotReady = "NOT_READY",
        /// The booking may be accepted: ask again with the same key.
        OutcomeUnknown = "OUTCOME_UNKNOWN",
        /// The booking was not accepted: try again.
        QueueUnavailable = "QUEUE_UNAVAILABLE",
        /// This node cannot read the show; another node may.
        ShowNotReadable = "SHOW_NOT_READABLE",
        /// Too many people are signing in at this moment.
        SignInBusy = "SIGN_IN_BUSY",
    }
}

impl From<Reason> for Code {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::SeatTaken => Self::SeatTaken,
            Reason::SoldOut => Self::SoldOut,
            Reason::AllHeld => Self::AllHeld,
            Reason::LimitExceeded => Self::LimitExceeded,
            Reason::SaleClosed => Self::SaleClosed,
            Reason::PassUsed => Self::PassUsed,
            Reason::Expired => Self::Expired,
            Reason::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            Reason::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_one_word_in_answers_in_json_and_as_a_reason() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        for reason in Reason::ALL {
            assert_eq!(Code::from(*reason).as_str(), reason.as_str());
        }
    }

    #[test]
    fn the_page_of_errors_lists_every_code_with_its_status_and_meaning() {
        let row = |code: &Code| {
            let (word, status) = (code.as_str(), code.status().as_u16());
            format!("| `{word}` | {status} | {} |\n", code.meaning())
        };
        let table: String = Code::ALL.iter().map(row).collect();
        let page = include_str!("../../../docs/errors.md");
        let (_, listed) = page.split_once("|---|---|---|\n").expect("the page has a table");
        assert!(listed == table, "the table of docs/errors.md should be\n{table}");
    }
}
