//! Nodes of the waiting room on backends of their own, shows to queue for, and visitors.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use contract::{
    AccountId, ShowId, TicketId,
    access::{AccessKeys, Caller, Role},
    api::line::{PlaceState, PlaceStatus},
    place_ticket::PlaceKeys,
};
use futures_util::StreamExt as _;
use platform::{
    Shutdown, clock,
    config::{Backends, Http, Process},
};
use redis::{aio::MultiplexedConnection, streams::StreamRangeReply};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use store::{
    PgPool,
    testing::{Slot, eventually},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async, connect_async,
    tungstenite::{
        self,
        client::IntoClientRequest as _,
        http::{HeaderValue, Request},
    },
};
use waiting_room::{ChallengeKind, Config, LineSettings};

use crate::{proxy::Proxy, socket::Socket};

/// The keys of a line, in the order of the scripts.
pub(crate) const LINE_KEYS: [&str; 16] = [
    "head",
    "bucket",
    "line",
    "ready",
    "seen",
    "absent",
    "places",
    "accounts",
    "ended",
    "admitting",
    "active",
    "changes",
    "held",
    "nodes",
    "choosing",
    "ended_at",
];
pub(crate) const SOON: Duration = Duration::from_secs(10);

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

/// Starts measuring in this process.
pub(crate) fn measure() {
    platform::telemetry::init(&Process {
        log_format: "text".into(),
        log: "warn".into(),
        shutdown_seconds: 1,
    });
}

/// The sum of a metric over its labels, as far as they contain this.
pub(crate) fn measured(name: &str, label: &str) -> f64 {
    let text = platform::telemetry::render();
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let of_name = series.split('{').next() == Some(name);
        (of_name && series.contains(label)).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

pub(crate) struct Stage {
    pub pool: PgPool,
    pub redis: MultiplexedConnection,
    pub nodes: Vec<SocketAddr>,
    /// Between the nodes and Redis.
    pub proxy: Proxy,
    pub place_keys: PlaceKeys,
    /// Of what the test itself runs.
    pub shutdown: Shutdown,
    stops: Vec<Shutdown>,
    /// Nobody else uses these backends as long as it is held.
    pub slot: Slot,
    access: AccessKeys,
    http: reqwest::Client,
    config: Config,
}

/// Somebody in a line.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub show: ShowId,
    pub account: AccountId,
    pub token: String,
    pub ticket: TicketId,
    pub place_ticket: String,
}

pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    async fn read(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, body }
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }

    pub(crate) fn place(&self) -> PlaceStatus {
        serde_json::from_value(self.body.clone()).unwrap_or_else(|_| panic!("{}", self.body))
    }
}

impl Stage {
    pub(crate) async fn new(nodes: usize) -> Self {
        Self::with(nodes, |_| ()).await
    }

    pub(crate) async fn with(nodes: usize, change: impl Fn(&mut LineSettings)) -> Self {
        Self::build(nodes, change, 10_000, None).await
    }

    /// Nodes for thousands of sockets.
    pub(crate) async fn crowded(nodes: usize) -> Self {
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        Self::new(nodes).await
    }

    /// One node, whose sockets take so few bytes that a client does not read.
    pub(crate) async fn with_send_buffer(bytes: u32) -> Self {
        Self::build(1, |_| (), 10_000, Some(bytes)).await
    }

    /// One node that takes so many connections at once.
    pub(crate) async fn with_connections(at_most: usize) -> Self {
        Self::build(1, |_| (), at_most, None).await
    }

    /// Nodes on a Redis of the test's own.
    pub(crate) async fn on(nodes: usize, redis_url: &str) -> Self {
        let mut slot = Slot::take().await;
        redis_url.clone_into(&mut slot.redis_url);
        Self::build_in(slot, nodes, |_| (), 10_000, None).await
    }

    async fn build(
        nodes: usize,
        change: impl Fn(&mut LineSettings),
        connections_max: usize,
        send_buffer: Option<u32>,
    ) -> Self {
        Self::build_in(Slot::take().await, nodes, change, connections_max, send_buffer).await
    }

