//! Sockets that send malformed or oversized frames.

use contract::api::{catalogue::RoomMode, socket::close};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    process::Process,
    wire::{BINARY, CONTINUATION, FIN, PING, TEXT, Wire, frame, unmasked},
};
use crate::harness::{Plan, System};

/// Attacking accounts, and sockets of each: as many as a service allows.
const ACCOUNTS: usize = 8;
const SOCKETS: usize = 5;
/// How much the service's memory may grow: far less than if each socket kept what it is sent, which
/// is up to 1 MiB.
const GROWTH_MAX_KIB: u64 = 12 * 1024;

/// The bytes of each attack, and the code that the socket must be closed with.
fn attacks() -> Vec<(&'static str, Vec<u8>, u16)> {
    let fragments = |payload: &[u8], n| {
        let mut bytes = frame(TEXT, payload);
        (0..n).for_each(|_| bytes.extend(frame(CONTINUATION, payload)));
        bytes
    };
    let empty = [fragments(b"", 10_000), frame(FIN | CONTINUATION, b"")].concat();
    vec![
        ("a frame of 1 MiB", frame(FIN | TEXT, &vec![b'x'; 1 << 20]), close::TOO_BIG),
        ("a frame of 1 MiB in bytes", frame(FIN | BINARY, &vec![b'x'; 1 << 20]), close::TOO_BIG),
        (
            "a promise of 2^62 bytes",
            [&[FIN | TEXT, 0xff, 0x40][..], &[0; 7 + 4]].concat(),
            close::TOO_BIG,
        ),
        ("10,000 fragments", fragments(b"x", 10_000), close::TOO_BIG),
        ("10,000 empty fragments", empty, close::POLICY),
        ("a frame without a mask", unmasked(FIN | TEXT, b"{}"), close::PROTOCOL),
        ("an opcode that is none", frame(FIN | 0x3, b"x"), close::PROTOCOL),
        ("reserved bits", frame(FIN | 0x70 | TEXT, b"x"), close::PROTOCOL),
        ("the end of nothing", frame(FIN | CONTINUATION, b"x"), close::PROTOCOL),
        ("a ping in fragments", frame(PING, b"x"), close::PROTOCOL),
        ("a long ping", frame(FIN | PING, &[b'x'; 126]), close::PROTOCOL),
        ("text that is none", frame(FIN | TEXT, b"\xff\xfe\xfd"), close::NOT_TEXT),
        ("bytes", frame(FIN | BINARY, b"\0\x01"), close::POLICY),
        ("text that means nothing", frame(FIN | TEXT, b"hello"), close::POLICY),
        ("a flood of pings", frame(FIN | PING, b"x").repeat(100_000), close::POLICY),
    ]
}

/// Runs every attack over many sockets at once, opened at these paths with these credentials, and
/// checks the close codes and the memory.
async fn withstands(process: &Process, doors: &[(String, String)]) {
    let open = async |(path, protocol): &(String, String)| {
        let protocols = format!("usher.v1, {protocol}");
        let headers = [("sec-websocket-protocol", protocols.as_str())];
        Wire::open(process.address, path, &headers).await.expect("it opens")
    };
    let sockets = || doors.iter().flat_map(|door| std::iter::repeat_n(door, SOCKETS));
    // Harmless sockets first, so that the memory every socket takes is counted before.
    let harmless = join_all(sockets().map(open)).await;
    let before = process.memory();
    drop(harmless);
    for (what, bytes, code) in attacks() {
        let closed = join_all(sockets().map(async |door| {
            let mut wire = open(door).await;
            wire.send(&bytes).await;
            wire.close_code().await
        }))
        .await;
        let others: Vec<_> = closed.iter().filter(|got| **got != code).collect();
        assert!(others.is_empty(), "{what}: {} sockets, not {code} but {others:?}", closed.len());
    }
    let growth = process.memory_at_most().saturating_sub(before);
    eprintln!("{before} KiB before, {growth} KiB more at most");
    assert!(growth <= GROWTH_MAX_KIB, "{growth} KiB more than {before} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_sockets_close_on_what_is_no_frame_and_keep_none_of_it() {
    let system = System::start().await;
    let show = system.show(Plan::default()).await;
    let process = Process::start(&system, "notifier").await;
    let mut doors = Vec::new();
    for _ in 0..ACCOUNTS {
        let token = system.visitor().await;
        doors.push(("/api/v1/live".to_owned(), format!("bearer.{token}")));
    }
    let token = system.visitor().await;
    let protocols = format!("usher.v1, bearer.{token}");
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    let mut honest = Wire::open(process.address, "/api/v1/live", &headers).await.expect("it opens");
    withstands(&process, &doors).await;
    let body = json!({"showId": show, "tier": "STANDARD", "quantity": 1});
    assert_eq!(system.book(&token, body).await.body["status"], "ALLOCATED");
    assert!(honest.text().await.unwrap().contains("ALLOCATED"), "others still hear");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sockets_of_the_line_close_on_what_is_no_frame_and_keep_none_of_it() {
    let system = System::start().await;
    let show = system.show(Plan { room: RoomMode::Fifo, ..Plan::default() }).await;
    let process = Process::start(&system, "waiting-room").await;
    let mut doors = Vec::new();
    for _ in 0..=ACCOUNTS {
        let token = system.visitor().await;
        let joined = system.post(&format!("/api/v1/shows/{show}/queue"), &token, json!({})).await;
        let live = joined.body["liveUrl"].as_str().unwrap().to_owned();
        let ticket = joined.body["placeTicket"].as_str().unwrap();
        doors.push((live, format!("place-ticket.{ticket}")));
    }
    let (path, protocol) = doors.pop().unwrap();
    withstands(&process, &doors).await;
    let protocols = format!("usher.v1, {protocol}");
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    let mut honest = Wire::open(process.address, &path, &headers).await.expect("it opens");
    assert!(honest.text().await.unwrap().contains("admitted"), "others still hear");
    system.stop().await;
}
