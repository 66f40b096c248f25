//! Shows to queue for.

use contract::{AccountId, ShowId, TicketId};
use reqwest::Method;
use testing::eventually;

use super::{SOON, Stage};

/// What the service tests call a show: its room, and whether it is on sale.
pub(crate) struct Plan {
    pub mode: &'static str,
    pub rate: f64,
    pub burst: i32,
    pub max_active: Option<i32>,
    pub paused: bool,
    /// Seconds from now.
    pub opens_in: f64,
    pub closes_in: f64,
    pub seats: i32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            mode: "FIFO",
            rate: 1000.0,
            burst: 100,
            max_active: None,
            paused: true,
            opens_in: -60.0,
            closes_in: 3600.0,
            // More than any test's visitors want.
            seats: 10_000,
        }
    }
}

impl Stage {
    /// A show that every node knows.
    pub(crate) async fn show(&self, plan: Plan) -> ShowId {
        let show = ShowId::new();
        sqlx::query(
            "with m as (insert into movies (movie_id, title, description, genres, rating,
                     duration_minutes, release_date, language)
                 values (gen_random_uuid(), 'A film', '', '{}', 'U', 90, '2026-01-01', 'en')
                 returning movie_id),
             t as (insert into theatres (theatre_id, name, address, city, latitude, longitude)
                 values (gen_random_uuid(), 'A house', '', '', 0, 0) returning theatre_id),
             s as (insert into screens (screen_id, theatre_id, name, tiers, layout)
                 select gen_random_uuid(), theatre_id, '1', '[]', '{\"rows\": []}' from t
                 returning screen_id, theatre_id),
             w as (insert into shows (show_id, movie_id, theatre_id, screen_id, starts_at,
                     sale_opens_at, sale_closes_at, sale_state, currency, max_seats_per_user,
                     room_mode, room_rate_per_second, room_burst, room_max_active, room_paused)
                 select $1, movie_id, theatre_id, screen_id, now() + interval '1 day',
                     now() + make_interval(secs => $2), now() + make_interval(secs => $3),
                     'ON_SALE', 'INR', 6, $4::room_mode, $5, $6, $7, $8
                 from m, s returning show_id),
             b as (insert into backlogs (show_id, tier, undecided)
                 select show_id, 'GOLD', 0 from w)
             insert into partitions
                 (show_id, tier, name, price, general_admission, capacity, available, queue_ready_at)
             select show_id, 'GOLD', 'Gold', 100, true, $9, $9, now() from w",
        )
        .bind(show.0)
        .bind(plan.opens_in)
        .bind(plan.closes_in)
        .bind(plan.mode)
        .bind(plan.rate)
        .bind(plan.burst)
        .bind(plan.max_active)
        .bind(plan.paused)
        .bind(plan.seats)
        .execute(&self.pool)
        .await
        .unwrap();
        for node in 0..self.nodes.len() {
            eventually("the node knows the show", SOON, || async {
                let path = format!("/shows/{show}/queue/{}", TicketId::new());
                let token = self.token(AccountId::new());
                let answer = self.call(node, Method::GET, &path, Some(&token), None).await;
                (answer.code() == "PLACE_NOT_FOUND").then_some(())
            })
            .await;
        }
        show
    }

    /// Changes columns of the show, such as `room_paused = false`.
    pub(crate) async fn set(&self, show: ShowId, change: &str) {
        let statement = format!("update shows set {change} where show_id = $1");
        let change = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(show.0);
        change.execute(&self.pool).await.unwrap();
    }

    pub(crate) async fn set_available(&self, show: ShowId, seats: i32) {
        sqlx::query("update partitions set available = $2 where show_id = $1")
            .bind(show.0)
            .bind(seats)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// Somebody holds every seat; the id of the booking.
    pub(crate) async fn hold_all(&self, show: ShowId) -> uuid::Uuid {
        let booking = uuid::Uuid::new_v4();
        sqlx::query(
            "insert into bookings (show_id, booking_id, account_id, tier, kind, status, seat_ids,
                 state, expires_at)
             values ($1, $2, gen_random_uuid(), 'GOLD', 'HOLD', 'ALLOCATED', '{A1}', 'HELD',
                 now() + interval '1 hour')",
        )
        .bind(show.0)
        .bind(booking)
        .execute(&self.pool)
        .await
        .unwrap();
        self.set_available(show, 0).await;
        booking
    }
}
