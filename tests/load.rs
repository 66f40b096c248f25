//! Small runs of `bench`, with every process, and checks of their reports.

use std::{
    net::TcpListener,
    process::Output,
    time::{Duration, Instant},
};

use serde_json::Value;
use testing::Slot;

use crate::harness::program;

/// Runs `bench`; returns its output and its report.
async fn load(what: &'static str, arguments: &'static [&str]) -> (Output, Value) {
    let slot = Slot::take().await;
    let out = std::env::temp_dir().join(format!("usher-bench-{what}-{}", std::process::id()));
    let ran = tokio::task::spawn_blocking({
        let (environment, out) = (slot.environment(), out.clone());
        move || {
            program("bench")
                .arg(what)
                .args(arguments)
                .arg("--out")
                .arg(out)
                .envs(environment)
                .output()
                .expect("bench runs")
        }
    });
    let ran = ran.await.unwrap();
    let report = std::fs::read(out.join(what).with_extension("json")).unwrap_or_else(|error| {
        panic!("no report: {error}\n{}", String::from_utf8_lossy(&ran.stderr))
    });
    std::fs::remove_dir_all(&out).unwrap();
    (ran, serde_json::from_slice(&report).unwrap())
}

fn goal<'a>(report: &'a Value, id: &str, what: &str) -> &'a Value {
    let goals = report["goals"].as_array().unwrap();
    let found = goals.iter().find(|goal| {
        goal["id"] == id && goal["what"].as_str().is_some_and(|text| text.contains(what))
    });
    found.unwrap_or_else(|| panic!("no goal {id} about {what} in {report:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_stampede_is_let_in_exactly_and_sees_no_number_rise() {
    let started = Instant::now();
    let arguments = &[
        "--watchers=200",
        "--nodes=2",
        "--rate=20",
        "--seconds=4",
        "--leave=10",
        "--reconnect=30",
    ];
    let (ran, report) = load("line", arguments).await;
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}\n{said}", started.elapsed());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_from_two_processes_is_one_crowd() {
    let slot = Slot::take().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut demo = program("usher");
    demo.args(["demo", "--exit", "--processes=2", "--visitors=60", "--seats=100", "--buyers"]);
    demo.args(["--ramp-seconds=2", "--rate=60", &format!("--listen=127.0.0.1:{port}")]);
    demo.envs(slot.environment());
    let ran = tokio::task::spawn_blocking(move || demo.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("Visitors: 60 in"), "{said}");
    assert!(!said.contains("FAILED"), "{said}");
    let unasked = said.lines().find(|line| line.contains("could not be asked")).unwrap();
    assert!(unasked.ends_with(" 0"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_are_measured_in_a_sale_that_is_audited() {
    let small = &[
        "--bookings=300",
        "--rounds=1",
        "--at-once=8",
        "--large-hall=2000",
        "--cost-bookings=100",
        "--partitions=10",
    ];
    let (ran, report) = load("bookings", small).await;
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    let ours = &report["figures"]["ours"];
    let figure = |name: &str| ours[name]["median"].as_f64().unwrap();
    assert!(figure("decided_per_second") > 1.0, "{said}");
    assert!(figure("decided_per_second") <= figure("accepted_per_second"), "{said}");
    let aside = &report["figures"]["aside"];
    for name in [
        "publishes",
        "consumes",
        "scripts",
        "commits",
        "textbook",
        "refusals",
        "healthz",
        "catalogue",
        "seat_maps",
        "winners",
        "losers",
    ] {
        let per_second = aside[format!("{name}_per_second")]["median"].as_f64().unwrap();
        assert!(per_second > 1.0, "{name}: {said}");
    }
    assert_eq!(report["goals"].as_array().unwrap().len(), 15, "{said}");
    for times in ["accepted_ms", "told_ms", "publish_ms", "series_ms"] {
        assert!(aside[times]["p50"]["median"].as_f64().unwrap() > 0.0, "{times}: {said}");
    }
    for ratio in ["catalogue_to_healthz", "seat_map_to_healthz", "large_map_ratio"] {
        assert!(aside[ratio]["median"].as_f64().unwrap() > 0.0, "{said}");
    }
    for way in ["small_halls", "large_hall", "one_partition", "many_partitions"] {
        let cost = &aside["costs"][format!("{way}_micros")];
        assert!(cost["median"].as_f64().unwrap() > 0.0, "{way}: {said}");
    }
    for process in ["ingress", "allocator", "notifier"] {
        assert!(ours["micros"][process]["median"].as_f64().unwrap() > 0.0, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_shows_are_served_again_after_a_kill_and_a_deleted_queue_harms_no_other() {
    let (ran, report) = load("shows", &["--shows=50", "--seconds=4", "--rate=10"]).await;
    let said = String::from_utf8_lossy(&ran.stdout);
    // Beside other tests the slowest of forty bookings says nothing, so only the other goals count.
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
