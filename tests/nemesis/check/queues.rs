//! What is left in the broker.

use std::time::Duration;

use anyhow::Context as _;
use contract::topology::{PARKED, Partition, UNROUTED};
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};

use crate::{arena::Arena, sale::Hall};

const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Every queue that has messages ready, with their number.
pub async fn left_over(arena: &Arena, halls: &[Hall]) -> anyhow::Result<Vec<String>> {
    let looking = tokio::time::timeout(ANSWER_WAIT, look(arena, halls));
    looking.await.context("the broker does not say what is in its queues")?
}

async fn look(arena: &Arena, halls: &[Hall]) -> anyhow::Result<Vec<String>> {
    let url = *arena.amqp_urls()?.first().context("there is a broker")?;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut names = vec![PARKED.to_owned(), UNROUTED.to_owned()];
    for hall in halls {
        for tier in &hall.tiers {
            names.push(Partition { show: hall.show, tier: tier.tier.parse()? }.queue());
        }
    }
    let passive = QueueDeclareOptions {
        passive: true,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: false,
    };
    let mut left = Vec::new();
    for name in names {
        let queue = channel
            .queue_declare(name.as_str().into(), passive, FieldTable::default())
            .await
            .with_context(|| format!("queue {name}"))?;
        if queue.message_count() > 0 {
            left.push(format!("{name}: {}", queue.message_count()));
        }
    }
    connection.close(200, "looked".into()).await?;
    Ok(left)
}
