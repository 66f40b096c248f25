//! Accepted bookings that are in no queue: parked, on their way back, or lost with their queue.

use std::time::Duration;

use contract::{
    ProducerId,
    access::Role,
    topology::{Partition, UNROUTED},
};
use store::backlogs;
use testing::eventually;

use crate::{
    forge::Forge,
    harness::{Plan, SOON, System},
    queues::{are_decided, channel},
};

/// Longest time until missing bookings are noticed, on a busy machine.
const FOUND_BY: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_is_in_no_queue_holds_no_line_up() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let partition = Partition { show, tier: "STANDARD".parse().unwrap() };
    system.report_accepted(&partition, ProducerId::new(), 5, true).await;
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

/// Pauses are for messages that come back: with one after each 64 these would take 15 s.
#[tokio::test(flavor = "multi_thread")]
async fn what_found_no_queue_and_has_one_again_is_sent_without_pauses() {
    let system = System::start().await;
    let show = system.show(Plan { rows: 1, seats: 5, ..Plan::default() }).await;
    let (account, _) = system.account(Role::User).await;
    let forge = Forge::new(&system, show, account);
    let (connection, channel) = channel(&system).await;
    let (mut bookings, mut confirms) = (Vec::new(), Vec::new());
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
    for _ in 0..2_000 {
        let request = forge.any();
        bookings.push(request.booking_id);
        let body = forge.envelope(vec![request]);
        let put = channel.basic_publish(
            "".into(),
            UNROUTED.into(),
            lapin::options::BasicPublishOptions::default(),
            &body,
            lapin::BasicProperties::default().with_delivery_mode(2),
        );
        confirms.push(put.await.unwrap());
    }
    for confirm in confirms {
        confirm.await.unwrap();
    }
    are_decided(&system, &bookings).await;
    connection.close(200, "done".into()).await.unwrap();
    system.stop().await;
}
