//! Checking that no messages are left in the queues.

use std::time::Duration;

use anyhow::Context as _;
use contract::topology::{PARKED, UNROUTED};
use lapin::{Connection, ConnectionProperties, options::QueueDeclareOptions, types::FieldTable};

use crate::{
    arena::Arena,
    sale::{Hall, Purpose},
};

const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Every queue that has messages ready, with their number.
pub async fn left_over(arena: &Arena, halls: &[Hall]) -> anyhow::Result<Vec<String>> {
    let looking = tokio::time::timeout(ANSWER_WAIT, look(arena, halls));
    looking.await.context("the broker does not say what is in its queues")?
}

async fn look(arena: &Arena, halls: &[Hall]) -> anyhow::Result<Vec<String>> {
    let url = *arena.amqp_urls()?.first().context("there is no broker")?;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let mut names = vec![(PARKED.to_owned(), true), (UNROUTED.to_owned(), true)];
    for hall in halls {
        // The queue of a sale that ended early may be gone already.
        let must_be = hall.purpose != Purpose::EndsEarly;
        names.extend(hall.partitions().map(|partition| (partition.queue(), must_be)));
    }
    let passive = QueueDeclareOptions {
        passive: true,
        durable: true,
        exclusive: false,
        auto_delete: false,
        nowait: false,
    };
    let mut left = Vec::new();
    let mut channel = connection.create_channel().await?;
    for (name, must_be) in names {
        let looked =
            channel.queue_declare(name.as_str().into(), passive, FieldTable::default()).await;
        let queue = match looked {
            Ok(queue) => queue,
            Err(_) if !must_be => {
                // Asking for a queue that does not exist closes the channel.
                channel = connection.create_channel().await?;
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("queue {name}")),
        };
        if queue.message_count() > 0 {
            left.push(format!("{name}: {}", queue.message_count()));
        }
    }
    connection.close(200, "looked".into()).await?;
    Ok(left)
}
