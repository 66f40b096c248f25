//! A foreign WebSocket client: Python's `websockets`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use contract::AccountId;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::harness::{Plan, Stage};

/// A Python with `websockets`, installed if it is missing; `None` if it cannot be installed.
async fn python() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("websockets");
    let python = home.join("bin/python");
    let runs = async |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    };
    let has_it = ["-c", "import websockets"];
    if runs(&python, &has_it).await {
        return Some(python);
    }
    let home = home.to_str()?;
    let made = runs(Path::new("python3"), &["-m", "venv", home]).await
        && runs(&python, &["-m", "pip", "install", "--quiet", "websockets==17.4"]).await
        && runs(&python, &has_it).await;
    made.then_some(python)
}

#[tokio::test]
async fn a_client_written_by_somebody_else_goes_from_joining_to_admitted() {
    let Some(python) = python().await else {
        eprintln!("skipped: no Python 3 with venv here, or PyPI cannot be reached");
        return;
    };
    let stage = Stage::new(1).await;
    let show = stage.show(Plan { rate: 4.0, burst: 1, ..Plan::default() }).await;
    for _ in 0..6 {
        stage.join(0, show).await;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign.py");
    let mut client = Command::new(python)
        .arg(script)
        .args([stage.nodes[0].to_string(), show.to_string(), stage.token(AccountId::new())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut kinds = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let frame: serde_json::Value = serde_json::from_str(&line).unwrap();
        kinds.push(frame["type"].as_str().unwrap().to_owned());
        if kinds.len() == 2 {
            assert_eq!(kinds, ["position", "paused"]);
            stage.set(show, "room_paused = false").await;
        }
    }
    assert!(client.wait().await.unwrap().success(), "{kinds:?}");
    assert!(kinds.contains(&"resumed".to_owned()), "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("admitted"));
}
