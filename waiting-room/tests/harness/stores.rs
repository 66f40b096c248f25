//! Reading the stores, and losing their data.

use std::time::Duration;

use contract::{ShowId, TicketId};
use futures_util::StreamExt as _;
use redis::streams::StreamRangeReply;
use testing::eventually;
use waiting_room::testing::{Gone, KEYS, key};

use super::{SOON, Stage};

impl Stage {
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
        // The Redis behind the proxy, which may be another one by now.
        let client = redis::Client::open(self.config.backends.redis_url.as_str()).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let changes: StreamRangeReply = redis::cmd("XRANGE")
            .arg(Self::key(show, "changes"))
            .arg(["-", "+"].as_slice())
            .query_async(&mut redis)
            .await
            .unwrap();
        let gone = changes.ids.iter().filter_map(Gone::read);
        gone.filter(|gone| gone.to_be_admitted).flat_map(|gone| gone.ranks).collect()
    }

    /// The commands that Redis gets for a show in this time.
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

    /// Visitors in the line in Redis.
    pub(crate) async fn waiting(&self, show: ShowId) -> usize {
        let mut redis = self.redis.clone();
        redis::cmd("ZCARD").arg(Self::key(show, "line")).query_async(&mut redis).await.unwrap()
    }

    pub(crate) fn key(show: ShowId, name: &str) -> String {
        key(show, name)
    }

    /// Deletes the keys of a show's line, as a flush would.
    pub(crate) async fn lose(&self, show: ShowId) {
        let mut redis = self.redis.clone();
        let mut command = redis::cmd("DEL");
        for name in KEYS {
            command.arg(Self::key(show, name));
        }
        let () = command.query_async(&mut redis).await.unwrap();
    }

    /// Waits until the bucket of a line could let somebody in.
    pub(crate) async fn could_admit(&self, show: ShowId) {
        eventually("the bucket could let somebody in", SOON, || async {
            let mut redis = self.redis.clone();
            let key = Self::key(show, "bucket");
            let tokens: Option<f64> =
                redis::cmd("HGET").arg(key).arg("tokens").query_async(&mut redis).await.unwrap();
            tokens.filter(|tokens| *tokens >= 1.0)
        })
        .await;
    }
}
