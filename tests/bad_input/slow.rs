//! Requests that are too long, never end, break off or come slowly, and silent connections: the
//! server gives up each of them, and others are not affected.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{good, nothing_came_through};
use crate::{
    beside::Beside,
    harness::{Plan, SOON, System},
    witness::Witness,
};

/// Idle connections and slow senders at once.
const IDLE: usize = 1_000;
/// More bytes than the kernel buffers if nobody reads.
const KERNEL_BUFFERS: usize = 16 * 1024 * 1024;
/// Longest time of an ordinary request meanwhile.
const UNHURRIED: Duration = Duration::from_secs(1);

async fn connect(system: &System) -> TcpStream {
    TcpStream::connect(system.address).await.unwrap()
}

/// Everything that comes until the server closes the connection, within `at_most`.
async fn to_end(mut socket: TcpStream, at_most: Duration) -> String {
    let mut bytes = Vec::new();
    let reading = socket.read_to_end(&mut bytes);
    // A reset also counts as the end.
    let _ = timeout(at_most, reading).await.expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn head(token: &str, headers: &str) -> String {
    format!(
        "POST /api/v1/bookings HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\n{headers}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_contradict_themselves_are_refused_and_their_connection_is_closed() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let witness = Witness::of(&system, show).await;
    let token = system.visitor().await;
    let body = good(show);
    let n = body.len();
    let chunk = format!("{n:x}\r\n{body}\r\n0\r\n\r\n");
    for (what, headers, body) in [
        ("a body that breaks off", format!("content-length: {}", n + 1), body.as_str()),
        ("a chunk that breaks off", "transfer-encoding: chunked".into(), &chunk[..n]),
        ("a chunk of no length", "transfer-encoding: chunked".into(), "x\r\n"),
        (
            "a chunk of an endless length",
            "transfer-encoding: chunked".into(),
            "fffffffffffffffff\r\n",
        ),
        ("a length that is none", "content-length: many".into(), &body),
        ("a negative length", "content-length: -1".into(), &body),
        ("two lengths", format!("content-length: {n}\r\ncontent-length: 1"), &body),
        ("a header without a name", ": x".into(), ""),
        ("a header with a NUL", "x-a: \0".into(), ""),
    ] {
        let mut socket = connect(&system).await;
        socket.write_all((head(&token, &headers) + body).as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let answer = to_end(socket, SOON).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer:?}");
    }
    let mut long = connect(&system).await;
    let cookie = format!("cookie: {}", "x".repeat(64 * 1024));
    long.write_all(head(&token, &cookie).as_bytes()).await.unwrap();
    let answer = to_end(long, SOON).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "headers of 64 KiB: {answer:?}");
    nothing_came_through(&system, &witness, show, &token).await;
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_cut_off_at_the_limit() {
    let system = System::start().await;
    let token = system.visitor().await;
    let mut socket = connect(&system).await;
    let head = head(&token, "transfer-encoding: chunked");
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
    let sending = async {
        let mut sent = 0;
        while socket.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
        sent
    };
    let sent = timeout(SOON, sending).await.expect("the server closes the connection");
    assert!(sent < KERNEL_BUFFERS, "{sent} bytes were taken");
    let answer = to_end(socket, SOON).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_slowly_or_nothing_are_given_up_and_harm_nobody() {
    let system = System::start().await;
    let beside = Beside::of(&system.slot);
    let show = system.show(Plan::default()).await;
    let token = system.visitor().await;
    let mut silent = Vec::new();
    for n in 0..IDLE {
        let mut socket = connect(&system).await;
        if n % 2 == 0 {
            socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await.unwrap();
        }
        silent.push(socket);
    }
    let mut body = connect(&system).await;
    body.write_all((head(&token, "content-length: 100") + "{").as_bytes()).await.unwrap();
    for _ in 0..20 {
        let path = format!("/api/v1/shows/{show}/seatmap");
        let (map, took) = beside.timed(system.get(&path, None)).await;
        assert_eq!(map.status, StatusCode::OK);
        assert!(took < UNHURRIED, "others wait for {took:?}");
    }
    for socket in silent {
        to_end(socket, SOON).await;
    }
    let answer = to_end(body, 2 * SOON).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "a body that never ends: {answer}");
    system.stop().await;
}
