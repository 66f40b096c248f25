//! The harness: a running system on backends of its own, and a client for it.

use std::{net::SocketAddr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args as _, Command, FromArgMatches as _};
use contract::{
    AccountId, ProducerId, ShowId,
    access::Role,
    api::catalogue::{Movie, RoomMode, RoomSettings, Screen, Show, Theatre},
    topology::Partition,
};
use platform::Shutdown;
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use store::{
    Pool,
    acceptance::{self, Numbers, ProducerReport},
    allocators,
};
use testing::{
    Slot, eventually,
    show::{self, Tier},
};
use usher::{
    settings::Settings,
    up::{self, Allocation},
};
use uuid::Uuid;

pub(crate) use testing::Answer;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// All services in this process, on one port.
pub(crate) struct System {
    pub(crate) slot: Slot,
    pub(crate) pool: Pool,
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    shutdown: Shutdown,
}

/// The recipe of a show; by default rows A to D of STANDARD with ten seats each, without a line.
pub(crate) struct Plan {
    pub(crate) rows: u8,
    pub(crate) seats: u32,
    pub(crate) room: RoomMode,
    pub(crate) per_user: u32,
    pub(crate) hold_seconds: u32,
    pub(crate) order_seconds: u32,
    /// Whether row A is a tier of its own, BALCONY.
    pub(crate) balcony: bool,
    /// When the sale opens and closes, in seconds from now.
    pub(crate) sale: (i64, i64),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rows: 4,
            seats: 10,
            room: RoomMode::Off,
            per_user: 10,
            hold_seconds: 600,
            order_seconds: 300,
            balcony: false,
            sale: (-3600, 24 * 3600),
        }
    }
}

impl From<Plan> for show::Plan {
    fn from(plan: Plan) -> Self {
        let (n_rows, per_row) = (usize::from(plan.rows), plan.seats as usize);
        let rows = |code, first, rows| Tier::seated(code, first, rows * per_row, per_row);
        let tiers = if plan.balcony {
            vec![rows("BALCONY", 'A', 1), rows("STANDARD", 'B', n_rows - 1)]
        } else {
            vec![rows("STANDARD", 'A', n_rows)]
        };
        let whole = |n: u32| i32::try_from(n).expect("a small number");
        let (opens_in, closes_in) = plan.sale;
        Self {
            tiers,
            room: RoomSettings { mode: plan.room, ..RoomSettings::default() },
            per_user: whole(plan.per_user),
            hold_seconds: whole(plan.hold_seconds),
            order_seconds: whole(plan.order_seconds),
            sale: (TimeDelta::seconds(opens_in), TimeDelta::seconds(closes_in)),
        }
    }
}

impl System {
    /// Starts all services.
    pub(crate) async fn start() -> Self {
        Self::start_with(Allocation::Here).await
    }

    /// Starts all services, or all but the allocator.
    pub(crate) async fn start_with(allocation: Allocation) -> Self {
        Self::start_at(Slot::take().await, allocation).await
    }

    /// Starts all services, or all but the allocator, on these backends.
    pub(crate) async fn start_at(slot: Slot, allocation: Allocation) -> Self {
        Self::start_on(slot, allocation, &[]).await.ready().await
    }

    /// Starts all services with these arguments besides the backends.
    pub(crate) async fn start_with_arguments(arguments: &[&str]) -> Self {
        Self::start_on(Slot::take().await, Allocation::Here, arguments).await.ready().await
    }

    async fn ready(self) -> Self {
        eventually("the system is ready", SOON, async || {
            (self.get("/readyz", None).await.status == StatusCode::OK).then_some(())
        })
        .await;
        self
    }

    /// Starts all services without Redis, so that not all of them become ready.
    pub(crate) async fn start_without_redis() -> Self {
        let mut slot = Slot::take().await;
        slot.redis_url = "redis://127.0.0.1:1/0".into();
        Self::start_on(slot, Allocation::Here, &[]).await
    }

    async fn start_on(slot: Slot, allocation: Allocation, more: &[&str]) -> Self {
        let command = Settings::augment_args(Command::new("usher"));
        let arguments = [
            "usher".to_owned(),
            format!("--database-url={}", slot.database_url),
            format!("--redis-url={}", slot.redis_url),
            format!("--amqp-url={}", slot.amqp_url),
            format!("--master-key={}", slot.master_key_text),
            "--trusted-proxies=127.0.0.1".to_owned(),
            "--log=warn,waiting_room=info,allocator=info".to_owned(),
        ];
        let arguments = arguments.into_iter().chain(more.iter().map(|&more| more.to_owned()));
        let settings = Settings::from_arg_matches(&command.get_matches_from(arguments))
            .expect("the settings have defaults");
        // The test runner shows the log when the test fails.
        platform::telemetry::init(&settings.own.process);
        let shutdown = Shutdown::default();
        let service = up::start(&settings, &shutdown, allocation).await.expect("it starts");
        let listener = platform::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (http, stop) = (settings.own.http.clone(), shutdown.clone());
        shutdown.spawn(async move { platform::http::serve(listener, service, &http, &stop).await });
        Self { pool: slot.pool(), slot, address, http: reqwest::Client::new(), shutdown }
    }

