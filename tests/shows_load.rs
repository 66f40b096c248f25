//! `usher load shows`, small: fifty shows of three tiers on one allocator.

use std::process::{Command, Output};

use serde_json::Value;
use store::testing::Slot;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_shows_are_served_again_after_a_kill_and_a_deleted_queue_harms_no_other() {
    let slot = Slot::take().await;
    let out = std::env::temp_dir().join(format!("usher-shows-{}", std::process::id()));
    let ran = tokio::task::spawn_blocking({
        let (environment, out) = (slot.environment(), out.clone());
        move || -> Output {
            let exe = std::env::current_exe().expect("a test knows its own path");
            Command::new(exe.ancestors().nth(2).expect("…/deps/test").join("usher"))
                .args(["load", "shows", "--shows=50", "--seconds=4", "--rate=10", "--out"])
                .arg(out)
                .envs(environment)
                .output()
                .expect("it is built: run the tests by ./dev test")
        }
    });
    let ran = ran.await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let report = std::fs::read(out.join("shows.json")).unwrap_or_else(|error| {
        panic!("{error}: {said}\n{}", String::from_utf8_lossy(&ran.stderr))
    });
    std::fs::remove_dir_all(&out).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    // Beside other tests the tail of forty bookings says nothing; what it costs and how soon it is
    // back does.
    let figures = &report["figures"];
    assert_eq!(figures["partitions"], 150, "{said}");
    let met: Vec<&Value> = report["goals"].as_array().unwrap().iter().collect();
    for what in ["while nobody comes", "all served after", "decided after"] {
        let is_about =
            |goal: &&&Value| goal["what"].as_str().is_some_and(|text| text.contains(what));
        let goal = met.iter().find(is_about).unwrap_or_else(|| panic!("no goal about {what}"));
        assert_eq!(goal["met"], true, "{said}");
    }
    for stretch in [&figures["alone"], &figures["among"], &figures["trouble"]["meanwhile"]] {
        assert!(stretch["bookings"].as_u64().unwrap() >= 40, "{said}");
    }
}
