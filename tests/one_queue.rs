//! One queue is suspended while the rest of the broker works: its messages are not confirmed, and
//! publishers to other queues are not affected.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use nemesis::arena::Arena;
use platform::{
    Shutdown,
    broker::{Broker, PublishError, Publisher},
};
use testing::eventually;

/// How long the queue is suspended; a publish waits 2 s for its confirm.
const SUSPENDED_SECONDS: u8 = 9;
/// Longest time of a publish that does not wait for another.
const AT_ONCE: Duration = Duration::from_secs(1);
const PUBLISHERS: usize = 8;

async fn declare(broker: &mut Broker, queue: &str) {
    let channel = broker.link_soon().await.unwrap().channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await.unwrap();
}

async fn send(publisher: &Publisher, queue: &str) -> Result<(), PublishError> {
    publisher.publish("", queue, b"x").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_does_not_answer_leaves_the_others_their_publisher() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("one-queue");
    let arena = Arena::up(folder, false).await.expect("it starts");
    let shutdown = Shutdown::default();
    let url = arena.amqp_urls().unwrap()[0].to_owned();
    let mut broker = Broker::connect(&url, "one-queue", &shutdown).unwrap();
    for queue in ["stuck", "well"] {
        declare(&mut broker, queue).await;
    }
    let publisher = Publisher::new(broker);
    let publishing = async {
        // The broker's command takes time on a busy machine.
        eventually("it does not answer", Duration::from_secs(40), async || {
            matches!(send(&publisher, "stuck").await, Err(PublishError::Unknown(_))).then_some(())
        })
        .await;
        // Nothing was confirmed meanwhile, so the publisher cannot know that the broker works.
        let began = Instant::now();
        send(&publisher, "well").await.expect("another queue is another matter");
        let refused = send(&publisher, "stuck").await;
        assert!(matches!(refused, Err(PublishError::Refused(_))), "{refused:?}");
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        // A further unconfirmed message must not cost other messages their confirms.
        let well = (0..PUBLISHERS).map(async |_| {
            let until = Instant::now() + Duration::from_secs(4);
            while Instant::now() < until {
                let began = Instant::now();
                send(&publisher, "well").await.expect("another queue is another matter");
                assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
            }
        });
        let stuck = eventually("it is tried again", Duration::from_secs(4), async || {
            matches!(send(&publisher, "stuck").await, Err(PublishError::Unknown(_))).then_some(())
        });
        tokio::join!(join_all(well), stuck);
    };
    let (suspended, ()) = tokio::join!(arena.suspend("stuck", SUSPENDED_SECONDS), publishing);
    suspended.expect("it was suspended");
    eventually("it answers again", Duration::from_secs(10), async || {
        send(&publisher, "stuck").await.ok()
    })
    .await;
    publisher.check().await.expect("messages can be published");
    shutdown.finish(Duration::from_secs(5)).await;
    arena.down().await.expect("it stops");
}
