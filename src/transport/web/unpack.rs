//! Bodies that come packed: unpacked as they come, in pieces of some 32 KiB, so that whoever reads them can stop at any
//! size. Messages of gRPC are unpacked in the same way.

use std::{
    error::Error,
    io::{self, Write},
    iter, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes};
use flate2::write::{GzDecoder, ZlibDecoder};
use hyper::body::Frame;

use crate::transport::middleware::{After, Before, Middleware};

/// The codings that are read, as the header names them.
const ACCEPTED: &str = "gzip,deflate";

/// The most members of one gzip file. Each costs as much as tens of kilobytes, however little it unpacks to; those that
/// write a file in blocks, as bgzip does, make 512 of 32 MiB.
const MAX_MEMBERS: usize = 1024;

/// Pieces that are taken in one after the other before other tasks have their turn.
const ROUNDS: usize = 16;

/// How bytes are packed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packing {
    Gzip,
    Deflate,
}

impl Packing {
    /// The one with this name.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () => None,
        }
    }
}

/// Unpacks what it is given.
pub(crate) struct Unpacker {
    decoder: Decoder,
    /// Those of a gzip file that have ended.
    members: usize,
}

/// One write unpacks to some 32 KiB.
enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

impl Unpacker {
    /// Adds what is unpacked to `unpacked`.
    pub(crate) fn new(packing: Packing, unpacked: Vec<u8>) -> Self {
        Self {
            decoder: match packing {
                Packing::Gzip => Decoder::Gzip(GzDecoder::new(unpacked)),
                Packing::Deflate => Decoder::Deflate(ZlibDecoder::new(unpacked)),
            },
            members: 0,
        }
    }

    /// Goes on with some of the bytes; answers how many were taken.
    pub(crate) fn unpack(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.write(bytes)?,
            Decoder::Deflate(decoder) => decoder.write(bytes)?,
        };
        // Only at the end is nothing taken.
        if taken == 0 && !bytes.is_empty() {
            self.next_member()?;
        }
        Ok(taken)
    }

    /// Makes ready for what stands behind the end: a gzip file is one member after the other.
    fn next_member(&mut self) -> io::Result<()> {
        self.finish()?;
        self.members += 1;
        match &mut self.decoder {
            Decoder::Gzip(_) if self.members == MAX_MEMBERS => {
                Err(wrong(format!("it has more than {MAX_MEMBERS} members")))
            }
            Decoder::Gzip(decoder) => {
                let unpacked = mem::take(decoder.get_mut());
                *decoder = GzDecoder::new(unpacked);
                Ok(())
            }
            Decoder::Deflate(_) => Err(wrong("there is more behind its end".to_owned())),
        }
    }

    /// Adds the rest, where all has come.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
        }
    }

    /// What is unpacked and was not taken away.
    pub(crate) fn unpacked(&mut self) -> &mut Vec<u8> {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
        }
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A body is not packed as its head says.
#[derive(Debug, thiserror::Error)]
#[error("the body is not packed as its Content-Encoding says: {0}")]
pub(crate) struct NotPacked(io::Error);

/// What is wrong with a body that failed because it is not packed as its head says.
pub(crate) fn not_packed<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a NotPacked> {
    iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// Unpacks the bodies of requests, and refuses those that are packed in ways that are not read here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpack;

impl Middleware for Unpack {
    type Seen = ();

    fn before(&self, mut request: Request) -> Before<()> {
        match coding(request.headers()) {
            Ok(None) => Before::Goes(request, ()),
            Ok(Some(packing)) => {
                let headers = request.headers_mut();
                headers.remove(header::CONTENT_ENCODING);
                // It is that of the packed body.
                headers.remove(header::CONTENT_LENGTH);
                Before::Goes(request.map(|body| Body::new(Unpacked::new(body, packing))), ())
            }
            Err(UnknownCoding) => {
                let refused = (
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    [(header::ACCEPT_ENCODING, ACCEPTED)],
                );
                Before::Ends(Box::pin(async { refused.into_response() }), ())
            }
        }
    }

    fn after((): (), response: Response) -> After {
        After::Goes(response)
    }
}

struct UnknownCoding;

/// How a body is packed, if it is.
fn coding(headers: &HeaderMap) -> Result<Option<Packing>, UnknownCoding> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(None),
        (Some(one), None) if one == "identity" => Ok(None),
        (Some(one), None) => Packing::named(one.as_bytes()).map(Some).ok_or(UnknownCoding),
        // One over the other.
        (Some(_), Some(_)) => Err(UnknownCoding),
    }
}

/// A body that is unpacked while it is read.
struct Unpacked {
    body: Body,
    /// `None` at the end.
    unpacker: Option<Unpacker>,
    /// What came and was not taken in yet.
    input: Bytes,
    /// Whether anything came: no body at all is as good packed as plain.
    has_begun: bool,
}

impl Unpacked {
    fn new(body: Body, packing: Packing) -> Self {
        Self {
            body,
            unpacker: Some(Unpacker::new(packing, Vec::new())),
            input: Bytes::new(),
            has_begun: false,
        }
    }

    /// What some of the input unpacks to, or all that is left at its end.
    fn advance(&mut self, is_over: bool) -> Result<Option<Bytes>, NotPacked> {
        let Some(unpacker) = &mut self.unpacker else {
            return Ok(None);
        };
        if !is_over {
            let taken = unpacker.unpack(&self.input).map_err(NotPacked)?;
            self.input.advance(taken);
        } else if self.has_begun {
            unpacker.finish().map_err(NotPacked)?;
        }
        let unpacked = mem::take(unpacker.unpacked());
        if is_over {
            self.unpacker = None;
        }
        Ok((!unpacked.is_empty()).then(|| unpacked.into()))
    }
}

impl HttpBody for Unpacked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let own = &mut *self;
        if own.unpacker.is_none() {
            return Poll::Ready(None);
        }
        for _ in 0..ROUNDS {
            let is_over = own.input.is_empty() && {
                match ready!(Pin::new(&mut own.body).poll_frame(context)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            own.has_begun |= !data.is_empty();
                            own.input = data;
                            false
                        }
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    },
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    None => true,
                }
            };
            match own.advance(is_over) {
                Ok(Some(unpacked)) => return Poll::Ready(Some(Ok(Frame::data(unpacked)))),
                Ok(None) if is_over => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
