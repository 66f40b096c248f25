//! Movies, theatres, screens, shows.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{MovieId, ScreenId, SeatLabel, ShowId, TheatreId, TierCode};

/// What an organiser writes, as two types of the same fields: `$details` is part of answers,
/// `$new` is a body and refuses unknown fields. (serde cannot refuse them in a flattened struct.)
macro_rules! written {
    (
        $(#[$doc:meta])* $details:ident, $new:ident {
            $($(#[$attribute:meta])* pub $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct $details {
            $($(#[$attribute])* pub $field: $type,)+
        }

        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $new {
            $($(#[$attribute])* pub $field: $type,)+
        }

        impl From<$new> for $details {
            fn from(new: $new) -> Self {
                Self { $($field: new.$field,)+ }
            }
        }
    };
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Movie {
    pub movie_id: MovieId,
    #[serde(flatten)]
    pub details: MovieDetails,
}

written! {
    /// A movie as an organiser writes it.
    MovieDetails, NewMovie {
        #[schema(min_length = 1, max_length = 200)]
        pub title: String,
        #[schema(max_length = 5000)]
        pub description: String,
        #[schema(max_items = 10)]
        pub genres: Vec<String>,
        /// Age rating as printed, such as `UA 13+`.
        #[schema(min_length = 1, max_length = 20)]
        pub rating: String,
        #[schema(minimum = 1, maximum = 1000)]
        pub duration_minutes: i32,
        pub release_date: NaiveDate,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(max_length = 2000, pattern = "^https?://")]
        pub poster_url: Option<String>,
        #[schema(min_length = 1, max_length = 40)]
        pub language: String,
    }
}

/// A movie with its upcoming shows.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MovieWithShows {
    #[serde(flatten)]
    pub movie: Movie,
    pub shows: Vec<Show>,
}

/// Days on which a movie is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    pub dates: Vec<NaiveDate>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Theatre {
    pub theatre_id: TheatreId,
    #[serde(flatten)]
    pub details: TheatreDetails,
    pub screens: Vec<ScreenName>,
}

written! {
    /// A theatre as an organiser writes it.
    TheatreDetails, NewTheatre {
        #[schema(min_length = 1, max_length = 100)]
        pub name: String,
        #[schema(min_length = 1, max_length = 300)]
        pub address: String,
        #[schema(min_length = 1, max_length = 100)]
        pub city: String,
        #[schema(minimum = -90, maximum = 90)]
        pub latitude: f64,
        #[schema(minimum = -180, maximum = 180)]
        pub longitude: f64,
        /// IANA name of the time zone, by which days and times of day of its shows are told. `UTC`
        /// for a new theatre without it; a change without it leaves it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(max_length = 64, example = "Asia/Kolkata")]
        pub time_zone: Option<String>,
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScreenName {
    pub screen_id: ScreenId,
    pub name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Screen {
    pub screen_id: ScreenId,
    #[serde(flatten)]
    pub details: ScreenDetails,
}

written! {
    /// A screen as an organiser writes it.
    ScreenDetails, NewScreen {
        pub theatre_id: TheatreId,
        #[schema(min_length = 1, max_length = 100)]
        pub name: String,
        #[schema(min_items = 1, max_items = 20)]
        pub tiers: Vec<ScreenTier>,
        pub layout: Layout,
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScreenTier {
    pub tier: TierCode,
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    /// Whether places of this tier have no seat numbers.
    pub general_admission: bool,
    /// Number of places of a general-admission tier. For other tiers the server counts the sellable
    /// seats.
    #[serde(default)]
    pub capacity: i32,
}

/// Rows front to back, seats left to right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Layout {
    #[schema(max_items = 200)]
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    #[schema(min_length = 1, max_length = 10)]
    pub row: String,
    #[schema(max_items = 200)]
    pub seats: Vec<Seat>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seat {
    pub seat_id: SeatLabel,
    pub tier: TierCode,
    #[serde(default)]
    pub kind: SeatKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeatKind {
    #[default]
    Seat,
    /// A place for a wheelchair. Whoever names it gets it; `quantity` and `alternatives` leave it.
    Wheelchair,
    /// A seat beside a wheelchair, given like one.
    Companion,
    /// A seat behind a pillar or at the edge.
    RestrictedView,
    /// A seat that is never sold.
    Unavailable,
    /// A gap in the row.
    Aisle,
}

impl SeatKind {
    /// Whether it can be sold.
    #[must_use]
    pub fn is_sellable(self) -> bool {
        !matches!(self, Self::Unavailable | Self::Aisle)
    }

    /// Whether it is only for whoever asks for it.
    #[must_use]
    pub fn is_kept_back(self) -> bool {
        matches!(self, Self::Wheelchair | Self::Companion)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ShowStatus {
    Scheduled,
    OnSale,
    SoldOut,
    Closed,
    Cancelled,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Show {
    pub show_id: ShowId,
    pub status: ShowStatus,
    /// IANA name of the theatre's time zone.
    pub time_zone: String,
    /// Free seats by tier.
    pub available: Vec<TierAvailable>,
    #[serde(flatten)]
    pub details: ShowDetails,
}

written! {
    /// A show as an organiser writes it.
    ShowDetails, NewShow {
        pub movie_id: MovieId,
        pub theatre_id: TheatreId,
        pub screen_id: ScreenId,
        pub starts_at: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub prequeue_opens_at: Option<DateTime<Utc>>,
        /// The sale opens by itself at this time, if the time is in the future when it is entered.
        pub sale_opens_at: DateTime<Utc>,
        /// The sale closes by itself at this time.
        pub sale_closes_at: DateTime<Utc>,
        #[schema(min_items = 1)]
        pub prices: Vec<Price>,
        /// Seats one account may hold or own, over all tiers.
        #[schema(minimum = 1, maximum = 20)]
        pub max_seats_per_user: i32,
        #[serde(default = "hold_seconds")]
        #[schema(minimum = 1, maximum = 86_400)]
        pub hold_seconds: i32,
        #[serde(default = "order_seconds")]
        #[schema(minimum = 1, maximum = 86_400)]
        pub order_seconds: i32,
        #[serde(default)]
        pub waiting_room: RoomSettings,
    }
}

fn hold_seconds() -> i32 {
    600
}

fn order_seconds() -> i32 {
    300
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    pub tier: TierCode,
    /// Minor units.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub amount: i64,
    /// ISO 4217; the same for every tier of a show.
    #[schema(example = "INR", pattern = "^[A-Z]{3}$")]
    pub currency: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierAvailable {
    pub tier: TierCode,
    pub seats: i32,
}

/// How visitors are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RoomMode {
    /// No line: bookings need no pass.
    Off,
    /// First come, first served.
    Fifo,
    /// Visitors who join before the opening are put in random order at the opening.
    Lottery,
    /// Nobody may join.
    Reject,
}

/// Settings of a show's waiting room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = WaitingRoom)]
pub struct RoomSettings {
    pub mode: RoomMode,
    /// Visitors admitted per second.
    #[schema(minimum = 0.01, maximum = 100_000)]
    pub rate_per_second: f64,
    /// Most visitors admitted at once after a quiet spell.
    #[schema(minimum = 1, maximum = 100_000)]
    pub burst: i32,
    /// Most visitors with a live pass; null for no cap.
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub max_active: Option<i32>,
    pub paused: bool,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            mode: RoomMode::Fifo,
            rate_per_second: 100.0,
            burst: 10,
            max_active: None,
            paused: false,
        }
    }
}

/// A change of a waiting room. An absent field keeps its value.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = WaitingRoomChange)]
pub struct RoomSettingsChange {
    pub mode: Option<RoomMode>,
    #[schema(minimum = 0.01, maximum = 100_000)]
    pub rate_per_second: Option<f64>,
    #[schema(minimum = 1, maximum = 100_000)]
    pub burst: Option<i32>,
    /// Absent: unchanged. Null: no cap.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 10_000_000)]
    pub max_active: Option<Option<i32>>,
    pub paused: Option<bool>,
}

/// Tells `null` from an absent field.
#[expect(clippy::option_option, reason = "absent, null and a value are three things")]
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Layout, sold and held seats, in one answer.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeatMap {
    pub show_id: ShowId,
    pub layout: Layout,
    pub prices: Vec<Price>,
    /// Sold, or never for sale.
    pub unavailable_seat_ids: Vec<SeatLabel>,
    pub held_seat_ids: Vec<SeatLabel>,
    /// Grows with every change of any tier.
    pub version: i64,
}

/// What the socket of a show's seats sends. Every seat that is for sale is free before the first
/// frame; each frame says which are held, sold or free now. Frames are numbered from 1 without a
/// gap; a state that is too long for one frame comes in several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SeatsFrame {
    Seats(SeatsChange),
}

/// Seats whose state has changed, by what they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeatsChange {
    /// The number of the frame on its socket.
    pub version: u64,
    pub held: Vec<SeatLabel>,
    pub sold: Vec<SeatLabel>,
    pub released: Vec<SeatLabel>,
}
