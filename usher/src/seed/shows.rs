//! The shows of the seeded catalogue, and opening a sale.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use contract::{
    MovieId, ShowId, TheatreId,
    api::catalogue::{Price, RoomSettings, Screen, Show, ShowDetails, ShowStatus},
};
use loadtest::Client;
use tokio::time::{Instant, sleep};

/// Longest wait until an opened sale takes bookings.
const OPEN_WAIT: Duration = Duration::from_mins(1);

/// A show on ordinary terms, on sale from now until it starts.
#[must_use]
pub fn ordinary(
    movie_id: MovieId,
    theatre_id: TheatreId,
    screen: &Screen,
    starts_at: DateTime<Utc>,
) -> ShowDetails {
    let price = |code: &str| match code {
        "RECLINER" => 85_000,
        "PREMIUM" => 45_000,
        _ => 28_000,
    };
    let prices = screen.details.tiers.iter().map(|tier| Price {
        tier: tier.tier.clone(),
        amount: price(tier.tier.as_str()),
        currency: "INR".into(),
    });
    ShowDetails {
        movie_id,
        theatre_id,
        screen_id: screen.screen_id,
        starts_at,
        prequeue_opens_at: None,
        sale_opens_at: platform::clock::now(),
        sale_closes_at: starts_at,
        prices: prices.collect(),
        max_seats_per_user: 6,
        hold_seconds: 600,
        order_seconds: 300,
        waiting_room: RoomSettings::default(),
    }
}

/// Opens the sale and waits until its queues take bookings.
pub async fn open(admin: &Client, id: ShowId) -> anyhow::Result<()> {
    let opening = admin.show(id).await?;
    if opening.status != ShowStatus::OnSale {
        let _: Show = admin
            .post_empty(&format!("/shows/{id}/open"))
            .await
            .context("the sale cannot be opened")?;
    }
    let until = Instant::now() + OPEN_WAIT;
    loop {
        let show = admin.show(id).await?;
        match show.status {
            ShowStatus::OnSale | ShowStatus::SoldOut => return Ok(()),
            other if Instant::now() > until => bail!(
                "show {id} is still {other:?} {} s after its sale was opened: does an allocator run?",
                OPEN_WAIT.as_secs()
            ),
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
}
