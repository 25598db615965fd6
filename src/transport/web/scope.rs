//! What is known of one request while it runs: its id, its start, and what its handler found out for the log.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{
    domain::random::random_u64,
    model::{Model, Refusal},
};

/// The header that carries a request's id, in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const MAX_ID_LENGTH: usize = 128;

/// What a client says of the body that it sends, before anything on the way has unpacked it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Announced {
    /// Bytes, if it says how many.
    pub(crate) length: Option<u64>,
    /// It waits for leave to send them (`Expect: 100-continue`). Leave is given by reading.
    pub(crate) waits: bool,
    /// They are compressed.
    pub(crate) is_coded: bool,
}

impl Announced {
    /// What headers say.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let length = headers.get(header::CONTENT_LENGTH);
        let is_plain = |coding: &HeaderValue| coding == "identity";
        Self {
            length: length.and_then(|value| value.to_str().ok()?.parse().ok()),
            waits: headers.contains_key(header::EXPECT),
            is_coded: !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain),
        }
    }
}

/// The id of the trace that a request belongs to: 32 hexadecimal digits of the header `traceparent`, as W3C Trace
/// Context has it. A header that is not well-formed is as good as none.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let mut part = |length| {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(is_digit))
    };
    let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_nothing = |id: &str| id.bytes().all(|byte| byte == b'0');
    // A later version may have more parts; this one has not.
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    (is_known && !is_nothing(trace) && !is_nothing(parent)).then_some(trace)
}

/// One request.
#[derive(Debug)]
pub(crate) struct RequestScope {
    id: HeaderValue,
    trace: Option<Box<str>>,
    announced: Announced,
    started: Instant,
    model: OnceLock<Arc<Model>>,
    images: AtomicUsize,
    failure: OnceLock<Refusal>,
}

impl RequestScope {
    /// The scope of a request that has just arrived. An id in its headers is kept if it is short and visible ASCII, so
    /// that it can be searched for in logs and cannot forge a line in them; else a new one is made.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let given = headers
            .get(REQUEST_ID)
            .filter(|id| (1..=MAX_ID_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
        Self {
            id: given.cloned().unwrap_or_else(|| {
                HeaderValue::try_from(format!("{:016x}", random_u64())).unwrap_or(HeaderValue::from_static("unknown"))
            }),
            trace: trace_id(headers).map(Box::from),
            announced: Announced::new(headers),
            started: Instant::now(),
            model: OnceLock::new(),
            images: AtomicUsize::new(0),
            failure: OnceLock::new(),
        }
    }

    /// The scope that the outermost layer opened.
    pub(crate) fn of(parts: &Parts) -> Arc<Self> {
        let scope = parts.extensions.get::<Arc<Self>>().cloned();
        scope.unwrap_or_else(|| Arc::new(Self::new(&parts.headers)))
    }

    /// The id.
    pub(crate) fn id(&self) -> &str {
        self.id.to_str().unwrap_or("unknown")
    }

    /// The id as a header.
    pub(crate) fn id_header(&self) -> HeaderValue {
        self.id.clone()
    }

    /// The trace that the client says it belongs to.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// The body, as the client announced it.
    pub(crate) fn announced(&self) -> Announced {
        self.announced
    }

    /// When the head of the request had arrived.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Notes the model that the request is for.
    pub(crate) fn set_model(&self, model: &Arc<Model>) {
        // A request is for one model; a second call would say the same.
        let _ = self.model.set(Arc::clone(model));
    }

    /// Notes how many images the request brings or asks for.
    pub(crate) fn set_images(&self, images: usize) {
        self.images.store(images, Ordering::Relaxed);
    }

    /// Notes that the request failed after the head of its answer had been sent.
    pub(crate) fn set_failure(&self, refusal: Refusal) {
        // A stream ends with its first failure.
        let _ = self.failure.set(refusal);
    }

    /// Why the request failed after the head of its answer had been sent.
    pub(crate) fn failure(&self) -> Option<&Refusal> {
        self.failure.get()
    }

    /// The model, once it is known.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.model.get().map(Arc::as_ref)
    }

    /// Images, 0 before they are counted.
    pub(crate) fn images(&self) -> usize {
        self.images.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &'static [u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        RequestScope::new(&headers).id().to_owned()
    }

    #[test]
    fn a_trace_is_known_by_a_header_that_is_well_formed() {
        let trace = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(text));
            RequestScope::new(&headers).trace_id().map(str::to_owned)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for good in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-what-comes-later",
        ] {
            assert_eq!(trace(good).as_deref(), Some(id));
        }
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace(bad), None, "{bad}");
        }
    }

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        assert_eq!(id_for(b"trace-1/2:3"), "trace-1/2:3");
        assert_eq!(id_for(&[b'a'; 128]).len(), 128);
        for bad in [&b""[..], b"two words", b"caf\xc3\xa9", &[b'a'; 129], b"a\tb"] {
            assert_eq!(id_for(bad).len(), 16);
        }
        let none = HeaderMap::new();
        assert_ne!(RequestScope::new(&none).id(), RequestScope::new(&none).id());
    }
}