    /// The time by PostgreSQL's clock.
    pub(crate) async fn now(&self) -> DateTime<Utc> {
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until no queue of a show is left.
    pub(crate) async fn queues_are_gone(&self, show: ShowId, limit: Duration) {
        let ready =
            "select count(*) from partitions where show_id = $1 and queue_ready_at is not null";
        eventually("its queues are gone", limit, async || {
            let ready: i64 =
                sqlx::query_scalar(ready).bind(show.0).fetch_one(&self.pool).await.unwrap();
            (ready == 0).then_some(())
        })
        .await;
    }

    /// Stops the system gracefully.
    pub(crate) async fn stop(self) {
        assert!(self.shutdown.finish(SOON).await, "it stops when asked");
    }

    /// A new account without a password, and its token.
    pub(crate) async fn account(&self, role: Role) -> (AccountId, String) {
        let id = testing::account(&self.pool, role).await;
        (id, testing::token(&self.slot.master_key(), id, role))
    }

    /// The token of a new visitor.
    pub(crate) async fn visitor(&self) -> String {
        self.account(Role::User).await.1
    }

    /// One call of the API; paths that start with `/api` or `/` alone are taken as they are.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::to(request).await
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call(Method::GET, path, token, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(token), &[], Some(body)).await
    }

    /// Makes a show through the admin API and opens its sale.
    pub(crate) async fn show(&self, plan: Plan) -> ShowId {
        let show = self.scheduled_show(plan).await;
        let (_, admin) = self.account(Role::Admin).await;
        let opened = self.post(&format!("/api/v1/shows/{show}/open"), &admin, json!({})).await;
        assert!(opened.status.is_success(), "{opened:?}");
        eventually("the sale opens", SOON, async || {
            let show = self.get(&format!("/api/v1/shows/{show}"), None).await;
            (show.body["status"] == "ON_SALE").then_some(())
        })
        .await;
        show
    }

    /// Reports the first `n` requests of a producer as accepted, as a node would.
    pub(crate) async fn report_accepted(
        &self,
        partition: &Partition,
        producer: ProducerId,
        n: i64,
        is_sealed: bool,
    ) {
        let mut confirmed = Numbers::default();
        if n > 0 {
            confirmed.add(0, n - 1);
        }
        let (partition, age) = (partition.clone(), Duration::ZERO);
        let report = ProducerReport { partition, producer, age, confirmed, is_sealed };
        let (_, now) = allocators::write_numbers(&self.pool).await.unwrap();
        acceptance::report(&self.pool, now, &[report]).await.unwrap();
    }

    /// Makes a show through the admin API.
    pub(crate) async fn scheduled_show(&self, plan: Plan) -> ShowId {
        let plan = show::Plan::from(plan);
        let (_, admin) = self.account(Role::Admin).await;
        let movie: Movie = self.created("/movies", &admin, &show::movie()).await;
        let theatre: Theatre = self.created("/theatres", &admin, &show::theatre()).await;
        let hall = plan.screen(theatre.theatre_id);
        let screen: Screen = self.created("/screens", &admin, &hall).await;
        let details = plan.show(movie.movie_id, theatre.theatre_id, screen.screen_id);
        let show: Show = self.created("/shows", &admin, &details).await;
        show.show_id
    }

    async fn created<T: DeserializeOwned>(
        &self,
        path: &str,
        admin: &str,
        details: &impl Serialize,
    ) -> T {
        let body = serde_json::to_value(details).expect("it is JSON");
        let answer = self.post(&format!("/api/v1{path}"), admin, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{path}: {answer:?}");
        answer.read()
    }

    /// Submits a booking and waits for its outcome.
    pub(crate) async fn book(&self, token: &str, body: Value) -> Answer {
        let headers = [("prefer", "wait=10")];
        self.call(Method::POST, "/api/v1/bookings", Some(token), &headers, Some(body)).await
    }

    /// A connection to the database without the timeouts of a pool.
    pub(crate) async fn direct(&self) -> sqlx::PgConnection {
        use sqlx::Connection as _;
        sqlx::PgConnection::connect(&self.slot.database_url).await.expect("postgres answers")
    }

    /// The audit of everything in this system's database.
    pub(crate) async fn audit(&self, accepted: &[contract::BookingId]) -> store::audit::Audit {
        store::audit::audit(&self.pool, None, accepted).await.expect("the audit runs")
    }
}

/// A program of the workspace, built beside these tests.
pub(crate) fn program(name: &str) -> std::process::Command {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let beside = exe.ancestors().nth(2).expect("…/deps/test").join(name);
    assert!(beside.exists(), "{} is not built: run the tests by ./dev test", beside.display());
    std::process::Command::new(beside)
}

/// The value of a counter of this process; 0 if it never counted.
pub(crate) fn counted(name: &str) -> u64 {
    let metrics = platform::telemetry::render();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a whole number"))
}

/// How often this process took a rare path.
pub(crate) fn times_taken(path: &str) -> u64 {
    counted(&format!("usher_rare_paths_total{{path=\"{path}\"}}"))
}

/// A key that no other request has.
pub(crate) fn fresh_key() -> String {
    Uuid::new_v4().to_string()
}
