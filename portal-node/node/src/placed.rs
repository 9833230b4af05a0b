//! Connections of programs on this machine and elsewhere (JSON-RPC, metrics), each with a place that it may lose: whoever opens
//! many and asks for nothing, or takes its time with a request, keeps nobody out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use cairn_limits::Permit;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// A stream for as long as it has its place. What goes over it is progress that keeps the place. While the other end does not take
/// what is written to it, nothing more is read from it: answers that nobody reads would pile up here.
pub(crate) struct PlacedStream<S> {
    stream: S,
    place: Arc<Permit>,
    /// What reads and what writes may be two tasks, and a future wakes only the one that asked it last.
    reads: PlaceLost,
    writes: PlaceLost,
    /// Whether what was written waits for the other end.
    is_unread: watch::Sender<bool>,
    /// Who wanted to read meanwhile.
    reader: Option<Waker>,
}

/// Comes with the loss of the place, or the end of the connection's time; `None` when that was.
struct PlaceLost(Option<BoxFuture<'static, ()>>);

impl PlaceLost {
    fn new(place: &Permit, life: Option<Duration>) -> Self {
        let revoked = place.revoked();
        let lost = async move {
            match life {
                Some(life) => drop(tokio::time::timeout(life, revoked).await),
                None => revoked.await,
            }
        };
        Self(Some(lost.boxed()))
    }

    /// # Errors
    /// When the place is lost. Until then the task is woken by it.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(lost) = &mut self.0
            && lost.poll_unpin(cx).is_pending()
        {
            return Ok(());
        }
        self.0 = None;
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl<S> PlacedStream<S> {
    /// A stream that lives as long as it has its place, and no longer than `life`.
    pub(crate) fn new(stream: S, place: Arc<Permit>, life: Option<Duration>) -> Self {
        let [reads, writes] = [(); 2].map(|()| PlaceLost::new(&place, life));
        Self { stream, place, reads, writes, is_unread: watch::Sender::new(false), reader: None }
    }

    /// Whether what was written waits for the other end to take it.
    pub(crate) fn is_unread(&self) -> watch::Receiver<bool> {
        self.is_unread.subscribe()
    }

    fn set_unread(&mut self, is_unread: bool) {
        self.is_unread.send_if_modified(|was| std::mem::replace(was, is_unread) != is_unread);
        if !is_unread && let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PlacedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reads.check(cx)?;
        if *self.is_unread.borrow() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
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
        self.writes.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.set_unread(written.is_pending());
        if let Poll::Ready(Ok(bytes)) = &written {
            self.place.progress(*bytes as u64);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use cairn_limits::{Holder, Limiter, Quota};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};

    use super::*;

    /// What the pipe of a test holds.
    const PIPE_BYTES: usize = 8;

    fn place(places: &Limiter) -> Arc<Permit> {
        Arc::new(places.try_take(Holder::nobody(), 1).unwrap())
    }

    #[tokio::test]
    async fn the_loss_of_the_place_ends_what_reads_and_what_writes() {
        let places = Limiter::new(Quota::new(1).yields_after(Duration::ZERO));
        let (near, _far) = duplex(PIPE_BYTES);
        let (mut reads, mut writes) = split(PlacedStream::new(near, place(&places), None));
        let reading = tokio::spawn(async move { reads.read_u8().await.unwrap_err().kind() });
        let writing = tokio::spawn(async move { writes.write_all(&[0; 2 * PIPE_BYTES]).await.unwrap_err().kind() });
        // Both wait by then: there is one thread.
        tokio::task::yield_now().await;
        let _other = place(&places);
        tokio::task::yield_now().await;
        assert!(reading.is_finished() && writing.is_finished(), "both were woken");
        assert_eq!(reading.await.unwrap(), io::ErrorKind::TimedOut);
        assert_eq!(writing.await.unwrap(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn nothing_is_read_from_who_does_not_read() {
        let places = Limiter::new(Quota::new(1));
        let (near, mut far) = duplex(PIPE_BYTES);
        let placed = PlacedStream::new(near, place(&places), None);
        let mut is_unread = placed.is_unread();
        let (mut reads, mut writes) = split(placed);
        let writing = tokio::spawn(async move { writes.write_all(&[0; 2 * PIPE_BYTES]).await.map(|()| writes) });
        is_unread.wait_for(|is_unread| *is_unread).await.unwrap();
        far.write_u8(7).await.unwrap();
        let mut reading = tokio::spawn(async move { reads.read_u8().await });
        for _ in 0..3 {
            tokio::task::yield_now().await;
            assert!(futures::poll!(&mut reading).is_pending());
        }
        far.read_exact(&mut [0; 2 * PIPE_BYTES]).await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), 7);
        writing.await.unwrap().unwrap();
    }
}
