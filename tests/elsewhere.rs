//! Accepted bookings that are in no queue: parked, on their way back, or lost with their queue.

use std::time::Duration;

use contract::{ProducerId, topology::Partition};
use store::{
    acceptance::{self, Numbers, ProducerReport},
    backlogs,
};
use testing::eventually;

use crate::harness::{Plan, SOON, System};

/// Longest time until missing bookings are noticed, on a busy machine.
const FOUND_BY: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_is_in_no_queue_holds_no_line_up() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let mut numbers = Numbers::default();
    numbers.add(0, 4);
    let report = ProducerReport {
        partition: Partition { show, tier: "STANDARD".parse().unwrap() },
        producer: ProducerId::new(),
        confirmed: numbers,
        is_sealed: true,
    };
    acceptance::report(&system.pool, &[report]).await.unwrap();
    let backlog = async || {
        let backlogs = backlogs::of_lines(&system.pool, &[show]).await.unwrap();
        backlogs[&show]
    };
    eventually("they are missed", SOON, async || {
        let backlog = backlog().await;
        (backlog.undecided == 5 && !backlog.oldest.is_zero()).then_some(())
    })
    .await;
    eventually("they are known not to be in the queue", FOUND_BY, async || {
        let backlog = backlog().await;
        (backlog.undecided == 5 && backlog.oldest.is_zero()).then_some(())
    })
    .await;
    system.stop().await;
}
