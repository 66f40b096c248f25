//! The catalogue, written through the admin's API, so that seeding also tests the API.

use std::{collections::HashSet, fmt};

use anyhow::Context as _;
use chrono::{DateTime, Days, NaiveTime, Utc};
use contract::{
    MovieId, ScreenId, ShowId, TheatreId,
    api::{
        Page,
        catalogue::{
            Layout, Movie, RoomMode, RoomSettings, Screen, ScreenDetails, ScreenTier, Show,
            ShowDetails, Theatre, TheatreDetails,
        },
    },
};
use loadtest::{CallError, Client};
use serde::de::DeserializeOwned;

use super::{films, hall, houses, shows};

/// Days for which ordinary shows are planned.
const DAYS: u64 = 3;
/// When ordinary shows begin, in UTC: matinee, early and late evening in India.
const TIMES: [(u32, u32); 3] = [(7, 30), (12, 30), (16, 0)];
/// Places on the lawn, enough for a load test without a line.
const LAWN_PLACES: i32 = 20_000;
const LAWN: &str = "The Lawn";

/// The catalogue after seeding.
pub struct Catalogue {
    pub premiere_movie: MovieId,
    pub premiere_theatre: TheatreId,
    pub premiere_screen: Screen,
    /// A show on sale without a line, with general admission.
    pub walk_in: ShowId,
    made: usize,
    there: usize,
}

impl fmt::Display for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "catalogue: {} entries made, {} were there", self.made, self.there)
    }
}

/// Adds to the catalogue what is missing, with a premiere hall of `premiere_seats`.
pub async fn catalogue(admin: &Client, premiere_seats: usize) -> anyhow::Result<Catalogue> {
    let mut seeding = Seeding { admin, made: 0, there: 0 };
    let movies = seeding.movies().await?;
    let mut halls = Vec::new();
    let mut first = None;
    for house in &houses::HOUSES {
        let theatre = seeding.theatre(&house.details()).await?;
        for (name, seats) in house.halls {
            let screen = seeding.screen(&theatre, name, hall::hall(*seats)).await?;
            halls.push((theatre.theatre_id, screen));
        }
        if theatre.details.name == houses::FIRST_HOUSE {
            first = Some(theatre);
        }
    }
    let first = first.context("the first house is missing among the houses")?;
    seeding.shows(&movies, &halls).await?;
    let name = format!("Grand Hall ({premiere_seats})");
    let premiere_screen = seeding.screen(&first, &name, hall::hall(premiere_seats)).await?;
    let lawn = seeding.screen(&first, LAWN, hall::lawn(LAWN_PLACES)).await?;
    let premiere = movies.iter().find(|movie| movie.details.title == films::PREMIERE);
    let premiere_movie = premiere.context("the premiere is missing among the films")?.movie_id;
    let walk_in = seeding.walk_in(premiere_movie, first.theatre_id, &lawn).await?;
    Ok(Catalogue {
        premiere_movie,
        premiere_theatre: first.theatre_id,
        premiere_screen,
        walk_in,
        made: seeding.made,
        there: seeding.there,
    })
}

struct Seeding<'a> {
    admin: &'a Client,
    made: usize,
    there: usize,
}

