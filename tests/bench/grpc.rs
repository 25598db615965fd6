//! The same load through gRPC: calls share one connection, as those of a client do. Messages are made once, and of an
//! answer only its status is read.

use std::{
    future::poll_fn,
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    Request,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::client::{Load, PAUSE, Seen, Target};

/// One message.
struct Message(Option<Bytes>);

impl Body for Message {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// Keeps `concurrency` calls in flight for a while, with errors counted.
pub(crate) fn attempt(target: &Target<'_>, bodies: &[Vec<u8>], concurrency: usize, duration: Duration) -> Load {
    let messages: Vec<Bytes> = bodies.iter().map(|body| framed(body)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(target.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let builder = Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let start = Instant::now();
        let calls = (0..concurrency).map(|first| calls(sender.clone(), target, &messages, first, start + duration));
        let all = futures_util::future::join_all(calls).await;
        Load::of(start, all)
    })
}

/// A message as gRPC writes it: not compressed, its length, itself.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

/// Calls one after the other.
async fn calls(
    mut sender: SendRequest<Message>,
    target: &Target<'_>,
    messages: &[Bytes],
    first: usize,
    end: Instant,
) -> Seen {
    let uri = format!("http://{}{}", target.address, target.path);
    let (mut latencies, mut errors) = Seen::default();
    for message in messages.iter().cycle().skip(first % messages.len()) {
        let start = Instant::now();
        if start >= end {
            break;
        }
        let request = Request::post(&uri)
            .header("content-type", target.content_type)
            .header("te", "trailers")
            .body(Message(Some(message.clone())))
            .unwrap();
        match call(&mut sender, request).await {
            Ok(()) => latencies.push(start.elapsed().as_secs_f64()),
            Err(error) => {
                errors.push(error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    (latencies, errors)
}

async fn call(sender: &mut SendRequest<Message>, request: Request<Message>) -> Result<(), String> {
    sender.ready().await.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, mut body): (_, Incoming) = answer.into_parts();
    let mut headers = head.headers;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Ok(trailers) = frame.into_trailers() {
            headers.extend(trailers);
        }
    }
    match headers.get("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        _ => Err(format!("{headers:?}")),
    }
}
