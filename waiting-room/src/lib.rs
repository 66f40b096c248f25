//! The line: join, watch, be admitted.
//!
//! Redis holds the line, and Lua scripts that any node may run change it. Postgres holds what must
//! survive a loss of Redis. Each node keeps in memory what its watchers need. A request goes
//! [`routes`] → [`places`] → [`scripts`]; the stream of changes comes back through the [`rounds`]
//! into the [`line`](mod@line) and to each [`places::watch`]. The rounds also admit visitors. Each
//! module uses only the modules listed below it.

mod routes;
mod rounds;
mod places;
mod room;
mod line;
mod scripts;
mod error;
mod config;
pub mod metrics;
#[cfg(feature = "testing")]
pub mod testing;

use std::{collections::HashMap, future::ready, sync::Arc, sync::Mutex};

use contract::place_ticket::PlaceKeys;
use platform::{
    Service, Shutdown,
    access::Access,
    cache::Cache,
    http::{Door, socket::Sockets},
};

pub use config::{ChallengeKind, Config, LineSettings};
pub(crate) use error::LineError;
pub use routes::limits::ROUTES;

use room::{WaitingRoom, challenge, limits::Limits, passes::Passes};

/// Connections of the pool `rounds`. A round holds one for one statement.
const ROUNDS_CONNECTIONS_MAX: u32 = 4;

/// Starts the waiting room: its routes, and its work in the background.
pub async fn start(config: &Config, shutdown: &Shutdown) -> anyhow::Result<Service> {
    platform::telemetry::describe([store::metrics::METRICS, metrics::METRICS]);
    let backends = &config.backends;
    let pool = store::connect(
        &backends.database_url,
        "usher waiting-room",
        backends.database_connections_max,
    )?;
    let following = store::connect_to_follow(&backends.database_url, "usher waiting-room")?;
    let cache = Cache::new(&backends.redis_url)?;
    let master = &backends.master_key;
    let lifetime = config.line.pass_lifetime();
    let room = Arc::new(WaitingRoom {
        node: scripts::NodeId::new(),
        settings: config.line.clone(),
        store: scripts::LineStore { cache: cache.clone() },
        board: store::live::board::watch(following.clone(), shutdown).await?,
        place_keys: PlaceKeys::new(master),
        passes: Passes::start(&following, master, lifetime, shutdown).await?,
        challenge: challenge::new(config.line.challenge, config.line.challenge_bits, master),
        limits: Limits::start(shutdown),
        sockets: Sockets::new(config.line.sockets_per_account_max),
        lot: master.derive("lot"),
        shutdown: shutdown.clone(),
        lines: Mutex::new(HashMap::new()),
        begin: rounds::begin,
        pool,
        rounds: store::connect(
            &backends.database_url,
            "usher waiting-room",
            ROUNDS_CONNECTIONS_MAX,
        )?,
    });
    rounds::start(&room);
    let board = room.board.clone();
    let revocations = store::revocations::follow(following, shutdown).await?;
    let door = Door::new(Access::new(master, revocations), &config.http);
    let (joins, keys) = (config.line.limit_joins_per_second, PlaceKeys::new(master));
    let guard = routes::limits::guard(joins, keys, shutdown);
    let router = guard.before(routes::router(room), door);
    Ok(Service::new(router).needs("postgres", move || ready(board.borrow().check())).needs(
        "redis",
        move || {
            let cache = cache.clone();
            async move { cache.can_write("line:ready").await }
        },
    ))
}
