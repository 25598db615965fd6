//! Unpacks one message piece by piece, and no more of it than a message may have and the server has room for.

use std::{io, mem};

use axum::http::HeaderMap;
use tonic::Status;

use super::{FRAMING, refused};
use crate::{
    intake::Reservation,
    model::{Kind, Refusal},
    transport::web::unpack::{Packing, Unpacker},
};

/// The header that says how messages are packed.
const ENCODING: &str = "grpc-encoding";

/// What the head of a call says of how its messages are packed. It is taken out of the head, because nothing is
/// compressed behind here; what is not known stays, for the library to refuse.
pub(super) fn take_packing(head: &mut HeaderMap) -> Option<Packing> {
    let packing = Packing::named(head.get(ENCODING)?.as_bytes())?;
    head.remove(ENCODING);
    Some(packing)
}

/// A message of which not all has come.
pub(super) struct Decompressor {
    unpacker: Unpacker,
    max_bytes: usize,
    /// Bytes that are entered.
    entered: usize,
}

impl Decompressor {
    /// A message of at most so many bytes when it is unpacked.
    pub(super) fn new(packing: Packing, max_bytes: usize) -> Self {
        Self {
            // Room for the framing, so that message and framing are one piece.
            unpacker: Unpacker::new(packing, vec![0; FRAMING]),
            max_bytes,
            entered: 0,
        }
    }

    /// Goes on with some of the message; answers how much of that was taken.
    pub(super) fn unpack(&mut self, bytes: &[u8], held: &mut Reservation) -> Result<usize, Status> {
        let taken = self.unpacker.unpack(bytes).map_err(|error| wrong(&error))?;
        self.enter(held)?;
        Ok(taken)
    }

    /// What is unpacked so far.
    pub(super) fn message(&mut self) -> &[u8] {
        &self.unpacker.unpacked()[FRAMING..]
    }

    /// The message, all of which has come, with the framing of one that is not packed.
    pub(super) fn finish(mut self, held: &mut Reservation) -> Result<Vec<u8>, Status> {
        self.unpacker.finish().map_err(|error| wrong(&error))?;
        self.enter(held)?;
        let mut unpacked = mem::take(self.unpacker.unpacked());
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
