//! How a real process ends: signals, last answers, log and exit code.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, ExitStatus, Stdio},
};

use reqwest::Client;
use serde_json::json;
use testing::{Slot, eventually};
use tokio::time::{Duration, Instant, timeout};
use usher::up::Allocation;

use crate::harness::{Answer, Plan, SOON, System, program};

/// A drain longer than any test: a process that ends did not wait for it.
const FOR_EVER: (&str, &str) = ("USHER_DRAIN_SECONDS", "600");

/// A service process; killed when it is dropped.
struct Process {
    address: SocketAddr,
    child: Child,
}

impl Process {
    /// Starts a service on these backends and waits until it is ready.
    async fn start(slot: &Slot, service: &str, settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (variable, arguments): (String, &[&str]) = match service {
            "usher" => ("USHER_LISTEN".into(), &["up"]),
            _ => (format!("USHER_{}_LISTEN", service.to_uppercase()), &[]),
        };
        let child = program(service)
            .args(arguments)
            .envs(slot.environment())
            .env(variable, address.to_string())
            .env("USHER_METRICS_LISTEN", "127.0.0.1:0")
            .env("USHER_LOG", "warn")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let process = Self { address, child };
        eventually("the service is ready", SOON, async || {
            let ready = process.get("/readyz").await?;
            ready.status.is_success().then_some(())
        })
        .await;
        process
    }

    /// Asks on a new connection; `None` if there is no answer.
    async fn get(&self, path: &str) -> Option<Answer> {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.ok()?;
        Answer::whole(response).await.ok()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end of the process; returns its exit status and its log.
    async fn ended(&mut self) -> (ExitStatus, String) {
        let wait = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let status = timeout(2 * SOON, wait).await.expect("it ends");
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status, log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_task_ends_its_process_at_once_with_a_failure_and_its_name_in_the_log() {
    let system = System::start_with(Allocation::Elsewhere).await;
    let crash = ("USHER_FAILPOINT", "before-event=panic");
    let mut allocator = Process::start(&system.slot, "allocator", &[crash, FOR_EVER]).await;
    let show = system.show(Plan::default()).await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    let booked = system.book(&system.visitor().await, body).await;
    assert!(booked.status.is_success(), "{booked:?}");
    let (status, log) = allocator.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("relay ended before its time"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_drains_is_not_ready_and_serves_on_and_a_second_signal_ends_it_at_once() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let mut ingress = Process::start(&system.slot, "ingress", &[FOR_EVER]).await;
    ingress.signal("-TERM");
    let refusal = eventually("it sends others away", SOON, async || {
        ingress.get("/readyz").await.filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(refusal.code(), "NOT_READY", "{refusal:?}");
    assert_eq!(refusal.body["missing"], json!(["this process is stopping"]), "{refusal:?}");
    let booking = Client::new()
        .post(format!("http://{}/api/v1/bookings", ingress.address))
        .bearer_auth(system.visitor().await)
        .header("prefer", "wait=10")
        .json(&json!({"showId": show, "tier": "STANDARD", "quantity": 1}));
    let booked = Answer::received(booking.send().await.unwrap()).await;
    assert_eq!(booked.body["status"], "ALLOCATED", "{booked:?}");
    assert_eq!(ingress.get("/healthz").await.unwrap().status, 200, "it lives");
    let asked = Instant::now();
    ingress.signal("-INT");
    let (status, log) = ingress.ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(asked.elapsed() < SOON && log.contains("a second signal"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_stops_in_good_order_once_the_drain_is_over() {
    let slot = Slot::take().await;
    for (drain, signal) in [(0, "-TERM"), (2, "-INT")] {
        let settings = [("USHER_DRAIN_SECONDS", &*drain.to_string())];
        let mut usher = Process::start(&slot, "usher", &settings).await;
        let asked = Instant::now();
        usher.signal(signal);
        let (status, log) = usher.ended().await;
        assert!(status.success(), "{status}: {log}");
        assert!(asked.elapsed() >= Duration::from_secs(drain), "it stopped before: {log}");
        assert!(usher.get("/healthz").await.is_none(), "nobody listens any more");
    }
}
