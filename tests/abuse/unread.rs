//! A client that asks and does not read.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    time::sleep,
};

use crate::harness::System;

/// Longer than a client may read nothing.
const UNREAD_FOR: Duration = Duration::from_secs(75);
const REQUESTS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_loses_its_connection() {
    let system = System::start().await;
    let answer = system.get("/openapi.json", None).await;
    let at_least = REQUESTS * answer.body.to_string().len() / 2;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(system.address).await.unwrap();
    let request = format!("GET /openapi.json HTTP/1.1\r\nhost: {}\r\n\r\n", system.address);
    for _ in 0..REQUESTS {
        socket.write_all(request.as_bytes()).await.unwrap();
    }
    sleep(UNREAD_FOR).await;
    let mut read = Vec::new();
    let _ = socket.read_to_end(&mut read).await;
    assert!(read.len() < at_least, "{} bytes were still sent", read.len());
    system.stop().await;
}
