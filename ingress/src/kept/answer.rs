//! One answer, and the forms in which it goes out.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use headers::{ETag, HeaderMapExt as _, IfNoneMatch};
use tokio::{sync::OnceCell, task::spawn_blocking};

/// Shorter answers are not compressed: their headers are as long.
const COMPRESSED_FROM: usize = 1_024;
/// From brotli's 0 to 11. With 5 the map of a hall of 100,000 seats has a twentieth of its length.
const BROTLI_QUALITY: u32 = 5;
/// Brotli's window, as the power of two, and the size of its buffer.
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 64 * 1024;

/// What tells one answer from another: half of the SHA-256 of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag([u8; 16]);

impl Tag {
    pub(super) fn of(json: &[u8]) -> Self {
        let hash = digest(&SHA256, json);
        Self(*hash.as_ref().first_chunk().expect("a hash has 32 bytes"))
    }

    /// The same for each form of the answer, and so a weak one.
    fn as_etag(self) -> ETag {
        let tag = format!("W/\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(self.0));
        tag.parse().expect("base64 is a tag")
    }
}

/// An answer in JSON; each compressed form is made when it is first asked for.
pub(super) struct Answer {
    tag: Tag,
    json: Bytes,
    /// Compressed, by coding.
    forms: [OnceCell<Bytes>; Coding::ALL.len()],
    /// Whether a caller wanted that form.
    wanted: [AtomicBool; Coding::ALL.len()],
}

impl Answer {
    pub(super) fn new(tag: Tag, json: Bytes) -> Self {
        Self { tag, json, forms: Default::default(), wanted: Default::default() }
    }

    /// Its length in bytes, without compression.
    pub(super) fn len(&self) -> usize {
        self.json.len()
    }

    /// What goes to a caller with these headers: the answer in the shortest form that the caller
    /// reads, or nothing where the caller has it already.
    pub(super) async fn to_caller(self: &Arc<Self>, headers: &HeaderMap) -> Response {
        let tag = self.tag.as_etag();
        let has_it = headers
            .typed_get::<IfNoneMatch>()
            .is_some_and(|known| !known.precondition_passes(&tag));
        let mut out = HeaderMap::new();
        out.typed_insert(tag);
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if has_it {
            return (StatusCode::NOT_MODIFIED, out).into_response();
        }
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let coding = Coding::ALL.into_iter().find(|coding| reads(headers, coding.name()));
        let coding = coding.filter(|_| self.json.len() >= COMPRESSED_FROM);
        let compressed = match coding {
            Some(coding) => {
                self.wanted[coding as usize].store(true, Relaxed);
                self.compressed(coding).await.map(|form| (coding, form))
            }
            None => None,
        };
        let Some((coding, form)) = compressed else {
            return (out, self.json.clone()).into_response();
        };
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        (out, form).into_response()
    }

    /// Makes the forms in which another answer was wanted.
    pub(super) async fn compress_as(self: &Arc<Self>, other: &Self) {
        for coding in Coding::ALL {
            if other.wanted[coding as usize].load(Relaxed) {
                self.compressed(coding).await;
            }
        }
    }

    /// The compressed form. It is made once, also if the caller that was first goes away. `None` if
    /// it cannot be made: then the answer goes out as it is.
    async fn compressed(self: &Arc<Self>, coding: Coding) -> Option<Bytes> {
        if let Some(form) = self.forms[coding as usize].get() {
            return Some(form.clone());
        }
        let this = Arc::clone(self);
        let work = async move {
            let json = this.json.clone();
            // Long answers take their time: not on a thread that serves others.
            let compress = || spawn_blocking(move || coding.compress(&json));
            let form = this.forms[coding as usize].get_or_try_init(compress).await;
            form.ok().cloned()
        };
        store::detached(work).await
    }
}

/// How an answer is compressed; the one that makes it shortest comes first.
#[derive(Clone, Copy)]
enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn compress(self, json: &[u8]) -> Bytes {
        match self {
            Self::Brotli => brotli(json),
            Self::Gzip => gzip(json),
        }
    }
}

/// Whether a caller with these headers reads an answer of this coding.
fn reads(headers: &HeaderMap, coding: &str) -> bool {
    let listed = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    listed.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().to_ascii_lowercase();
        let weight = weight.strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case(coding) && weight.is_ok_and(|weight| weight > 0.0)
    })
}

fn brotli(json: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let mut compressor =
        brotli::CompressorWriter::new(&mut out, BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
    compressor.write_all(json).expect("memory can be written to");
    drop(compressor);
    out.into()
}

fn gzip(json: &[u8]) -> Bytes {
    let mut compressor = GzEncoder::new(Vec::new(), Compression::default());
    compressor.write_all(json).expect("memory can be written to");
    compressor.finish().expect("memory can be written to").into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn callers(accept_encoding: &'static str) -> HeaderMap {
        let value = HeaderValue::from_static(accept_encoding);
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)])
    }

    #[test]
    fn a_coding_is_sent_only_to_callers_that_read_it() {
        for accepts in ["br", "gzip, deflate, br", "gzip;q=0.5,BR;q=1.0", "identity, br;q=0.001"] {
            assert!(reads(&callers(accepts), "br"), "{accepts}");
        }
        for accepts in
            ["", "gzip", "br;q=0", "br; q=0.000", "br;Q=0", "brotli", "identity", "br;q=x"]
        {
            assert!(!reads(&callers(accepts), "br"), "{accepts}");
        }
        assert!(!reads(&HeaderMap::new(), "gzip"));
    }

    #[tokio::test]
    async fn each_form_of_an_answer_has_its_name_and_the_same_tag() {
        let json = Bytes::from("{\"seatId\":\"A1\"},".repeat(200));
        let answer = Arc::new(Answer::new(Tag::of(&json), json.clone()));
        let mut tags = std::collections::HashSet::new();
        for (accepts, coding) in [("gzip, br", Some("br")), ("gzip", Some("gzip")), ("", None)] {
            let response = answer.to_caller(&callers(accepts)).await;
            let headers = response.headers().clone();
            let named = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(named, coding);
            tags.insert(headers[header::ETAG].clone());
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let mut read = Vec::new();
            match coding {
                Some("br") => {
                    brotli::BrotliDecompress(&mut &body[..], &mut read).unwrap();
                }
                Some(_) => {
                    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut read).unwrap();
                }
                None => read = body.to_vec(),
            }
            assert_eq!(read, json);
        }
        assert_eq!(tags.len(), 1);
        let mut knows = callers("br");
        knows.insert(header::IF_NONE_MATCH, tags.into_iter().next().unwrap());
        let unchanged = answer.to_caller(&knows).await;
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
        let body = axum::body::to_bytes(unchanged.into_body(), usize::MAX).await.unwrap();
        assert!(body.is_empty());
        knows.insert(header::IF_NONE_MATCH, HeaderValue::from_static("W/\"older\""));
        assert_eq!(answer.to_caller(&knows).await.status(), StatusCode::OK);
    }
}
