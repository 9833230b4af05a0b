//! One stream, both ways.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use quinn::{RecvStream, SendStream};

/// A stream to and from a peer.
#[derive(Debug)]
pub struct QuicStream {
    send: SendStream,
    receive: RecvStream,
    is_finished: bool,
}

impl QuicStream {
    pub(super) fn new(send: SendStream, receive: RecvStream) -> Self {
        Self { send, receive, is_finished: false }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.receive.poll_read(cx, buffer).map_err(io::Error::from)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, bytes).map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whatever was written is sent without being asked for.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_finished {
            return Poll::Ready(Ok(()));
        }
        self.is_finished = true;
        Poll::Ready(self.send.finish().map_err(io::Error::from))
    }
}
