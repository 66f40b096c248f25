//! Whether the line moves, and what those in it are told when it does not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::api::catalogue::RoomMode;
use store::board::Sale;

/// With a board older than this, Postgres must be taken for unreachable.
const BOARD_AGE_MAX: Duration = Duration::from_secs(5);
/// With the store silent this long, it is away.
const STORE_SILENCE_MAX: Duration = Duration::from_secs(3);
/// Without a pre-queue, the line may be joined this long before the sale opens.
const JOINABLE_BEFORE_OPENING: chrono::Duration = chrono::Duration::hours(1);

/// How a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The sale has not opened; `lottery` where positions are drawn at the opening.
    Early { lottery: bool },
    /// Visitors are let in.
    Open,
    /// The organiser paused it, or lets nobody in.
    Paused,
    /// Something it needs does not answer.
    Held,
    /// No seat is free; the line stays, for seats may come back.
    SoldOut,
    /// The sale has ended.
    Over,
    /// There is no waiting room: everybody may book.
    Off,
}

/// Why a show cannot be joined now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unjoinable {
    Over,
    NotOpen,
    Rejecting,
}

impl Gate {
    /// How the line of a sale stands at `now`, with a board and a store of these ages.
    pub(crate) fn of(
        sale: &Sale,
        now: DateTime<Utc>,
        board_age: Duration,
        store_silent: Duration,
    ) -> Self {
        if sale.is_over(now) {
            return Self::Over;
        }
        if sale.room.mode == RoomMode::Off {
            return Self::Off;
        }
        if board_age > BOARD_AGE_MAX || store_silent > STORE_SILENCE_MAX {
            return Self::Held;
        }
        if !sale.is_open(now) {
            let lottery = sale.room.mode == RoomMode::Lottery && now < sale.sale_opens_at;
            return Self::Early { lottery };
        }
        if sale.room.paused || sale.room.mode == RoomMode::Reject {
            return Self::Paused;
        }
        if sale.available() <= 0 {
            return Self::SoldOut;
        }
        Self::Open
    }

    /// Why nothing moves, in words for a visitor; `None` where something does, or is not stopped.
    pub(crate) fn notice(self) -> Option<&'static str> {
        match self {
            Self::Paused => Some("the organiser has paused the line; you keep your place"),
            Self::Held => Some("the line is held for a moment; you keep your place"),
            _ => None,
        }
    }
}

/// Whether the line of a sale can be joined at `now`.
pub(crate) fn joinable(sale: &Sale, now: DateTime<Utc>) -> Result<(), Unjoinable> {
    if sale.is_over(now) {
        return Err(Unjoinable::Over);
    }
    if sale.room.mode == RoomMode::Reject {
        return Err(Unjoinable::Rejecting);
    }
    let from = sale.prequeue_opens_at.unwrap_or(sale.sale_opens_at - JOINABLE_BEFORE_OPENING);
    if now < from.min(sale.sale_opens_at) {
        return Err(Unjoinable::NotOpen);
    }
    Ok(())
}

/// Whether somebody who joined then takes part in the lot.
pub(crate) fn is_drawn(sale: &Sale, joined_at: DateTime<Utc>) -> bool {
    // In ms, as place tickets keep it.
    let before = joined_at.timestamp_millis() < sale.sale_opens_at.timestamp_millis();
    sale.room.mode == RoomMode::Lottery && before
}

#[cfg(test)]
mod tests {
    use contract::{MovieId, ScreenId, ShowId, TheatreId, api::catalogue::WaitingRoom};
    use store::board::{SaleState, TierOnSale};

    use super::*;

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn sale() -> Sale {
        Sale {
            show: ShowId::new(),
            movie: MovieId::new(),
            theatre: TheatreId::new(),
            screen: ScreenId::new(),
            state: SaleState::OnSale,
            starts_at: time(9000),
            prequeue_opens_at: None,
            sale_opens_at: time(0),
            sale_closes_at: time(8000),
            currency: "INR".into(),
            max_seats_per_user: 6,
            hold_seconds: 600,
            order_seconds: 300,
            room: WaitingRoom {
                mode: RoomMode::Fifo,
                rate_per_second: 100.0,
                burst: 10,
                max_active: None,
                paused: false,
            },
            tiers: vec![TierOnSale {
                tier: "GOLD".parse().unwrap(),
                name: "Gold".into(),
                price: 1,
                general_admission: false,
                capacity: 10,
                available: 10,
                version: 1,
                ready: true,
            }],
        }
    }

    fn gate(sale: &Sale, seconds: i64) -> Gate {
        Gate::of(sale, time(seconds), Duration::ZERO, Duration::ZERO)
    }

    #[test]
    fn it_opens_with_the_sale_and_ends_with_it() {
        let sale = sale();
        assert_eq!(gate(&sale, -1), Gate::Early { lottery: false });
        assert_eq!(gate(&sale, 0), Gate::Open);
        assert_eq!(gate(&sale, 8000), Gate::Over);
    }

    #[test]
    fn it_stops_for_a_pause_without_stock_and_without_its_backends() {
        let mut sale = sale();
        sale.room.paused = true;
        assert_eq!(gate(&sale, 1), Gate::Paused);
        sale.room.paused = false;
        sale.tiers[0].available = 0;
        assert_eq!(gate(&sale, 1), Gate::SoldOut);
        sale.tiers[0].available = 1;
        let away = Duration::from_secs(6);
        assert_eq!(Gate::of(&sale, time(1), away, Duration::ZERO), Gate::Held);
        assert_eq!(Gate::of(&sale, time(1), Duration::ZERO, away), Gate::Held);
        sale.tiers[0].ready = false;
        assert_eq!(gate(&sale, 1), Gate::Early { lottery: false }, "queues are not ready");
    }

    #[test]
    fn it_can_be_joined_from_the_prequeue_to_the_end() {
        let mut sale = sale();
        assert_eq!(joinable(&sale, time(-3601)), Err(Unjoinable::NotOpen));
        assert_eq!(joinable(&sale, time(-3600)), Ok(()));
        sale.prequeue_opens_at = Some(time(-60));
        assert_eq!(joinable(&sale, time(-61)), Err(Unjoinable::NotOpen));
        assert_eq!(joinable(&sale, time(-60)), Ok(()));
        assert_eq!(joinable(&sale, time(8000)), Err(Unjoinable::Over));
        sale.room.mode = RoomMode::Reject;
        assert_eq!(joinable(&sale, time(1)), Err(Unjoinable::Rejecting));
    }

    #[test]
    fn only_those_before_the_opening_of_a_lottery_are_drawn() {
        let mut sale = sale();
        assert!(!is_drawn(&sale, time(-1)));
        sale.room.mode = RoomMode::Lottery;
        assert!(is_drawn(&sale, time(-1)));
        assert!(!is_drawn(&sale, time(0)));
        let half = chrono::Duration::milliseconds(500);
        sale.sale_opens_at = time(0) + half;
        assert!(is_drawn(&sale, time(0)));
        assert!(!is_drawn(&sale, time(0) + half), "within the same second, but late");
        assert_eq!(gate(&sale, -1), Gate::Early { lottery: true });
    }
}
