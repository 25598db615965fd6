//! Messages of gRPC on their way to the server: within their time, their size and the memory of the server, and
//! unpacked as they come.
//!
//! The library that decodes messages bounds only how long they are. It takes room for as much as a message says of
//! itself, waits for it for ever, and unpacks it in one go. So it is handed messages that are complete and not packed.

use std::{
    future::pending,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Frame;
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};
use tonic::Status;

use self::decompression::{Decompressor, take_packing};
use super::status;
use crate::{
    intake::{MemoryBudget, Reservation},
    model::{Kind, Refusal},
    transport::web::{body::is_too_slow, unpack::Packing},
};

mod decompression;

/// Bytes before a message: whether it is packed, and its length.
const FRAMING: usize = 5;

/// Pieces that are taken in one after the other before other tasks have their turn. One unpacks to 32 KiB.
const ROUNDS: usize = 16;

/// Judges a call by the first bytes of its message.
pub(crate) type Look = Box<dyn FnOnce(&[u8]) -> Result<(), Status> + Send>;

/// What messages have to keep to.
#[derive(Debug, Clone)]
pub(crate) struct MessageLimits {
    /// Where their bytes are entered.
    pub(crate) memory_budget: Arc<MemoryBudget>,
    /// Bytes of one, unpacked.
    pub(crate) max_bytes: usize,
    /// How long one may be on its way.
    pub(crate) time: Duration,
    /// Whether the server has begun to shut down: a stream ends before its next message then.
    pub(crate) draining: watch::Receiver<bool>,
}

impl MessageLimits {
    /// Holds the messages of a call to it; the first is looked at as soon as any of it is there. The one message of a
    /// call that is no stream is on its way from the head of the call until the client has ended its side.
    pub(crate) fn receive(&self, mut request: Request, is_stream: bool, look: Option<Look>) -> Request {
        let packing = take_packing(request.headers_mut());
        request.map(|body| {
            Body::new(RequestBody {
                body,
                held: self.memory_budget.open(),
                limits: self.clone(),
                packing,
                is_stream,
                look,
                since: Instant::now(),
                timer: None,
                shutdown: None,
                input: Bytes::new(),
                part: Part::Framing(Vec::new()),
                complete: None,
            })
        })
    }
}

/// The body of a call.
struct RequestBody {
    body: Body,
    limits: MessageLimits,
    packing: Option<Packing>,
    is_stream: bool,
    /// Taken by the first message.
    look: Option<Look>,
    /// The bytes of the message on its way, and of one that has just gone on.
    held: Reservation,
    /// Since when the message is on its way.
    since: Instant,
    /// Made when it is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Made when a stream waits for its next message.
    shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What came and was not taken in yet.
    input: Bytes,
    part: Part,
    /// A message of which all is there.
    complete: Option<Bytes>,
}

/// Where in a message the call is.
enum Part {
    /// In the bytes before it, of which these have come.
    Framing(Vec<u8>),
    /// So many bytes are to come behind these.
    Plain { left: usize, message: BytesMut },
    Packed {
        left: usize,
        decompressor: Box<Decompressor>,
    },
}

impl RequestBody {
    fn is_within_a_message(&self) -> bool {
        !matches!(&self.part, Part::Framing(bytes) if bytes.is_empty())
    }

    fn look(look: &mut Option<Look>, first: &[u8]) -> Result<(), Status> {
        look.take().map_or(Ok(()), |look| look(first))
    }

    /// Takes in some of the input.
    fn advance(&mut self) -> Result<(), Status> {
        if self.is_stream && !self.is_within_a_message() {
            self.since = Instant::now();
            self.timer = None;
            // The message before has been decoded, and who has it now counts it.
            self.held = self.limits.memory_budget.open();
        }
        match &mut self.part {
            Part::Framing(bytes) => {
                if bytes.is_empty()
                    && let Some(length) = whole(&self.input, self.limits.max_bytes)
                {
                    Self::look(&mut self.look, &self.input[FRAMING..length])?;
                    self.held.grow(length).map_err(refused)?;
                    self.complete = Some(self.input.split_to(length));
                    return Ok(());
                }
                let length = self.input.len().min(FRAMING - bytes.len());
                bytes.extend_from_slice(&self.input.split_to(length));
                if let Some(framing) = bytes.first_chunk() {
                    let framing = *framing;
                    self.begin(framing)?;
                }
            }
            Part::Plain { left, message } => {
                let piece = self.input.split_to(self.input.len().min(*left));
                Self::look(&mut self.look, &piece)?;
                self.held.grow(piece.len()).map_err(refused)?;
                *left -= piece.len();
                message.extend_from_slice(&piece);
            }
            Part::Packed { left, decompressor } => {
                let some = &self.input[..self.input.len().min(*left)];
                let taken = decompressor.unpack(some, &mut self.held)?;
                *left -= taken;
                self.input.advance(taken);
                if !decompressor.message().is_empty() {
                    Self::look(&mut self.look, decompressor.message())?;
                }
            }
        }
        self.complete()
    }

