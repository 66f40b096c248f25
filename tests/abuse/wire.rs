//! A WebSocket client that may break every rule of the protocol.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::harness::SOON;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
/// The bit that marks the last fragment.
pub(crate) const FIN: u8 = 0x80;
/// The bit that marks a masked frame.
const MASK: u8 = 0x80;

/// An open socket that takes raw bytes.
pub(crate) struct Wire(BufReader<TcpStream>);

impl Wire {
    /// Opens a socket; the status if it was refused.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all((request + "\r\n").as_bytes()).await.unwrap();
        let mut socket = BufReader::new(socket);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(SOON, socket.read_u8()).await.expect("an answer").unwrap());
        }
        let status: u16 = String::from_utf8_lossy(&head)[9..12].parse().unwrap();
        if status == 101 { Ok(Self(socket)) } else { Err(status) }
    }

    /// Sends bytes; returns whether the connection still took them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(SOON, self.0.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// The text of the next text frame; `Err` with the close code once the socket is closed.
    pub(crate) async fn text(&mut self) -> Result<String, u16> {
        loop {
            let next = timeout(SOON, self.frame()).await.expect("the server says something");
            match next {
                Ok((TEXT, payload)) => return Ok(String::from_utf8(payload).unwrap()),
                Ok((CLOSE, payload)) => {
                    return Err(payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code)));
                }
                Ok(_) => {}
                Err(_) => return Err(1006),
            }
        }
    }

    /// The close code; 1006 if the connection ends without one.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            if let Err(code) = self.text().await {
                return code;
            }
        }
    }

    async fn frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let opcode = self.0.read_u8().await? & 0x0f;
        let length = match self.0.read_u8().await? {
            126 => self.0.read_u16().await?.into(),
            127 => self.0.read_u64().await?,
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await?;
        Ok((opcode, payload))
    }
}

/// A masked frame, as clients send. The mask is zero, so the payload stays as it is.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len(), MASK);
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// An unmasked frame, as only servers may send.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len(), 0);
    frame.extend(payload);
    frame
}

fn head(first: u8, length: usize, mask: u8) -> Vec<u8> {
    let mut head = vec![first];
    match u16::try_from(length) {
        Ok(short @ 0..126) => head.push(mask | short.to_be_bytes()[1]),
        Ok(length) => {
            head.push(mask | 0x7e);
            head.extend(length.to_be_bytes());
        }
        Err(_) => {
            head.push(mask | 0x7f);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}
