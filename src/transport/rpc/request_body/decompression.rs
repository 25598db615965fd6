//! Unpacks one message piece by piece, and no more of it than a message may have and the server has room for.

use std::{
    io::{self, Write},
    mem,
};

use axum::http::HeaderMap;
use flate2::write::{GzDecoder, ZlibDecoder};
use tonic::Status;

use super::{FRAMING, refused};
use crate::{
    intake::Reservation,
    model::{Kind, Refusal},
};

/// The header that says how messages are packed.
const ENCODING: &str = "grpc-encoding";

/// How messages are packed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Compression {
    Gzip,
    Deflate,
}

impl Compression {
    /// What the head of a call says. It is taken out of the head, because nothing is compressed behind here; one that
    /// is not known stays, for the library to refuse.
    pub(super) fn take(head: &mut HeaderMap) -> Option<Self> {
        let compression = match head.get(ENCODING)?.as_bytes() {
            b"gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            _ => return None,
        };
        head.remove(ENCODING);
        Some(compression)
    }
}

/// A message of which not all has come.
pub(super) struct Decompressor {
    decoder: Decoder,
    max_bytes: usize,
    /// Bytes that are entered.
    entered: usize,
}

/// One write unpacks to some 32 KiB.
enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

impl Decoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.write(bytes),
            Self::Deflate(decoder) => decoder.write(bytes),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(decoder) => decoder.try_finish(),
        }
    }

    fn unpacked(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
        }
    }
}

impl Decompressor {
    /// A message of at most so many bytes when it is unpacked.
    pub(super) fn new(compression: Compression, max_bytes: usize) -> Self {
        // Room for the framing, so that message and framing are one piece.
        let unpacked = vec![0; FRAMING];
        Self {
            decoder: match compression {
                Compression::Gzip => Decoder::Gzip(GzDecoder::new(unpacked)),
                Compression::Deflate => Decoder::Deflate(ZlibDecoder::new(unpacked)),
            },
            max_bytes,
            entered: 0,
        }
    }

    /// Goes on with some of the message; answers how much of that was taken.
    pub(super) fn unpack(&mut self, bytes: &[u8], held: &mut Reservation) -> Result<usize, Status> {
        let taken = self.decoder.write(bytes).map_err(|error| wrong(&error))?;
        self.enter(held)?;
        // What stands behind the end is of no interest.
        Ok(if taken == 0 { bytes.len() } else { taken })
    }

    /// What is unpacked so far.
    pub(super) fn message(&mut self) -> &[u8] {
        &self.decoder.unpacked()[FRAMING..]
    }

    /// The message, all of which has come, with the framing of one that is not packed.
    pub(super) fn finish(mut self, held: &mut Reservation) -> Result<Vec<u8>, Status> {
        self.decoder.finish().map_err(|error| wrong(&error))?;
        self.enter(held)?;
        let mut unpacked = mem::take(self.decoder.unpacked());
        // At most as many as a message may have, whose length was in the framing, too.
        unpacked[1..FRAMING].copy_from_slice(&(self.entered as u32).to_be_bytes());
        Ok(unpacked)
    }

    /// Enters what was unpacked since.
    fn enter(&mut self, held: &mut Reservation) -> Result<(), Status> {
        let length = self.message().len();
        if length > self.max_bytes {
            let max_bytes = self.max_bytes;
            let detail = format!("the message unpacks to more than the {max_bytes} bytes that are possible");
            return Err(Status::out_of_range(detail));
        }
        held.grow(length - self.entered).map_err(refused)?;
        self.entered = length;
        Ok(())
    }
}

fn wrong(error: &io::Error) -> Status {
    let detail = format!("the message is not packed as {ENCODING} says: {error}");
    refused(Refusal::new(Kind::Malformed, detail))
}