    async fn build_in(
        slot: Slot,
        nodes: usize,
        change: impl Fn(&mut LineSettings),
        connections_max: usize,
        send_buffer: Option<u32>,
    ) -> Self {
        let proxy = Proxy::before(&slot.redis_url).await;
        let mut line = LineSettings {
            pass_seconds: 300,
            grace_seconds: 120,
            rebuild_seconds: 2,
            sockets_per_account_max: 5,
            challenge: ChallengeKind::Off,
            challenge_bits: 12,
            limit_joins_per_second: NonZeroU32::new(10_000).unwrap(),
        };
        change(&mut line);
        let redis = redis::Client::open(slot.redis_url.as_str()).unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            backends: Backends {
                database_url: slot.database_url.clone(),
                database_replica_url: None,
                redis_url: proxy.url.clone(),
                amqp_url: slot.amqp_url.clone(),
                master_key: slot.master_key(),
                database_connections_max: 4,
            },
            http: Http {
                connections_max,
                trusted_proxies: Vec::new(),
                allowed_origins: vec!["https://tickets.example".into()],
                metrics_listen: "127.0.0.1".parse().unwrap(),
            },
            line,
        };
        let mut stage = Self {
            pool: slot.pool(),
            redis: redis.get_multiplexed_async_connection().await.unwrap(),
            nodes: Vec::new(),
            proxy,
            place_keys: PlaceKeys::new(&slot.master_key()),
            shutdown: Shutdown::default(),
            stops: Vec::new(),
            access: AccessKeys::new(&slot.master_key()),
            slot,
            http: reqwest::Client::new(),
            config,
        };
        stage.shutdown.spawn(keep_counting(stage.pool.clone(), stage.shutdown.clone()));
        for _ in 0..nodes {
            let stop = Shutdown::default();
            let address = stage.start_node(send_buffer, &stop).await;
            stage.nodes.push(address);
            stage.stops.push(stop);
        }
        stage
    }

    /// One more node, which ends with the stage.
    pub(crate) async fn another_node(&self) -> SocketAddr {
        self.start_node(None, &self.shutdown).await
    }

    async fn start_node(&self, send_buffer: Option<u32>, shutdown: &Shutdown) -> SocketAddr {
        let service = waiting_room::start(&self.config, shutdown).await.unwrap();
        let listener = listen(self.config.listen, send_buffer);
        let address = listener.local_addr().unwrap();
        let (stop, http) = (shutdown.clone(), self.config.http.clone());
        shutdown.spawn(async move {
            platform::http::serve(listener, service, &http, &stop).await;
        });
        address
    }

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

    pub(crate) fn token(&self, account: AccountId) -> String {
        self.token_as(account, Role::User)
    }

    pub(crate) fn admin_token(&self) -> String {
        self.token_as(AccountId::new(), Role::Admin)
    }

    fn token_as(&self, account: AccountId, role: Role) -> String {
        let expires_at = clock::now() + Duration::from_hours(1);
        self.access.issue(Caller { account, role }, expires_at)
    }

    pub(crate) async fn call(
        &self,
        node: usize,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&str>,
    ) -> Answer {
        let url = format!("http://{}/api/v1{path}", self.nodes[node]);
        let mut request = self.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        Answer::read(request).await
    }

    pub(crate) async fn post_queue(&self, node: usize, show: ShowId, token: &str) -> Answer {
        self.call(node, Method::POST, &format!("/shows/{show}/queue"), Some(token), None).await
    }

    /// Joins with a solved challenge.
    pub(crate) async fn join_with(
        &self,
        node: usize,
        show: ShowId,
        token: &str,
        solution: &str,
    ) -> Answer {
        let url = format!("http://{}/api/v1/shows/{show}/queue", self.nodes[node]);
        let request = self.http.post(url).bearer_auth(token);
        Answer::read(request.header("challenge-solution", solution)).await
    }

    /// Somebody new joins.
    pub(crate) async fn join(&self, node: usize, show: ShowId) -> Visitor {
        self.join_new(node, show).await.0
    }

    /// The same, with what the visitor is told.
    pub(crate) async fn join_new(&self, node: usize, show: ShowId) -> (Visitor, PlaceStatus) {
        let account = AccountId::new();
        let token = self.token(account);
        let answer = self.post_queue(node, show, &token).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let place = answer.place();
        let (ticket, place_ticket) = (place.ticket_id, place.place_ticket.clone());
        (Visitor { show, account, token, ticket, place_ticket }, place)
    }

    pub(crate) async fn look(&self, node: usize, visitor: &Visitor) -> PlaceStatus {
        let answer = self.ask(node, visitor).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.place()
    }

    pub(crate) async fn ask(&self, node: usize, visitor: &Visitor) -> Answer {
        let Visitor { show, ticket, place_ticket, .. } = visitor;
        let path = format!("/shows/{show}/queue/{ticket}?placeTicket={place_ticket}");
        self.call(node, Method::GET, &path, None, None).await
    }

    pub(crate) async fn leave(&self, node: usize, visitor: &Visitor) -> StatusCode {
        let path = format!("/shows/{}/queue/{}", visitor.show, visitor.ticket);
        self.call(node, Method::DELETE, &path, Some(&visitor.token), None).await.status
    }

    /// Waits until the place is in this state, and returns it.
    pub(crate) async fn until(&self, node: usize, who: &Visitor, state: PlaceState) -> PlaceStatus {
        eventually(&format!("{state:?}"), SOON, || async {
            let place = self.look(node, who).await;
            (place.state == state).then_some(place)
        })
        .await
    }

    /// Tickets in the log of admissions.
    pub(crate) async fn admitted(&self, show: ShowId) -> Vec<TicketId> {
        let rows: Vec<(uuid::Uuid,)> = sqlx::query_as(
            "select ticket_id from admissions where show_id = $1 order by admitted_at, number",
        )
        .bind(show.0)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.into_iter().map(|(ticket,)| TicketId(ticket)).collect()
    }

    /// The ranks that were taken from the line to be admitted, in that order.
    pub(crate) async fn taken(&self, show: ShowId) -> Vec<u64> {
        // Where the nodes are led to: it may be another one by now.
        let client = redis::Client::open(self.proxy.url.as_str()).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let changes: StreamRangeReply = redis::cmd("XRANGE")
            .arg(Self::key(show, "changes"))
            .arg(["-", "+"].as_slice())
            .query_async(&mut redis)
            .await
            .unwrap();
        let of_admission = changes
            .ids
            .into_iter()
            .filter(|entry| !["p", "l", "x"].iter().any(|other| entry.map.contains_key(*other)));
        let ranks = of_admission.filter_map(|entry| entry.get::<String>("g"));
        ranks
            .flat_map(|ranks| {
                let ranks = ranks.split_whitespace().map(|rank| rank.parse().unwrap());
                ranks.collect::<Vec<u64>>()
            })
            .collect()
    }

    /// What is asked of Redis for a show, for so long.
    pub(crate) async fn commands_of(&self, show: ShowId, during: Duration) -> Vec<String> {
        let client = redis::Client::open(self.slot.redis_url.as_str()).unwrap();
        let monitor = client.get_async_monitor().await.unwrap();
        let mut messages = monitor.into_on_message::<String>();
        let show = show.to_string();
        let mut commands = Vec::new();
        let collected = async {
            while let Some(command) = messages.next().await {
                if command.contains(&show) {
                    commands.push(command);
                }
            }
        };
        let _ = tokio::time::timeout(during, collected).await;
        commands
    }

    /// How many wait, by the store.
    pub(crate) async fn waiting(&self, show: ShowId) -> usize {
        let mut redis = self.redis.clone();
        redis::cmd("ZCARD").arg(Self::key(show, "line")).query_async(&mut redis).await.unwrap()
    }

    /// A node ends, in good order.
    pub(crate) fn stop_node(&self, node: usize) {
        self.stops[node].begin();
    }

    pub(crate) fn key(show: ShowId, name: &str) -> String {
        format!("line:{{{show}}}:{name}")
    }

    /// The keys of a show's line are gone, as after a flush.
    pub(crate) async fn lose(&self, show: ShowId) {
        let mut redis = self.redis.clone();
        let mut command = redis::cmd("DEL");
        for name in LINE_KEYS {
            command.arg(Self::key(show, name));
        }
        let () = command.query_async(&mut redis).await.unwrap();
    }

    pub(crate) async fn watch(&self, node: usize, visitor: &Visitor) -> Socket {
        let protocols = format!("usher.v1, place-ticket.{}", visitor.place_ticket);
        let headers = [("sec-websocket-protocol", protocols.as_str())];
        self.connect(node, visitor, "", &headers).await.unwrap()
    }

    /// Opens a socket, where the node is there.
    pub(crate) async fn try_watch(&self, node: usize, visitor: &Visitor) -> Option<Socket> {
        let request = self.upgrade(node, visitor);
        let (socket, _) = connect_async(request).await.ok()?;
        Some(Socket { protocol: None, socket })
    }

    fn upgrade(&self, node: usize, visitor: &Visitor) -> Request<()> {
        let Visitor { show, ticket, place_ticket, .. } = visitor;
        let url = format!("ws://{}/api/v1/shows/{show}/queue/{ticket}/live", self.nodes[node]);
        let mut request = url.into_client_request().unwrap();
        let protocols = format!("usher.v1, place-ticket.{place_ticket}");
        let protocols = HeaderValue::from_str(&protocols).unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocols);
        request
    }

    /// Opens a socket over a connection of the test's own.
    pub(crate) async fn watch_over(
        &self,
        connection: TcpStream,
        visitor: &Visitor,
    ) -> WebSocketStream<TcpStream> {
        client_async(self.upgrade(0, visitor), connection).await.unwrap().0
    }

    /// Opens a socket; the status where it was refused.
    pub(crate) async fn connect(
        &self,
        node: usize,
        visitor: &Visitor,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, StatusCode> {
        let Visitor { show, ticket, .. } = visitor;
        let url =
            format!("ws://{}/api/v1/shows/{show}/queue/{ticket}/live{query}", self.nodes[node]);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match connect_async(request).await {
            Ok((socket, response)) => Ok(Socket {
                protocol: response
                    .headers()
                    .get("sec-websocket-protocol")
                    .map(|value| value.to_str().unwrap().to_owned()),
                socket,
            }),
            Err(tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What an allocator does that looks at every queue: the lines would stand still without it.
async fn keep_counting(pool: PgPool, stop: Shutdown) {
    while stop.sleep(Duration::from_secs(1)).await {
        let count = sqlx::query("update backlogs set seen_at = clock_timestamp()");
        // A test may keep the table for itself.
        let _ = count.execute(&pool).await;
    }
}

fn listen(address: SocketAddr, send_buffer: Option<u32>) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = send_buffer {
        // Connections inherit it.
        socket.set_send_buffer_size(bytes).unwrap();
    }
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.begin();
        self.stops.iter().for_each(Shutdown::begin);
    }
}
