//! The stream of a connection: it tells what arrives, hides the end that a client has announced, gives a problem to
//! answers of the library that have none, and is handed back when HTTP is done with it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{super::problem, activity::Activity};

/// Where a stream lies after HTTP is done with it.
#[derive(Debug)]
pub(super) struct HandedBack<S>(Arc<Mutex<Option<S>>>);

impl<S> HandedBack<S> {
    /// The stream, once its [`Watched`] is gone.
    pub(super) fn take(&self) -> Option<S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stream under observation.
pub(super) struct Watched<S> {
    /// There until it is dropped.
    stream: Option<S>,
    activity: Arc<Activity>,
    back: Arc<Mutex<Option<S>>>,
    /// The client has stopped sending and waits.
    ended: bool,
    /// What is to be written in place of an answer of the library.
    instead: Bytes,
}

impl<S> Watched<S> {
    /// Observes a stream.
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> (Self, HandedBack<S>) {
        let back = Arc::new(Mutex::new(None));
        let watched = Self {
            stream: Some(stream),
            activity,
            back: Arc::clone(&back),
            ended: false,
            instead: Bytes::new(),
        };
        (watched, HandedBack(back))
    }
}

impl<S: Unpin> Watched<S> {
    fn inner(&mut self) -> io::Result<Pin<&mut S>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            // The end of the answer wakes the task; nothing else will come.
            return Poll::Pending;
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(self.inner()?.poll_read(context, buffer))?;
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            self.activity.received(bytes);
        } else if self.activity.may_half_close() {
            self.ended = true;
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Writes what stands in place of an answer.
    fn poll_instead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let bytes = self.instead.clone();
            let written = ready!(self.inner()?.poll_write(context, &bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(context))?;
        // A head that is no request is answered by the library, with a status alone.
        if self.activity.has_head_open()
            && let Some(answer) = problem::in_place_of(bytes)
        {
            self.instead = answer.into();
            return Poll::Ready(Ok(bytes.len()));
        }
        self.inner()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        self.inner()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(context))?;
        self.inner()?.poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(S::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.activity.has_head_open() || !self.instead.is_empty() {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(context, first.map_or(&[], |piece| piece));
        }
        self.inner()?.poll_write_vectored(context, pieces)
    }
}