impl Seeding<'_> {
    async fn movies(&mut self) -> anyhow::Result<Vec<Movie>> {
        let known: Vec<Movie> = all(self.admin, "/movies").await?;
        let mut movies = Vec::new();
        for film in films::films(platform::clock::now().date_naive()) {
            let there = known.iter().find(|movie| movie.details.title == film.title).cloned();
            movies.push(match self.note(there) {
                Some(movie) => movie,
                None => self.admin.post("/movies", &film).await.context("POST /movies")?,
            });
        }
        Ok(movies)
    }

    async fn theatre(&mut self, details: &TheatreDetails) -> anyhow::Result<Theatre> {
        let known: Vec<Theatre> = all(self.admin, "/theatres").await?;
        let there = known.into_iter().find(|theatre| theatre.details.name == details.name);
        match self.note(there) {
            Some(theatre) => Ok(theatre),
            None => self.admin.post("/theatres", details).await.context("POST /theatres"),
        }
    }

    /// The screen with this name; an existing screen may have other details, but only its id is
    /// used.
    async fn screen(
        &mut self,
        theatre: &Theatre,
        name: &str,
        (tiers, layout): (Vec<ScreenTier>, Layout),
    ) -> anyhow::Result<Screen> {
        let details =
            ScreenDetails { theatre_id: theatre.theatre_id, name: name.into(), tiers, layout };
        let there = theatre.screens.iter().find(|screen| screen.name == name);
        match self.note(there.map(|screen| screen.screen_id)) {
            Some(screen_id) => Ok(Screen { screen_id, details }),
            None => self.admin.post("/screens", &details).await.context("POST /screens"),
        }
    }

    async fn shows(
        &mut self,
        movies: &[Movie],
        halls: &[(TheatreId, Screen)],
    ) -> anyhow::Result<()> {
        let planned = upcoming(self.admin).await?;
        let taken: HashSet<(ScreenId, DateTime<Utc>)> =
            planned.iter().map(|show| (show.details.screen_id, show.details.starts_at)).collect();
        let today = platform::clock::now().date_naive();
        let slots = (1..=DAYS).flat_map(|day| TIMES.map(|(hour, minute)| (day, hour, minute)));
        let starts = slots.filter_map(|(day, hour, minute)| {
            let time = NaiveTime::from_hms_opt(hour, minute, 0)?;
            Some(today.checked_add_days(Days::new(day))?.and_time(time).and_utc())
        });
        for (slot, starts_at) in starts.enumerate() {
            for (n, (theatre_id, screen)) in halls.iter().enumerate() {
                let taken = taken.contains(&(screen.screen_id, starts_at));
                if self.note(taken.then_some(())).is_some() {
                    continue;
                }
                let movie_id = movies[(slot + 5 * n) % movies.len()].movie_id;
                let show = shows::ordinary(movie_id, *theatre_id, screen, starts_at);
                // A demonstration may have had a premiere in between.
                let path = "/shows?overlap=allow";
                let _: Show = self.admin.post(path, &show).await.context("POST /shows")?;
            }
        }
        Ok(())
    }

    /// The show without a line; a new one if the last begins within a day or is half sold.
    async fn walk_in(
        &mut self,
        movie_id: MovieId,
        theatre_id: TheatreId,
        lawn: &Screen,
    ) -> anyhow::Result<ShowId> {
        let soon = platform::clock::now() + Days::new(1);
        let there = upcoming(self.admin).await?.into_iter().find(|show| {
            let ShowDetails { screen_id, starts_at, waiting_room, .. } = &show.details;
            let left: i32 = show.available.iter().map(|tier| tier.seats).sum();
            *screen_id == lawn.screen_id
                && *starts_at > soon
                && waiting_room.mode == RoomMode::Off
                && left > LAWN_PLACES / 2
        });
        if let Some(show) = self.note(there) {
            shows::open(self.admin, show.show_id).await?;
            return Ok(show.show_id);
        }
        let starts_at = platform::clock::now() + Days::new(14);
        let show = ShowDetails {
            waiting_room: RoomSettings { mode: RoomMode::Off, ..RoomSettings::default() },
            max_seats_per_user: 20,
            ..shows::ordinary(movie_id, theatre_id, lawn, starts_at)
        };
        let path = "/shows?overlap=allow";
        let show: Show = self.admin.post(path, &show).await.context("POST /shows")?;
        shows::open(self.admin, show.show_id).await?;
        Ok(show.show_id)
    }

    fn note<T>(&mut self, there: Option<T>) -> Option<T> {
        match there {
            Some(_) => self.there += 1,
            None => self.made += 1,
        }
        there
    }
}

/// Every show to come.
pub async fn upcoming(client: &Client) -> Result<Vec<Show>, CallError> {
    all(client, "/shows/upcoming").await
}

async fn all<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Vec<T>, CallError> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Page<T> = client.get(&format!("{path}?limit=100{cursor}")).await?;
        items.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}
