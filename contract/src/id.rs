//! Every id has its own type, so that a show can never be passed where an account is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident,)+) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        #[serde(transparent)]
        #[schema(value_type = Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, ordered by the time it was made.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "a fresh id is not a default value")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )+};
}

id! {
    /// A person who can sign in.
    AccountId,
    /// A sign-in session, from a password to a log-out.
    SessionId,
    /// A key of a program that calls the API as an account.
    ApiKeyId,
    /// A film.
    MovieId,
    /// A building with screens.
    TheatreId,
    /// A hall with a seat layout.
    ScreenId,
    /// One screening that is sold: the unit of sharding.
    ShowId,
    /// A booking request, and the hold it may become. Made by [`crate::booking_id`].
    BookingId,
    /// An order, which is paid for.
    OrderId,
    /// A place in the line; the `pid` of every pass issued for it.
    TicketId,
    /// A mail that was asked for.
    MailId,
    /// One event of the outbox.
    EventId,
    /// A numbered series of requests from one ingress node to one partition.
    ProducerId,
}
