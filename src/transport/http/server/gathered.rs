//! A stream whose small writes go out together.
//!
//! HTTP/2 writes an answer in pieces, its data and what ends it. Each piece would be a call of the system, and would
//! wake the client, which waits for the last. Here they wait until the connection has nothing more to say for now.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait, at most. Larger writes gain nothing by waiting.
const MOST: usize = 8 << 10;

/// A stream that keeps small writes until they are sent, see [`gathered`]. To flush it sends nothing.
pub(super) struct Gathered<S>(Arc<Mutex<Gathering<S>>>);

/// Sends what waits in a [`Gathered`].
pub(super) struct Sending<S>(Arc<Mutex<Gathering<S>>>);

struct Gathering<S> {
    stream: S,
    waiting: Vec<u8>,
}

/// A stream that keeps small writes, and what sends them. Whoever polls a connection that writes to the first polls the
/// second afterwards.
pub(super) fn gathered<S>(stream: S) -> (Gathered<S>, Sending<S>) {
    let waiting = Vec::new();
    let gathering = Arc::new(Mutex::new(Gathering { stream, waiting }));
    (Gathered(Arc::clone(&gathering)), Sending(gathering))
}

fn locked<S>(gathering: &Mutex<Gathering<S>>) -> MutexGuard<'_, Gathering<S>> {
    gathering.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Sending<S> {
    /// Ends when nothing waits.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        locked(&self.0).poll_send(context)
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            ready!(self.poll_write(context, &[]))?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Writes what waits and some of these pieces in one call, and answers how much of the pieces.
    fn poll_write(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let waiting = self.waiting.len();
        let written = if waiting == 0 {
            ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces))?
        } else {
            let all: Vec<IoSlice<'_>> = std::iter::once(IoSlice::new(&self.waiting))
                .chain(pieces.iter().map(|piece| IoSlice::new(piece)))
                .collect();
            ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &all))?
        };
        if waiting > 0 && written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.waiting.drain(..written.min(waiting));
        Poll::Ready(Ok(written.saturating_sub(waiting)))
    }

    fn poll_gather(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        loop {
            if self.waiting.len() + size <= MOST {
                pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
                return Poll::Ready(Ok(size));
            }
            let is_first = self.waiting.is_empty();
            let written = ready!(self.poll_write(context, pieces))?;
            if is_first || written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut locked(&self.0).stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        locked(&self.0).poll_gather(context, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = locked(&self.0);
        ready!(gathering.poll_send(context))?;
        Pin::new(&mut gathering.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        locked(&self.0).poll_gather(context, pieces)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Takes so many bytes a call, and notes each call.
    struct Narrow {
        most: usize,
        calls: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.most);
            self.calls.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            self.poll_write(context, &all)
        }
    }

    fn calls(sending: &Sending<Narrow>) -> Vec<usize> {
        locked(&sending.0).stream.calls.iter().map(Vec::len).collect()
    }

    #[tokio::test]
    async fn small_writes_go_out_in_one_call_and_a_large_one_takes_them_along() {
        let (mut stream, sending) = gathered(Narrow {
            most: usize::MAX,
            calls: Vec::new(),
        });
        stream.write_all(b"data").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"trailers").await.unwrap();
        assert!(calls(&sending).is_empty());
        let mut context = Context::from_waker(Waker::noop());
        assert!(sending.poll(&mut context).is_ready());
        assert_eq!(calls(&sending), [12]);
        stream.write_all(b"head").await.unwrap();
        stream.write_all(&[0; MOST]).await.unwrap();
        assert_eq!(calls(&sending), [12, 4 + MOST]);
        assert!(sending.poll(&mut context).is_ready());
        assert_eq!(calls(&sending).len(), 2);
    }

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order_however_little_is_taken() {
        for most in [1, 3, 7, 5000] {
            let (mut stream, sending) = gathered(Narrow {
                most,
                calls: Vec::new(),
            });
            let bytes: Vec<u8> = (0..3 * MOST).map(|at| (at % 251) as u8).collect();
            let (mut at, mut size) = (0, 1);
            while at < bytes.len() {
                let end = bytes.len().min(at + size);
                stream.write_all(&bytes[at..end]).await.unwrap();
                (at, size) = (end, size * 3 % 7001 + 1);
            }
            stream.shutdown().await.unwrap();
            assert_eq!(locked(&sending.0).stream.calls.concat(), bytes, "{most}");
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_for_the_reader() {
        let (mut reader, stream) = duplex(4);
        let (mut stream, sending) = gathered(stream);
        stream.write_all(b"more than four").await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(sending.poll(&mut context).is_pending());
        let (mut read, mut piece) = (Vec::new(), [0; 4]);
        while sending.poll(&mut context).is_pending() {
            let count = reader.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..count]);
        }
        drop((stream, sending));
        reader.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"more than four");
    }
}
