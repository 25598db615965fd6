//! Decoding that can be given up: a reader and a counter of pixels that ask from time to time whether the result is
//! still wanted.
//!
//! It must not know why a result is no longer wanted: that is the caller's closure.

use std::{
    cell::Cell,
    io::{self, BufRead, Read, Seek, SeekFrom},
};

use crate::media::MediaError;

/// Bytes of a file between two questions. A progressive JPEG can ask for a pass over all pixels in a few dozen bytes.
const BYTES_BETWEEN: usize = 256;

/// Pixels between two questions: some tenths of a millisecond.
const PIXELS_BETWEEN: u64 = 1 << 14;

/// Whether one image is still wanted.
pub(super) struct Cancellation<'a> {
    stop: &'a dyn Fn() -> bool,
    stopped: Cell<bool>,
    pixels: Cell<u64>,
}

impl<'a> Cancellation<'a> {
    pub(super) fn new(stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            stop,
            stopped: Cell::new(false),
            pixels: Cell::new(0),
        }
    }

    /// Asks now. Once stopped it stays so.
    pub(super) fn check(&self) -> Result<(), MediaError> {
        if self.stopped.get() || (self.stop)() {
            self.stopped.set(true);
            return Err(MediaError::Cancelled);
        }
        Ok(())
    }

    /// Asks if enough pixels have been worked on since the last time.
    pub(super) fn after(&self, pixels: u64) -> Result<(), MediaError> {
        let pixels = self.pixels.get() + pixels;
        if pixels < PIXELS_BETWEEN {
            self.pixels.set(pixels);
            return Ok(());
        }
        self.pixels.set(0);
        self.check()
    }

    /// A decoder reports a reader that gave up as a damaged file, or fills what is missing with grey: the true cause
    /// goes first.
    pub(super) fn cause<T>(&self, result: Result<T, MediaError>) -> Result<T, MediaError> {
        if self.stopped.get() {
            return Err(MediaError::Cancelled);
        }
        result
    }
}

/// The bytes of a file, which fail to be read once the image is no longer wanted.
pub(super) struct Cancellable<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Bytes that may be read before the next question.
    unasked: usize,
    cancellation: &'a Cancellation<'a>,
}

impl<'a> Cancellable<'a> {
    pub(super) fn new(bytes: &'a [u8], cancellation: &'a Cancellation<'a>) -> Self {
        Self {
            bytes,
            position: 0,
            unasked: 0,
            cancellation,
        }
    }
}

impl Read for Cancellable<'_> {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Cancellable<'_> {
    #[inline]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unasked == 0 {
            self.cancellation.check().map_err(io::Error::other)?;
            self.unasked = BYTES_BETWEEN;
        }
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        Ok(&rest[..rest.len().min(self.unasked)])
    }

    #[inline]
    fn consume(&mut self, amount: usize) {
        self.position += amount;
        self.unasked -= amount;
    }
}

impl Seek for Cancellable<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => (self.bytes.len() as u64).checked_add_signed(offset),
            SeekFrom::Current(offset) => (self.position as u64).checked_add_signed(offset),
        };
        let target = target
            .and_then(|target| usize::try_from(target).ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start"))?;
        self.position = target;
        Ok(target as u64)
    }
}
