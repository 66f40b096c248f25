//! An answer of the API, read to its end.

use contract::api::line::PlaceStatus;
use reqwest::{RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An answer; a body that is not JSON is null.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// If no answer comes.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::received(request.send().await.expect("it is answered")).await
    }

    /// Reads an answer to its end.
    ///
    /// # Panics
    /// If its body breaks off.
    pub async fn received(response: Response) -> Self {
        Self::whole(response).await.unwrap_or_else(|error| panic!("it breaks off: {error:?}"))
    }

    /// Reads an answer to its end; an error if its body breaks off.
    pub async fn whole(response: Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await?;
        Ok(Self { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
    }

    /// Whether the call had no effect and may be sent again later.
    #[must_use]
    pub fn is_not_now(&self) -> bool {
        self.status == 429 || (self.status == 503 && self.code() != "OUTCOME_UNKNOWN")
    }

    /// Whether the server says that the result is unknown.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.code() == "OUTCOME_UNKNOWN" || matches!(self.status.as_u16(), 500 | 502 | 504)
    }

    /// The problem's code, or an empty text.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The status and the code of a problem, after checking the rest of its shape.
    ///
    /// # Panics
    /// If the answer is not a problem.
    #[must_use]
    pub fn problem(&self) -> (u16, &str) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status.as_u16(), "{self:?}");
        for member in ["type", "title", "detail", "requestId"] {
            assert!(self.body[member].is_string(), "{member} is missing: {self:?}");
        }
        (self.status.as_u16(), self.code())
    }

    /// The pointer of the field that was refused.
    #[must_use]
    pub fn pointer(&self) -> &str {
        self.body["errors"][0]["pointer"].as_str().unwrap_or_default()
    }

    /// The id in the body under this name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn id(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }

    /// The body as a `T`.
    ///
    /// # Panics
    /// If the body is something else.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> T {
        let body = self.body.clone();
        serde_json::from_value(body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as the status of a place in a line.
    #[must_use]
    pub fn place(&self) -> PlaceStatus {
        self.read()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    #[should_panic(expected = "it breaks off")]
    async fn a_body_that_breaks_off_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (response, ()) = tokio::join!(reqwest::get(url), async {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert_ne!(socket.read(&mut [0; 1024]).await.unwrap(), 0);
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}").await.unwrap();
        });
        Answer::received(response.unwrap()).await;
    }
}
