//! Connections of programs on this machine and elsewhere (JSON-RPC, metrics), each with a place that it may lose: whoever opens
//! many and asks for nothing, or takes its time with a request, keeps nobody out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cairn_limits::Permit;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream for as long as it has its place. What goes over it is progress that keeps the place.
pub(crate) struct PlacedStream<S> {
    stream: S,
    place: Arc<Permit>,
    /// Comes to its end with the place, or with the connection's time.
    ends: BoxFuture<'static, ()>,
}

impl<S> PlacedStream<S> {
    /// A stream that lives as long as it has its place, and no longer than `life`.
    pub(crate) fn new(stream: S, place: Arc<Permit>, life: Option<Duration>) -> Self {
        let revoked = place.revoked();
        let ends = async move {
            match life {
                Some(life) => drop(tokio::time::timeout(life, revoked).await),
                None => revoked.await,
            }
        };
        Self { stream, place, ends: ends.boxed() }
    }

    fn has_ended(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.ends.poll_unpin(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                // Asked again it says the same.
                self.ends = std::future::ready(()).boxed();
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PlacedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.has_ended(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.place.progress(bytes as u64);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PlacedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.has_ended(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.place.progress(*bytes as u64);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
