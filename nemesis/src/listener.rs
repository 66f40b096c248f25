//! Listening to a booking's socket, to compare pushed outcomes with answered ones.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::{api::Api, fleet::Service};

/// How long a buyer listens before it asks for the outcome.
const LISTEN_MAX: Duration = Duration::from_secs(8);

/// Listens until an outcome is pushed; returns every frame. A lost socket is not opened again,
/// since the buyer also asks.
pub async fn listen(api: &Api, path: &str, until: Instant) -> Vec<Value> {
    let until = until.min(Instant::now() + LISTEN_MAX);
    let mut heard = Vec::new();
    let url = format!("ws://{}/api/v1{path}/live", api.origin(Service::Notifier));
    let Ok(mut request) = url.into_client_request() else { return heard };
    let protocols = format!("usher.v1, bearer.{}", api.token());
    let Ok(protocols) = protocols.parse() else { return heard };
    request.headers_mut().insert("sec-websocket-protocol", protocols);
    let Ok(Ok((mut socket, _))) = timeout_at(until, connect_async(request)).await else {
        return heard;
    };
    while let Ok(Some(Ok(message))) = timeout_at(until, socket.next()).await {
        let Message::Text(text) = message else { continue };
        let Ok(frame) = serde_json::from_str::<Value>(text.as_str()) else { continue };
        let decided = frame["status"] != "QUEUED";
        heard.push(frame);
        if decided {
            break;
        }
    }
    heard
}
