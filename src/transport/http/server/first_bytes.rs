//! A limit on the time before the version of HTTP is known.
//!
//! Telling HTTP/2 from HTTP/1 takes up to 24 bytes, and nothing else limits how long a client may take to send them: the
//! timeout for heads begins only once the version is known.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What an HTTP/2 client sends first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes must come in time.
pub(super) struct FirstBytes<S> {
    stream: S,
    /// `None` once the version is known.
    limit: Option<Pin<Box<Sleep>>>,
    /// Bytes of the preface of HTTP/2 seen so far.
    matched: usize,
    heard: Arc<AtomicBool>,
}

impl<S> FirstBytes<S> {
    /// Wraps a stream. The flag tells whether any byte has come.
    pub(super) fn new(stream: S, time: Duration) -> (Self, Arc<AtomicBool>) {
        let heard = Arc::new(AtomicBool::new(false));
        let first_bytes = Self {
            stream,
            limit: Some(Box::pin(sleep(time))),
            matched: 0,
            heard: Arc::clone(&heard),
        };
        (first_bytes, heard)
    }

    /// Compares what came with the preface; the limit ends with the first difference or with the last byte.
    fn observe(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.heard.store(true, Ordering::Relaxed);
        let expected = &HTTP2_PREFACE[self.matched..];
        let common = expected
            .iter()
            .zip(bytes)
            .take_while(|(a, b)| a == b)
            .count();
        self.matched += common;
        if common < bytes.len() || self.matched == HTTP2_PREFACE.len() {
            self.limit = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.limit.is_none() {
            return read;
        }
        if read.is_ready() {
            self.observe(&buffer.filled()[before..]);
            return read;
        }
        match self
            .limit
            .as_mut()
            .map(|limit| limit.as_mut().poll(context))
        {
            Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}
