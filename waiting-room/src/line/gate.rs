//! Whether the line moves, and what visitors are told when it does not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contract::{api::catalogue::RoomMode, deadline::STORE_SILENCE_MAX};
use store::{line_marks::Rule, sale::Sale};

/// Without a pre-queue, the line may be joined this long before the sale opens.
const JOINABLE_BEFORE_OPENING: chrono::Duration = chrono::Duration::hours(1);

/// Time after the opening from which on no node adds to the draw; covers clocks that are behind.
const DRAW_SETTLES: chrono::Duration = chrono::Duration::seconds(1);

/// Whether a line moves, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The sale has not opened.
    Early,
    /// Visitors are admitted.
    Open,
    /// The organiser paused the line, or set its mode to `REJECT`.
    Paused,
    /// A dependency of admission does not answer.
    Held,
    /// No seat is free, but some are only held and may come back.
    AllHeld,
    /// Every seat is sold; the line stays, since a cancellation may bring one back.
    SoldOut,
    /// The sale has ended.
    Over,
    /// There is no waiting room: everybody may book.
    Off,
}

/// What is still to come of a sale's opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) opens_in: Duration,
    /// Whether drawn places are told their numbers: [`DRAW_SETTLES`] after the opening.
    pub(crate) draw_is_told: bool,
}

/// Why a line cannot be joined now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unjoinable {
    Over,
    /// It can be joined after this time.
    NotOpen(Duration),
    Rejecting,
}

impl Opening {
    /// The state of a sale's opening at `now`.
    pub(crate) fn of(sale: &Sale, now: DateTime<Utc>) -> Self {
        Self {
            opens_in: (sale.sale_opens_at - now).to_std().unwrap_or_default(),
            draw_is_told: now >= sale.sale_opens_at + DRAW_SETTLES,
        }
    }
}

impl Gate {
    /// The gate of a sale's line at `now`, given the age of the board and the store's silence.
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
        if board_age.max(store_silent) > STORE_SILENCE_MAX {
            return Self::Held;
        }
        if !sale.is_open(now) {
            return Self::Early;
        }
        if sale.room.paused || sale.room.mode == RoomMode::Reject {
            return Self::Paused;
        }
        if sale.available() <= 0 {
            return if sale.is_any_held() { Self::AllHeld } else { Self::SoldOut };
        }
        Self::Open
    }

    /// Why the line is stopped, in words for a visitor; `None` where it is not.
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
    match (from.min(sale.sale_opens_at) - now).to_std() {
        Ok(wait) if !wait.is_zero() => Err(Unjoinable::NotOpen(wait)),
        _ => Ok(()),
    }
}

/// How a place that is taken at `now` is ordered; `None` in modes without a line. The rule's
/// version grows with each change of the room's settings and at the opening, so that a node that
/// has not heard of a change does not undo it.
pub(crate) fn rule(sale: &Sale, now: DateTime<Utc>) -> Option<Rule> {
    if matches!(sale.room.mode, RoomMode::Off | RoomMode::Reject) {
        return None;
    }
    let is_early = now < sale.sale_opens_at;
    let version = sale.room_version * 2 + 1 + u64::from(!is_early);
    Some(Rule { version, drawn: is_early && sale.room.mode == RoomMode::Lottery })
}

/// Whether a place taken at this time was drawn by lot; tickets from before there were stretches do
/// not say.
pub(crate) fn was_drawn(sale: &Sale, joined_at: DateTime<Utc>) -> bool {
    // In ms, as place tickets keep it.
    let before = joined_at.timestamp_millis() < sale.sale_opens_at.timestamp_millis();
    sale.room.mode == RoomMode::Lottery && before
}

#[cfg(test)]
mod tests {
    use contract::{MovieId, ScreenId, ShowId, TheatreId, api::catalogue::RoomSettings};
    use store::sale::{SaleState, TierOnSale};

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
            time_zone: "UTC".into(),
            prequeue_opens_at: None,
            sale_opens_at: time(0),
            sale_closes_at: time(8000),
            currency: "INR".into(),
            max_seats_per_user: 6,
            hold_seconds: 600,
            order_seconds: 300,
            room_version: 0,
            room: RoomSettings {
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
                held: false,
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
        assert_eq!(gate(&sale, -1), Gate::Early);
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
        sale.tiers[0].held = true;
        assert_eq!(gate(&sale, 1), Gate::AllHeld);
        sale.tiers[0].available = 1;
        let away = Duration::from_secs(4);
        assert_eq!(Gate::of(&sale, time(1), away, Duration::ZERO), Gate::Held);
        assert_eq!(Gate::of(&sale, time(1), Duration::ZERO, away), Gate::Held);
        sale.tiers[0].ready = false;
        assert_eq!(gate(&sale, 1), Gate::Early, "queues are not ready");
    }

    #[test]
    fn it_can_be_joined_from_the_prequeue_to_the_end() {
        let mut sale = sale();
        assert_eq!(joinable(&sale, time(-3601)), Err(Unjoinable::NotOpen(Duration::from_secs(1))));
        assert_eq!(joinable(&sale, time(-3600)), Ok(()));
        sale.prequeue_opens_at = Some(time(-60));
        assert_eq!(joinable(&sale, time(-61)), Err(Unjoinable::NotOpen(Duration::from_secs(1))));
        assert_eq!(joinable(&sale, time(-60)), Ok(()));
        assert_eq!(joinable(&sale, time(8000)), Err(Unjoinable::Over));
        sale.room.mode = RoomMode::Reject;
        assert_eq!(joinable(&sale, time(1)), Err(Unjoinable::Rejecting));
    }

    #[test]
    fn only_those_before_the_opening_of_a_lottery_are_drawn() {
        let mut sale = sale();
        let at = |sale: &Sale, time| rule(sale, time).map(|rule| (rule.version, rule.drawn));
        assert_eq!(at(&sale, time(-1)), Some((1, false)));
        sale.room.mode = RoomMode::Lottery;
        sale.room_version = 1;
        assert_eq!(at(&sale, time(-1)), Some((3, true)));
        assert_eq!(at(&sale, time(0)), Some((4, false)), "newer than before the opening");
        let half = chrono::Duration::milliseconds(500);
        sale.sale_opens_at = time(0) + half;
        assert_eq!(at(&sale, time(0)), Some((3, true)));
        assert_eq!(at(&sale, time(0) + half), Some((4, false)), "within the same second, but late");
        assert!(was_drawn(&sale, time(0)) && !was_drawn(&sale, time(0) + half));
        let told = |time| Opening::of(&sale, time).draw_is_told;
        assert!(!told(time(1)) && told(time(1) + half));
        sale.room.mode = RoomMode::Reject;
        assert_eq!(at(&sale, time(0)), None, "as it was");
    }
}
