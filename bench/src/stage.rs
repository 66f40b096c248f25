//! The show whose line is measured, made through the admin's API.

use anyhow::Context as _;
use chrono::Days;
use contract::{
    ShowId,
    api::catalogue::{
        Movie, MovieDetails, RoomMode, RoomSettings, RoomSettingsChange, Screen, ScreenDetails,
        Show, ShowDetails, ShowStatus, Theatre, TheatreDetails,
    },
};
use loadtest::Client;
use reqwest::Method;
use usher::seed::{hall, shows, upcoming};

/// Enough places that the line does not stop for lack of seats; no visitor books.
const PLACES: i32 = 100_000;

/// A show on sale whose line can be paused and resumed.
pub(crate) struct Stage {
    admin: Client,
    pub(crate) show: ShowId,
}

impl Stage {
    /// Opens a fresh show with its line paused, and closes what earlier runs left open.
    pub(crate) async fn open(admin: Client) -> anyhow::Result<Self> {
        for show in upcoming(&admin).await? {
            if show.status != ShowStatus::Closed {
                close(&admin, show.show_id).await?;
            }
        }
        let movie: Movie = admin.post("/movies", &movie()).await.context("POST /movies")?;
        let theatre: Theatre =
            admin.post("/theatres", &theatre()).await.context("POST /theatres")?;
        let (tiers, layout) = hall::lawn(PLACES);
        let details =
            ScreenDetails { theatre_id: theatre.theatre_id, name: "Lawn".into(), tiers, layout };
        let screen: Screen = admin.post("/screens", &details).await.context("POST /screens")?;
        let starts_at = platform::clock::now() + Days::new(1);
        let details = ShowDetails {
            waiting_room: RoomSettings {
                mode: RoomMode::Fifo,
                paused: true,
                ..RoomSettings::default()
            },
            ..shows::ordinary(movie.movie_id, theatre.theatre_id, &screen, starts_at)
        };
        let show: Show = admin.post("/shows", &details).await.context("POST /shows")?;
        shows::open(&admin, show.show_id).await?;
        Ok(Self { admin, show: show.show_id })
    }

    /// Admits visitors at this rate per second.
    pub(crate) async fn resume(&self, rate: f64, burst: i32) -> anyhow::Result<()> {
        self.change(RoomSettingsChange {
            rate_per_second: Some(rate),
            burst: Some(burst),
            paused: Some(false),
            ..RoomSettingsChange::default()
        })
        .await
    }

    /// Pauses the line.
    pub(crate) async fn pause(&self) -> anyhow::Result<()> {
        self.change(RoomSettingsChange { paused: Some(true), ..RoomSettingsChange::default() })
            .await
    }

    /// Ends the sale.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        close(&self.admin, self.show).await
    }

    async fn change(&self, change: RoomSettingsChange) -> anyhow::Result<()> {
        let path = format!("/shows/{}/waiting-room", self.show);
        let changed: Result<serde_json::Value, _> =
            self.admin.change(Method::PATCH, &path, &change).await;
        changed.map(drop).context("the line's settings cannot be changed")
    }
}

async fn close(admin: &Client, show: ShowId) -> anyhow::Result<()> {
    let closed: Result<Show, _> = admin.post_empty(&format!("/shows/{show}/close")).await;
    closed.map(drop).context("a sale cannot be closed")
}

pub(crate) fn movie() -> MovieDetails {
    MovieDetails {
        title: "The Long Wait".into(),
        description: "Everybody is there, and nobody is in a hurry.".into(),
        genres: vec!["Drama".into()],
        rating: "U".into(),
        duration_minutes: 90,
        release_date: platform::clock::now().date_naive(),
        poster_url: None,
        language: "Hindi".into(),
    }
}

pub(crate) fn theatre() -> TheatreDetails {
    TheatreDetails {
        name: "Load Test Grounds".into(),
        address: "1 Queue Lane".into(),
        city: "Mumbai".into(),
        latitude: 19.0544,
        longitude: 72.8295,
        time_zone: Some("Asia/Kolkata".into()),
    }
}