    /// Begins a message.
    fn begin(&mut self, framing: [u8; FRAMING]) -> Result<(), Status> {
        let left = length(&framing);
        self.part = match (framing[0], self.packing) {
            _ if left > self.limits.max_bytes => {
                let max_bytes = self.limits.max_bytes;
                let detail = format!("the message has {left} bytes, and at most {max_bytes} are possible");
                return Err(Status::out_of_range(detail));
            }
            (1, Some(packing)) => Part::Packed {
                left,
                decompressor: Box::new(Decompressor::new(packing, self.limits.max_bytes)),
            },
            (0, _) => Part::Plain {
                left,
                message: BytesMut::from(&framing[..]),
            },
            // The library has words for it.
            _ => {
                self.complete = Some(Bytes::copy_from_slice(&framing));
                Part::Framing(Vec::new())
            }
        };
        Ok(())
    }

    /// Hands a message over if all of it is there.
    fn complete(&mut self) -> Result<(), Status> {
        if !matches!(self.part, Part::Plain { left: 0, .. } | Part::Packed { left: 0, .. }) {
            return Ok(());
        }
        match mem::replace(&mut self.part, Part::Framing(Vec::new())) {
            Part::Framing(_) => {}
            Part::Plain { message, .. } => self.complete = Some(message.freeze()),
            Part::Packed { decompressor, .. } => {
                let message = decompressor.finish(&mut self.held)?;
                Self::look(&mut self.look, &message[FRAMING..])?;
                self.complete = Some(message.into());
            }
        }
        Ok(())
    }

    /// Fails when the time of the message is over, or, between those of a stream, when the server shuts down: a client
    /// that says nothing more must not hold up the end.
    fn poll_time(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if self.is_stream && !self.is_within_a_message() {
            let shutdown = self.shutdown.get_or_insert_with(|| {
                let mut draining = self.limits.draining.clone();
                Box::pin(async move {
                    if draining.wait_for(|&draining| draining).await.is_err() {
                        pending::<()>().await;
                    }
                })
            });
            ready!(shutdown.as_mut().poll(context));
            return Poll::Ready(refused(Refusal::shutting_down()));
        }
        let time = self.limits.time;
        let deadline = self.since + time;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(context));
        let detail = format!("the message did not arrive within {} s", time.as_secs_f64());
        Poll::Ready(refused(Refusal::new(Kind::BodyTimeout, detail)))
    }
}

/// The bytes of the message that the input begins with, if it is there as a whole and not packed, and with its framing.
fn whole(input: &[u8], max_bytes: usize) -> Option<usize> {
    let framing = input.first_chunk()?;
    let length = length(framing);
    (framing[0] == 0 && length <= max_bytes && input.len() - FRAMING >= length).then_some(FRAMING + length)
}

fn length(&[_, length @ ..]: &[u8; FRAMING]) -> usize {
    u32::from_be_bytes(length) as usize
}

fn refused(refusal: Refusal) -> Status {
    let message = refusal.to_string();
    status::status(&refusal, message)
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        let failed = |status: Status| Poll::Ready(Some(Err(status.into())));
        for _ in 0..ROUNDS {
            if let Some(message) = this.complete.take() {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            if !this.input.is_empty() {
                if let Err(status) = this.advance() {
                    return failed(status);
                }
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
                return failed(ready!(this.poll_time(context)));
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => this.input = bytes,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) if is_too_slow(&error) => {
                    let detail = "the message came too slowly, while others waited for the connection";
                    return failed(refused(Refusal::new(Kind::BodyTimeout, detail)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None if this.is_within_a_message() => {
                    let detail = "the message ended before its declared length";
                    return failed(refused(Refusal::new(Kind::Malformed, detail)));
                }
                None => return Poll::Ready(None),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.complete.is_none() && self.input.is_empty() && !self.is_within_a_message() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests;
