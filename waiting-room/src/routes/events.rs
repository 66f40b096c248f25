//! The frames of a place as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse as _, Response,
    sse::{Event, KeepAlive, Sse},
};
use contract::api::line::LineFrame;
use futures_util::{StreamExt as _, stream};
use platform::{
    Shutdown,
    http::{
        reconnect_after,
        socket::{Frames as _, Next, SEND_WAIT},
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::places::watch::Watch;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams the frames of a place until it ends, or until the client disconnects or stops reading.
pub(crate) fn stream(shutdown: &Shutdown, mut watch: Watch) -> Response {
    // One frame at a time: the next is made once the last was taken, so that it is never old.
    let (send, receive) = mpsc::channel::<LineFrame>(1);
    shutdown.spawn(async move {
        while let Some(Next::Frame(frame)) = next(&mut watch, &send).await {
            if timeout(SEND_WAIT, send.send(frame)).await.is_err() {
                metrics::counter!("usher_line_slow_clients_total").increment(1);
                return;
            }
        }
    });
    // A browser connects again this long after the stream ends.
    let hint = stream::once(async { Ok(Event::default().retry(reconnect_after())) });
    let events = stream::unfold(receive, |mut receive| async move {
        let frame = receive.recv().await?;
        let event = Event::default().json_data(&frame).expect("a frame is plain JSON");
        Some((Ok::<_, Infallible>(event), receive))
    });
    Sse::new(hint.chain(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// The next frame; `None` once the client has disconnected.
async fn next(watch: &mut Watch, send: &mpsc::Sender<LineFrame>) -> Option<Next<LineFrame>> {
    loop {
        tokio::select! {
            next = watch.next(Instant::now() + KEEP_ALIVE) => if next.is_some() {
                return next;
            },
            () = send.closed() => return None,
        }
    }
}
