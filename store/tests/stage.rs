//! Shows to try things on: two tiers of six seats that share their accounts' limits.

use contract::{AccountId, MovieId, ScreenId, SeatLabel, ShowId, TheatreId, topology::Partition};
use store::PgPool;
use testing::Slot;

pub(crate) const TIERS: usize = 2;
pub(crate) const SEATS_PER_TIER: usize = 6;
pub(crate) const MAX_SEATS_PER_USER: i32 = 4;
pub(crate) const HOLD_SECONDS: i32 = 600;
pub(crate) const ORDER_SECONDS: i32 = 300;
const N_ACCOUNTS: usize = 3;

/// A database with what every show needs.
pub(crate) struct Stage {
    pub(crate) pool: PgPool,
    movie: MovieId,
    theatre: TheatreId,
    screen: ScreenId,
    accounts: Vec<AccountId>,
    slot: Slot,
}

/// A show of its own.
#[derive(Clone, Debug)]
pub(crate) struct Hall {
    pub(crate) show: ShowId,
    pub(crate) tiers: [Partition; TIERS],
    pub(crate) seats: [Vec<SeatLabel>; TIERS],
    /// The last one does not exist.
    pub(crate) accounts: Vec<AccountId>,
}

impl Stage {
    pub(crate) async fn build() -> Self {
        let slot = Slot::take().await;
        let pool = slot.pool();
        let (movie, theatre, screen) = (MovieId::new(), TheatreId::new(), ScreenId::new());
        sqlx::query(
            "with m as (
                 insert into movies (movie_id, title, description, genres, rating,
                     duration_minutes, release_date, language)
                 values ($1, 'The Long Monsoon', '', '{}', 'U', 121, '2026-01-15', 'Hindi')),
             t as (
                 insert into theatres (theatre_id, name, address, city, latitude, longitude)
                 values ($2, 'Regal', '1 Station Road', 'Pune', 18.52, 73.85))
             insert into screens (screen_id, theatre_id, name, tiers, layout)
             values ($3, $2, 'Screen 1', '[]', '{}')",
        )
        .bind(movie.0)
        .bind(theatre.0)
        .bind(screen.0)
        .execute(&pool)
        .await
        .unwrap();
        let accounts: Vec<AccountId> = (0..N_ACCOUNTS).map(|_| AccountId::new()).collect();
        for account in &accounts {
            sqlx::query(
                "insert into accounts (account_id, name, email, password_hash)
                 values ($1, 'Asha Rao', $2, 'x')",
            )
            .bind(account.0)
            .bind(format!("{account}@visitor.example"))
            .execute(&pool)
            .await
            .unwrap();
        }
        Self { pool, movie, theatre, screen, accounts, slot }
    }

    pub(crate) fn database_url(&self) -> String {
        self.slot.database_url.clone()
    }

    pub(crate) async fn show(&self) -> Hall {
        let show = ShowId::new();
        let tiers =
            ["BALCONY", "STALLS"].map(|tier| Partition { show, tier: tier.parse().unwrap() });
        let label = |row: char, n| format!("{row}{n}").parse::<SeatLabel>().unwrap();
        let seats = ['A', 'B'].map(|row| (1..=SEATS_PER_TIER).map(|n| label(row, n)).collect());
        sqlx::query(
            "insert into shows (show_id, movie_id, theatre_id, screen_id, starts_at,
                 sale_opens_at, sale_closes_at, sale_state, currency, max_seats_per_user,
                 hold_seconds, order_seconds)
             select $1, $2, $3, $4, now + interval '2 days', now - interval '1 hour',
                 now + interval '1 day', 'ON_SALE', 'INR', $5, $6, $7
             from clock_timestamp() as now",
        )
        .bind(show.0)
        .bind(self.movie.0)
        .bind(self.theatre.0)
        .bind(self.screen.0)
        .bind(MAX_SEATS_PER_USER)
        .bind(HOLD_SECONDS)
        .bind(ORDER_SECONDS)
        .execute(&self.pool)
        .await
        .unwrap();
        let hall = Hall { show, tiers, seats, accounts: self.accounts.clone() };
        for (tier, seats) in hall.tiers.iter().zip(&hall.seats) {
            add_tier(&self.pool, tier, seats).await;
        }
        Hall { accounts: hall.accounts.iter().copied().chain([AccountId::new()]).collect(), ..hall }
    }
}

async fn add_tier(pool: &PgPool, tier: &Partition, seats: &[SeatLabel]) {
    let labels: Vec<&str> = seats.iter().map(SeatLabel::as_str).collect();
    sqlx::query(
        "with p as (
             insert into partitions (show_id, tier, name, price, general_admission, capacity,
                 available)
             values ($1, $2, lower($2), 25000, false, cardinality($3::text[]),
                 cardinality($3::text[]))
             returning show_id, tier)
         insert into show_seats (show_id, seat_id, tier, row_index, seat_index)
         select show_id, seat_id, tier, 0, n
         from p, unnest($3::text[]) with ordinality as s (seat_id, n)",
    )
    .bind(tier.show.0)
    .bind(tier.tier.as_str())
    .bind(&labels)
    .execute(pool)
    .await
    .unwrap();
}
