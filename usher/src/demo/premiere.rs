//! The premiere, the show of a demonstration.

use anyhow::Context as _;
use chrono::Days;
use contract::{
    ShowId,
    api::catalogue::{RoomMode, RoomSettings, Show, ShowDetails, ShowStatus},
};
use loadtest::Client;

use crate::seed::{Catalogue, shows, upcoming};

/// Short enough that lapses can be watched.
const HOLD_SECONDS: i32 = 8;
const ORDER_SECONDS: i32 = 15;
const BURST: i32 = 10;

/// A premiere on sale.
pub(super) struct Premiere {
    pub(super) show: ShowId,
    pub(super) room: RoomSettings,
}

impl Premiere {
    /// Closes what earlier demonstrations left on sale, and opens a fresh show.
    pub(super) async fn open(
        admin: &Client,
        catalogue: &Catalogue,
        rate: u32,
    ) -> anyhow::Result<Self> {
        close_earlier_ones(admin, catalogue).await?;
        let room = RoomSettings {
            mode: RoomMode::Fifo,
            rate_per_second: f64::from(rate),
            burst: BURST,
            max_active: None,
            paused: false,
        };
        let screen = &catalogue.premiere_screen;
        let starts_at = platform::clock::now() + Days::new(1);
        let details = ShowDetails {
            max_seats_per_user: 4,
            hold_seconds: HOLD_SECONDS,
            order_seconds: ORDER_SECONDS,
            waiting_room: room.clone(),
            ..shows::ordinary(
                catalogue.premiere_movie,
                catalogue.premiere_theatre,
                screen,
                starts_at,
            )
        };
        // The hall has its ordinary programme, and premieres of earlier demonstrations.
        let show: Show =
            admin.post("/shows?overlap=allow", &details).await.context("POST /shows")?;
        shows::open(admin, show.show_id).await?;
        Ok(Self { show: show.show_id, room })
    }
}

async fn close_earlier_ones(admin: &Client, catalogue: &Catalogue) -> anyhow::Result<()> {
    for show in upcoming(admin).await? {
        let is_on_sale = matches!(show.status, ShowStatus::OnSale | ShowStatus::SoldOut);
        let is_premiere = show.details.hold_seconds == HOLD_SECONDS
            && show.details.movie_id == catalogue.premiere_movie;
        if is_on_sale && is_premiere {
            let path = format!("/shows/{}/close", show.show_id);
            let _: Show = admin.post_empty(&path).await.context("closing an earlier premiere")?;
        }
    }
    Ok(())
}
