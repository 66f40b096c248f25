//! `usher load line`, small: every process, and a report that holds what it promises.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use store::testing::Slot;

fn goal<'a>(report: &'a Value, id: &str, what: &str) -> &'a Value {
    let goals = report["goals"].as_array().unwrap();
    let found = goals.iter().find(|goal| {
        goal["id"] == id && goal["what"].as_str().is_some_and(|text| text.contains(what))
    });
    found.unwrap_or_else(|| panic!("no goal {id} about {what} in {report:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_stampede_is_let_in_exactly_and_sees_no_number_rise() {
    let slot = Slot::take().await;
    let out = std::env::temp_dir().join(format!("usher-load-{}", std::process::id()));
    let started = Instant::now();
    let command = ["load", "line", "--watchers=200", "--nodes=2", "--rate=20", "--seconds=4"];
    let ran = tokio::task::spawn_blocking({
        let (environment, out) = (slot.environment(), out.clone());
        move || -> Output {
            let exe = std::env::current_exe().expect("a test knows its own path");
            Command::new(exe.ancestors().nth(2).expect("…/deps/test").join("usher"))
                .args(command)
                .args(["--leave=10", "--reconnect=30"])
                .arg("--out")
                .arg(out)
                .envs(environment)
                .output()
                .expect("it is built: run the tests by ./dev test")
        }
    });
    let ran = ran.await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}\n{said}", started.elapsed());

    let report = std::fs::read(out.join("line.json")).expect("the report is where it says");
    std::fs::remove_dir_all(&out).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    for (id, what) in [("P7", "watching live"), ("P10", "above"), ("R7", "rose")] {
        assert_eq!(goal(&report, id, what)["met"], true, "{said}");
    }
    let figures = &report["figures"];
    let stirred = &figures["stirred"];
    assert!(figures["counts"]["failed"].as_object().unwrap().is_empty(), "{said}");
    assert!(stirred["stretch"]["left"].as_u64().unwrap() > 0, "{said}");
    assert!(stirred["stretch"]["reconnected"].as_u64().unwrap() > 10, "{said}");
    assert!(stirred["admission"]["admitted"].as_u64().unwrap() > 100, "{said}");
    assert_eq!(stirred["freshness"]["frames_with_too_few_ahead"], 0, "{said}");
    assert!(stirred["freshness"]["everyone"]["looks"].as_u64().unwrap() > 100, "{said}");
    assert!(figures["steps"][0]["quiet"]["redis"]["operations"].as_f64().unwrap() > 1.0, "{said}");
}
