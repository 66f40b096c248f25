//! The sockets of visitors.

use reqwest::StatusCode;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async, connect_async,
    tungstenite::{
        self,
        client::IntoClientRequest as _,
        http::{HeaderValue, Request},
    },
};

use super::{Stage, Visitor};
use crate::socket::Socket;

impl Stage {
    pub(crate) async fn watch(&self, node: usize, visitor: &Visitor) -> Socket {
        let protocols = format!("usher.v1, place-ticket.{}", visitor.place_ticket);
        let headers = [("sec-websocket-protocol", protocols.as_str())];
        self.connect(node, visitor, "", &headers).await.unwrap()
    }

    /// Opens a socket; `None` if that fails.
    pub(crate) async fn try_watch(&self, node: usize, visitor: &Visitor) -> Option<Socket> {
        let request = self.upgrade(node, visitor);
        let (socket, _) = connect_async(request).await.ok()?;
        Some(Socket { protocol: None, socket })
    }

    fn upgrade(&self, node: usize, visitor: &Visitor) -> Request<()> {
        let Visitor { show, ticket, place_ticket, .. } = visitor;
        let url = format!("ws://{}/api/v1/shows/{show}/queue/{ticket}/live", self.nodes[node]);
        let mut request = url.into_client_request().unwrap();
        let protocols = format!("usher.v1, place-ticket.{place_ticket}");
        let protocols = HeaderValue::from_str(&protocols).unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocols);
        request
    }

    /// Opens a socket over a connection of the test's own.
    pub(crate) async fn watch_over(
        &self,
        connection: TcpStream,
        visitor: &Visitor,
    ) -> WebSocketStream<TcpStream> {
        client_async(self.upgrade(0, visitor), connection).await.unwrap().0
    }

    /// Opens a socket; the status if it was refused.
    pub(crate) async fn connect(
        &self,
        node: usize,
        visitor: &Visitor,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, StatusCode> {
        let Visitor { show, ticket, .. } = visitor;
        let url =
            format!("ws://{}/api/v1/shows/{show}/queue/{ticket}/live{query}", self.nodes[node]);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match connect_async(request).await {
            Ok((socket, response)) => Ok(Socket {
                protocol: response
                    .headers()
                    .get("sec-websocket-protocol")
                    .map(|value| value.to_str().unwrap().to_owned()),
                socket,
            }),
            Err(tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }
}
