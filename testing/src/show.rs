//! The show of a test: one recipe, for tests that make their show through the API and for tests
//! that put it into the database.

use chrono::{NaiveDate, TimeDelta};
use contract::{
    MovieId, ScreenId, SeatLabel, ShowId, TheatreId, TierCode,
    api::catalogue::{
        Layout, Movie, MovieDetails, Price, RoomMode, RoomSettings, Row, ScreenDetails, ScreenTier,
        Seat, SeatKind, ShowDetails, TheatreDetails,
    },
};
use platform::clock;
use store::{
    Pool,
    catalogue::{movies, screens, shows, theatres},
};

/// Price of each seat, in minor units.
const PRICE: i64 = 25_000;

/// The recipe of a show.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tiers: Vec<Tier>,
    pub room: RoomSettings,
    pub per_user: i32,
    pub hold_seconds: i32,
    pub order_seconds: i32,
    /// When the sale opens and closes, from now.
    pub sale: (TimeDelta, TimeDelta),
}

impl Default for Plan {
    /// Four rows of ten seats, on sale for a day since an hour ago, without a line.
    fn default() -> Self {
        Self {
            tiers: vec![Tier::seated("STANDARD", 'A', 40, 10)],
            room: RoomSettings { mode: RoomMode::Off, ..RoomSettings::default() },
            per_user: 10,
            hold_seconds: 600,
            order_seconds: 300,
            sale: (TimeDelta::hours(-1), TimeDelta::days(1)),
        }
    }
}

/// A tier of the hall.
#[derive(Clone, Debug)]
pub struct Tier {
    pub code: TierCode,
    rows: Vec<Row>,
    /// Places without numbers, if there are no rows.
    places: i32,
}

impl Tier {
    /// `n` seats in rows of `per_row`; the first row has this letter.
    ///
    /// # Panics
    /// If the code is malformed, or the letter is no capital.
    #[must_use]
    pub fn seated(code: &str, first: char, n: usize, per_row: usize) -> Self {
        let code: TierCode = code.parse().expect("a tier's code");
        let row_of = |name: String, seats: usize| {
            let label = |number| format!("{name}{number}").parse().expect("a seat's label");
            let seat = |number| Seat {
                seat_id: label(number),
                tier: code.clone(),
                kind: SeatKind::default(),
            };
            let seats = (1..=seats).map(seat).collect();
            Row { row: name, seats }
        };
        let names = (first as usize - 'A' as usize..).map(row_name);
        let rows = (0..n).step_by(per_row).zip(names);
        let rows = rows.map(|(before, name)| row_of(name, per_row.min(n - before))).collect();
        Self { rows, code, places: 0 }
    }

    /// `n` places without numbers.
    ///
    /// # Panics
    /// If the code is malformed.
    #[must_use]
    pub fn standing(code: &str, n: i32) -> Self {
        Self { code: code.parse().expect("a tier's code"), rows: Vec::new(), places: n }
    }

    /// The numbered seats of the tier.
    pub fn seats(&self) -> impl Iterator<Item = &SeatLabel> {
        self.rows.iter().flat_map(|row| &row.seats).map(|seat| &seat.seat_id)
    }
}

/// A to Z, then AA, AB and so on.
fn row_name(n: usize) -> String {
    let letter = |n: usize| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[n % 26]);
    let first = (n >= 26).then(|| letter(n / 26 - 1));
    first.into_iter().chain([letter(n)]).collect()
}

impl Plan {
    /// The hall.
    #[must_use]
    pub fn screen(&self, theatre: TheatreId) -> ScreenDetails {
        let tier = |tier: &Tier| ScreenTier {
            tier: tier.code.clone(),
            name: tier.code.to_string(),
            general_admission: tier.rows.is_empty(),
            capacity: tier.places,
        };
        ScreenDetails {
            theatre_id: theatre,
            name: "Screen 1".into(),
            tiers: self.tiers.iter().map(tier).collect(),
            layout: Layout { rows: self.tiers.iter().flat_map(|tier| tier.rows.clone()).collect() },
        }
    }

    /// The show, two days ahead.
    #[must_use]
    pub fn show(&self, movie: MovieId, theatre: TheatreId, screen: ScreenId) -> ShowDetails {
        let now = clock::now();
        let price =
            |tier: &Tier| Price { tier: tier.code.clone(), amount: PRICE, currency: "INR".into() };
        ShowDetails {
            movie_id: movie,
            theatre_id: theatre,
            screen_id: screen,
            starts_at: now + TimeDelta::days(2),
            prequeue_opens_at: None,
            sale_opens_at: now + self.sale.0,
            sale_closes_at: now + self.sale.1,
            prices: self.tiers.iter().map(price).collect(),
            max_seats_per_user: self.per_user,
            hold_seconds: self.hold_seconds,
            order_seconds: self.order_seconds,
            waiting_room: self.room.clone(),
        }
    }

    /// Puts the show on sale in the database; an allocator makes its queues.
    ///
    /// # Panics
    /// If an insert fails.
    pub async fn put_on_sale(&self, pool: &Pool) -> ShowId {
        let (theatre, screen) = (TheatreId::new(), ScreenId::new());
        let (hall, film) =
            (self.screen(theatre), Movie { movie_id: MovieId::new(), details: movie() });
        let (show, details) = (ShowId::new(), self.show(film.movie_id, theatre, screen));
        let put = async {
            let mut tx = pool.begin().await?;
            movies::insert(&mut tx, &film, None).await?;
            theatres::insert(&mut tx, theatre, &self::theatre()).await?;
            screens::insert(&mut tx, screen, &hall).await?;
            shows::insert(&mut tx, show, &details, &hall).await?;
            shows::open(&mut tx, show).await?;
            tx.commit().await?;
            anyhow::Ok(show)
        };
        put.await.expect("the database takes a show")
    }
}

/// The movie of every show made here.
#[must_use]
pub fn movie() -> MovieDetails {
    MovieDetails {
        title: "The Long Monsoon".into(),
        description: "It rains.".into(),
        genres: vec!["Drama".into()],
        rating: "U".into(),
        duration_minutes: 121,
        release_date: NaiveDate::from_ymd_opt(2026, 1, 15).unwrap_or_default(),
        poster_url: None,
        language: "Hindi".into(),
    }
}

/// The theatre of every show made here.
#[must_use]
pub fn theatre() -> TheatreDetails {
    TheatreDetails {
        name: "Regal".into(),
        address: "1 Station Road".into(),
        city: "Pune".into(),
        latitude: 18.52,
        longitude: 73.85,
        time_zone: Some("Asia/Kolkata".into()),
    }
}
