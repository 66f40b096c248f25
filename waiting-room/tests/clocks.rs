//! A Redis whose clock differs from the database's.

use std::{path::PathBuf, time::Duration};

use contract::api::line::PlaceState;
use testing::eventually;

use crate::{
    harness::{Plan, SOON, Stage},
    own_redis::OwnRedis,
};

/// libfaketime, which gives a program another time; `./dev test` installs it if it can.
fn faketime() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut libraries = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).expect("apt-get install faketime, or run ./dev test")
}

async fn redis_with_clock(offset: &str) -> OwnRedis {
    // Redis's own memory allocator reads the clock before libfaketime is ready; libc's does not.
    let preload = format!("{}:libc.so.6", faketime().display());
    OwnRedis::start_with(|command| {
        // Only the wall clock is changed; waits use the monotonic clock.
        command
            .env("LD_PRELOAD", preload)
            .env("FAKETIME", offset)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1")
            .env("FAKETIME_DISABLE_SHM", "1")
    })
    .await
}

#[tokio::test]
async fn the_cap_holds_with_a_redis_ten_minutes_ahead() {
    holds_with("+600s").await;
}

#[tokio::test]
async fn the_cap_holds_with_a_redis_ten_minutes_behind() {
    holds_with("-600s").await;
}

async fn holds_with(offset: &str) {
    let redis = redis_with_clock(offset).await;
    let stage = Stage::on(1, &redis.url()).await;
    let plan = Plan { max_active: Some(5), paused: false, ..Plan::default() };
    let show = stage.show(plan).await;
    let mut visitors = Vec::new();
    for _ in 0..8 {
        visitors.push(stage.join(0, show).await);
    }
    eventually("five are let in", SOON, || async {
        (stage.admitted(show).await.len() >= 5).then_some(())
    })
    .await;
    // Still five after some sweeps and many rounds of admission.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(stage.admitted(show).await.len(), 5);
    }
    let first = stage.until(0, &visitors[0], PlaceState::Admitted).await;
    let left = first.expires_at.unwrap() - platform::clock::now();
    assert!((200..=301).contains(&left.num_seconds()), "{left}");
    stage.leave(0, &visitors[0]).await;
    stage.until(0, &visitors[5], PlaceState::Admitted).await;
}
