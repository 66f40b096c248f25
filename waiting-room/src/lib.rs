//! The line: join, watch, be admitted.
//!
//! Redis holds the line, in Lua scripts that any node may run; Postgres holds what must survive
//! its loss; each node holds in memory what those who watch it need. A visitor's way through it:
//! [`routes`] → [`places`] → [`scripts`]; from there the stream of changes comes back through
//! [`rounds::follow`] into the [`line`](mod@line) and to each [`places::watch`].
//! [`rounds::tend`] lets visitors in.

mod config;
mod error;
mod routes;
mod places;
mod rounds;
mod room;
mod line;
mod scripts;

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use contract::place_ticket::PlaceKeys;
use platform::{
    Service, Shutdown,
    access::Access,
    cache::Cache,
    http::{Door, limits::describe, with_door},
};
use tokio::time::Instant;
use tracing::{debug, warn};
use utoipa::OpenApi as _;

pub use config::{ChallengeKind, Config, LineSettings, PASS_LIFETIMES_MAX};
pub(crate) use error::LineError;
pub use room::limits::ROUTES;

use room::{Room, challenge, limits, passes, sockets};
use rounds::{follow, load, memory};

/// How often a node looks how far the queues of its lines are behind.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks for lines that somebody is in and that it does not tend.
const FIND_EVERY: Duration = Duration::from_secs(2);

/// Starts the waiting room: its routes, and its work in the background.
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    let backends = &config.backends;
    let pool = store::connect(
        &backends.database_url,
        "usher waiting-room",
        backends.database_connections_max,
    )?;
    let cache = Cache::new(&backends.redis_url)?;
    let master = &backends.master_key;
    let lifetime = config.line.pass_lifetime();
    let room = Arc::new(Room {
        node: scripts::NodeId::new(),
        settings: config.line.clone(),
        store: scripts::LineStore { cache: cache.clone() },
        board: store::board::watch(pool.clone(), shutdown).await?,
        place_keys: PlaceKeys::new(master),
        passes: passes::Passes::start(pool.clone(), master.clone(), lifetime, shutdown).await?,
        challenge: challenge::of(config.line.challenge, config.line.challenge_bits, master),
        limits: limits::Limits::start(shutdown),
        sockets: sockets::Sockets::new(config.line.sockets_per_account_max),
        lot: master.derive("lot"),
        shutdown: shutdown.clone(),
        lines: Mutex::new(HashMap::new()),
        pool: pool.clone(),
    });
    shutdown.spawn_vital("line follower", follow::follow(Arc::clone(&room)));
    shutdown.spawn_vital("line loader", load::keep_loaded(Arc::clone(&room)));
    shutdown.spawn_vital("line finder", find_lines(Arc::clone(&room)));
    shutdown.spawn(memory::watch(Arc::clone(&room)));
    let board = room.board.clone();
    let revocations = store::revocations::follow(pool.clone(), shutdown).await?;
    let door = Door::new(Access::new(master, revocations), &config.http);
    let (joins, keys) = (config.line.limit_joins_per_second, PlaceKeys::new(master));
    let guard = limits::guard(joins, keys, shutdown);
    let router = with_door(guard.before(routes::router(room)), door);
    Ok(Service::new(router)
        .needs("postgres", move || {
            let age = board.borrow().age();
            async move {
                let fresh = age < Duration::from_secs(5);
                fresh.then_some(()).ok_or_else(|| format!("no answer for {} s", age.as_secs()))
            }
        })
        .needs("redis", move || {
            let cache = cache.clone();
            async move { cache.can_write("line:ready").await }
        }))
}

/// What the waiting room adds to the OpenAPI document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = routes::Api::openapi();
    describe(&mut document, ROUTES);
    document
}

/// Follows how far the queues of its lines are behind, and finds lines that others have opened: a
/// visitor whose node dies is not forgotten. Lines that nobody is in cost one word in a pipeline.
async fn find_lines(room: Arc<Room>) {
    let mut find_at = Instant::now();
    while room.shutdown.sleep(LOOK_EVERY).await {
        if Instant::now() >= find_at {
            find_at = Instant::now() + FIND_EVERY;
            if let Err(error) = room.find_peopled().await {
                debug!("lines cannot be looked for: {:#}", anyhow::Error::from(error));
            }
        }
        let shows: Vec<_> = room.lines().iter().map(|line| line.show).collect();
        if shows.is_empty() {
            continue;
        }
        match store::backlogs::of_lines(&room.pool, &shows).await {
            Ok(backlogs) => {
                for line in room.lines() {
                    if let Some(backlog) = backlogs.get(&line.show) {
                        line.follow_backlog(backlog);
                    }
                }
            }
            Err(error) => {
                metrics::counter!("usher_backlogs_unread_total").increment(1);
                room.lines().iter().for_each(|line| line.measure_pace());
                warn!("backlogs cannot be read: {:#}", anyhow::Error::from(error));
            }
        }
    }
}
