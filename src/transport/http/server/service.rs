//! The router as the service of one connection: requests are noted from their heads to the last pieces of their
//! answers.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use axum::{
    BoxError, Router,
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header},
    routing::future::RouteFuture,
};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::Service;

use super::{
    super::{body::TooSlow, problem::BadHead},
    activity::{Activity, Flight, SPARE_TIME, time_for},
    refusal_rate::RefusalRate,
};
use crate::{
    model::{Kind, Refusal},
    transport::{access::Peer, middleware::Boxed},
};

/// The largest piece of an answer that is handed over at once: what has been handed over is out of sight.
const PIECE: usize = 32 << 10;

/// The code of gRPC, as it stands in a header, for what there is no room for.
const RESOURCE_EXHAUSTED: &str = "8";

/// The time that a client is to wait which was not told so in a header.
const UNTOLD: Duration = Duration::from_secs(1);

/// The router, for one connection.
pub(super) struct Routes {
    router: Router,
    peer: Peer,
    activity: Arc<Activity>,
    refusal_rate: Arc<RefusalRate>,
}

impl Routes {
    /// Notes in `activity` what `router` is asked. Impatient clients wait for their turn to be refused.
    pub(super) fn new(router: Router, peer: Peer, activity: Arc<Activity>, refusal_rate: Arc<RefusalRate>) -> Self {
        Self {
            router,
            peer,
            activity,
            refusal_rate,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Routes {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let is_bare = self.activity.has_bare_line();
        let last = is_last(request.version(), request.headers());
        let flight = self.activity.begin(last, request.body().size_hint().exact());
        let bad = if is_bare {
            let detail = "the lines of a head end with CR LF, not with LF alone";
            Err(Refusal::new(Kind::Malformed, detail))
        } else {
            check(&request)
        };
        let activity = Arc::clone(&self.activity);
        let mut request = request.map(|body| Received::new(body, activity, flight.id()));
        request.extensions_mut().insert(self.peer.clone());
        if let Err(refusal) = bad {
            request.extensions_mut().insert(BadHead(refusal));
        }
        Answering::Made {
            answer: self.router.clone().call(request),
            flight: Some(flight),
            refusal_rate: Arc::clone(&self.refusal_rate),
        }
    }
}

pin_project! {
    /// An answer on its way to its client.
    #[project = Step]
    pub(super) enum Answering {
        Made {
            #[pin]
            answer: RouteFuture<Infallible>,
            flight: Option<Flight>,
            refusal_rate: Arc<RefusalRate>,
        },
        /// It is a refusal that has to wait for its turn.
        Waits {
            answer: Boxed<Response<Answer>>,
        },
    }
}

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Step::Made {
            answer,
            flight,
            refusal_rate,
        } = self.as_mut().project()
        {
            let mut response = ready!(answer.poll(context))?;
            let Some(flight) = flight.take() else {
                panic!("an answer is waited for that has been given");
            };
            if let Some(date) = date() {
                response.headers_mut().insert(header::DATE, date);
            }
            let Some(retry_after) = refused(&response) else {
                return Poll::Ready(Ok(response.map(|body| Answer::new(body, flight))));
            };
            let wait = refusal_rate.take();
            let answer = Box::pin(async move {
                if flight.is_impatient() && !wait.is_zero() {
                    flight.wait(wait).await;
                }
                flight.refused(retry_after);
                response.map(|body| Answer::new(body, flight))
            });
            self.set(Self::Waits { answer });
        }
        match self.project() {
            Step::Waits { answer } => answer.as_mut().poll(context).map(Ok),
            Step::Made { .. } => unreachable!("what is made waits or is given"),
        }
    }
}

/// What the machine's clock shows. hyper would write it, too, but from a note that is made anew when the clock shows a
/// later time: after one that was hours ahead is set right, answers would be dated in the future for hours.
fn date() -> Option<HeaderValue> {
    HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())).ok()
}

/// When the client may come back, if the answer refuses it for want of room: over HTTP, or as a call of gRPC.
fn refused<B>(response: &Response<B>) -> Option<Duration> {
    let headers = response.headers();
    let is_refused = response.status() == StatusCode::TOO_MANY_REQUESTS
        || headers
            .get("grpc-status")
            .is_some_and(|status| status == RESOURCE_EXHAUSTED);
    let seconds = || headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok();
    is_refused.then(|| seconds().map_or(UNTOLD, Duration::from_secs))
}

/// Whether the client says that no request of its follows on this connection.
fn is_last(version: Version, headers: &HeaderMap) -> bool {
    let says = |token: &str| {
        let values = headers.get_all(header::CONNECTION).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|own| own.trim().eq_ignore_ascii_case(token))
    };
    match version {
        Version::HTTP_11 => says("close"),
        Version::HTTP_10 => !says("keep-alive"),
        _ => false,
    }
}

/// Refuses what proxies on the way may have understood in another way. RFC 9112, section 3.2.
fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let wrong = match (request.version(), hosts) {
        (Version::HTTP_11, 0) => "a request of HTTP/1.1 needs the header Host",
        (Version::HTTP_10 | Version::HTTP_11, 2..) => "a request has one header Host, not several",
        _ => return Ok(()),
    };
    Err(Refusal::new(Kind::Malformed, wrong))
}

/// The body of a request.
struct Received {
    body: Incoming,
    activity: Arc<Activity>,
    id: u64,
    /// Until when as much has come as there should.
    due: Instant,
    /// Ends when the place of the connection is wanted and the body is late. Made when the body is waited for.
    late: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Received {
    fn new(body: Incoming, activity: Arc<Activity>, id: u64) -> Self {
        Self {
            body,
            activity,
            id,
            due: Instant::now() + SPARE_TIME,
            late: None,
        }
    }

    /// Notes that the body is waited for no longer.
    fn came(&mut self, bytes: usize) {
        self.due += time_for(bytes);
        if self.late.take().is_some() {
            self.activity.came(self.id);
        }
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let (id, due) = (this.id, this.due);
            let late = this.late.get_or_insert_with(|| {
                this.activity.awaits(id, due);
                let activity = Arc::clone(&this.activity);
                Box::pin(async move { activity.late(due).await })
            });
            ready!(late.as_mut().poll(context));
            return Poll::Ready(Some(Err(TooSlow.into())));
        };
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        this.came(bytes.map_or(0, Bytes::len));
        if frame.is_none() || this.body.is_end_stream() {
            this.activity.read();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.came(0);
    }
}

/// The body of an answer, in pieces that are asked for as the client takes them.
pub(super) struct Answer {
    body: Body,
    rest: Bytes,
    flight: Flight,
}

impl Answer {
    fn new(body: Body, mut flight: Flight) -> Self {
        flight.offered(0);
        Self {
            body,
            rest: Bytes::new(),
            flight,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        // From here on the answer waits for the server, if for anybody.
        this.flight.taken();
        if this.rest.is_empty() {
            // Where an answer is made as it goes, nothing waits in memory for a slow client.
            this.flight.renew();
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.rest = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = this.rest.len().min(PIECE);
        let piece = this.rest.split_to(length);
        this.flight.offered(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = self.body.size_hint();
        let mut own = SizeHint::new();
        own.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            own.set_upper(upper + rest);
        }
        own
    }
}
