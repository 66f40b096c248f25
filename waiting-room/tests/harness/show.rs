//! The shows of the tests.

use chrono::TimeDelta;
use contract::{
    AccountId, ShowId, TicketId,
    api::catalogue::{RoomMode, RoomSettings},
    topology::Partition,
};
use reqwest::Method;
use store::{
    backlogs::{self, Sighting},
    partitions,
};
use testing::{eventually, show::Tier};

use super::{SOON, Stage};

/// The recipe of a show: its waiting room and its sale.
pub(crate) struct Plan {
    pub(crate) mode: RoomMode,
    pub(crate) rate: f64,
    pub(crate) burst: i32,
    pub(crate) max_active: Option<i32>,
    pub(crate) paused: bool,
    /// Seconds from now.
    pub(crate) opens_in: i64,
    pub(crate) closes_in: i64,
    pub(crate) seats: i32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            mode: RoomMode::Fifo,
            rate: 1000.0,
            burst: 100,
            max_active: None,
            paused: true,
            opens_in: -60,
            closes_in: 3600,
            // More than the visitors of any test want.
            seats: 10_000,
        }
    }
}

impl Stage {
    /// Makes a show and waits until every node knows it.
    pub(crate) async fn show(&self, plan: Plan) -> ShowId {
        let room = RoomSettings {
            mode: plan.mode,
            rate_per_second: plan.rate,
            burst: plan.burst,
            max_active: plan.max_active,
            paused: plan.paused,
        };
        let show = testing::show::Plan {
            tiers: vec![Tier::standing("GOLD", plan.seats)],
            room,
            sale: (TimeDelta::seconds(plan.opens_in), TimeDelta::seconds(plan.closes_in)),
            ..testing::show::Plan::default()
        };
        let show = show.put_on_sale(&self.pool).await;
        self.is_served(&Partition { show, tier: "GOLD".parse().unwrap() }).await;
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

    /// Writes what an allocator does: the queue is made and nothing waits in it.
    async fn is_served(&self, partition: &Partition) {
        partitions::queue_is_ready(&self.pool, partition).await.unwrap();
        let partition = partition.clone();
        let seen = Sighting { partition, undecided: 0, oldest_at: None, idle_for: None };
        backlogs::record(&self.pool, uuid::Uuid::new_v4(), &[seen]).await.unwrap();
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

    /// Holds every seat; returns the id of the booking.
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
