//! A show on sale, with what ingress and the waiting room need.

use chrono::{DateTime, Utc};
use contract::{
    MovieId, ScreenId, ShowId, TheatreId, TierCode,
    api::catalogue::{RoomMode, RoomSettings, ShowStatus},
};

use crate::{StoreError, StoreResult};

/// What an organiser decided about the sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleState {
    Scheduled,
    OnSale,
    Closed,
    Cancelled,
}

/// A show, from the opening of its sale to the end.
#[derive(Clone, Debug)]
pub struct Sale {
    pub show: ShowId,
    pub movie: MovieId,
    pub theatre: TheatreId,
    pub screen: ScreenId,
    pub state: SaleState,
    pub starts_at: DateTime<Utc>,
    /// IANA name of the theatre's time zone.
    pub time_zone: String,
    pub prequeue_opens_at: Option<DateTime<Utc>>,
    pub sale_opens_at: DateTime<Utc>,
    pub sale_closes_at: DateTime<Utc>,
    pub currency: String,
    pub max_seats_per_user: i32,
    pub hold_seconds: i32,
    pub order_seconds: i32,
    pub room: RoomSettings,
    /// Counts changes of the settings that decide whether places in the line are drawn by lot.
    pub room_version: u64,
    /// Sorted by code.
    pub tiers: Vec<TierOnSale>,
}

/// A tier of a show on the board.
#[derive(Clone, Debug)]
pub struct TierOnSale {
    pub tier: TierCode,
    pub name: String,
    pub price: i64,
    pub general_admission: bool,
    pub capacity: i32,
    pub available: i32,
    /// Whether no seat is free but some are only held and may come back.
    pub held: bool,
    pub version: i64,
    /// Whether its queue takes requests.
    pub ready: bool,
}

impl Sale {
    /// Free seats over all tiers.
    #[must_use]
    pub fn available(&self) -> i32 {
        self.tiers.iter().map(|tier| tier.available).sum()
    }

    /// Whether a tier without a free seat has some that are only held.
    #[must_use]
    pub fn is_any_held(&self) -> bool {
        self.tiers.iter().any(|tier| tier.held)
    }

    /// Whether requests are taken at this moment of Postgres's clock.
    #[must_use]
    pub fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.state == SaleState::OnSale
            && now >= self.sale_opens_at
            && now < self.sale_closes_at
            && self.tiers.iter().all(|tier| tier.ready)
    }

    /// Whether the sale has ended and its queues are gone, so that every accepted request is
    /// decided.
    #[must_use]
    pub fn queues_are_gone(&self, now: DateTime<Utc>) -> bool {
        self.is_over(now) && self.tiers.iter().all(|tier| !tier.ready)
    }

    /// Whether the sale has ended.
    #[must_use]
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        matches!(self.state, SaleState::Closed | SaleState::Cancelled) || now >= self.sale_closes_at
    }

    /// The status clients see.
    #[must_use]
    pub fn status(&self, now: DateTime<Utc>) -> ShowStatus {
        match self.state {
            SaleState::Cancelled => ShowStatus::Cancelled,
            _ if self.is_over(now) => ShowStatus::Closed,
            SaleState::OnSale if self.available() == 0 && !self.is_any_held() => {
                ShowStatus::SoldOut
            }
            SaleState::OnSale if self.is_open(now) => ShowStatus::OnSale,
            _ => ShowStatus::Scheduled,
        }
    }

    /// A tier by its code.
    #[must_use]
    pub fn tier(&self, code: &TierCode) -> Option<&TierOnSale> {
        self.tiers.iter().find(|tier| tier.tier == *code)
    }
}

/// Reads a state as it is stored.
pub(crate) fn sale_state(word: &str) -> StoreResult<SaleState> {
    Ok(match word {
        "SCHEDULED" => SaleState::Scheduled,
        "ON_SALE" => SaleState::OnSale,
        "CLOSED" => SaleState::Closed,
        "CANCELLED" => SaleState::Cancelled,
        other => return Err(StoreError::Unreadable(format!("sale state {other}"))),
    })
}

/// Reads a mode as it is stored.
pub(crate) fn room_mode(word: &str) -> StoreResult<RoomMode> {
    Ok(match word {
        "OFF" => RoomMode::Off,
        "FIFO" => RoomMode::Fifo,
        "LOTTERY" => RoomMode::Lottery,
        "REJECT" => RoomMode::Reject,
        other => return Err(StoreError::Unreadable(format!("room mode {other}"))),
    })
}
