//! A connection as a muxer of streams, and the handshake that makes one.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use libp2p_core::{StreamMuxer, muxing::StreamMuxerEvent};
use libp2p_identity::PeerId;
use quinn::{Connection, RecvStream, SendStream, VarInt};

use super::{QuicError, QuicStream};

/// The code of a connection that ended as planned.
const DONE: VarInt = VarInt::from_u32(0);

type Streams = BoxStream<'static, Result<(SendStream, RecvStream), quinn::ConnectionError>>;

/// A connection with a peer whose key is proved.
pub struct QuicConnection {
    connection: Connection,
    inbound: Streams,
    outbound: Streams,
}

/// Waits for a handshake, and for whom it proves.
pub(super) async fn finish(
    connecting: quinn::Connecting,
    timeout: Duration,
) -> Result<(PeerId, QuicConnection), QuicError> {
    let connection = tokio::time::timeout(timeout, connecting).await.map_err(|_| QuicError::TimedOut)??;
    let peer = cairn_tls::proved_key(connection.peer_identity())?.to_peer_id();
    Ok((peer, QuicConnection::new(connection)))
}

impl QuicConnection {
    fn new(connection: Connection) -> Self {
        let accept = |connection: Connection| async move { Some((connection.accept_bi().await, connection)) };
        let open = |connection: Connection| async move { Some((connection.open_bi().await, connection)) };
        Self {
            inbound: stream::unfold(connection.clone(), accept).boxed(),
            outbound: stream::unfold(connection.clone(), open).boxed(),
            connection,
        }
    }
}

impl std::fmt::Debug for QuicConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicConnection").field("remote", &self.connection.remote_address()).finish_non_exhaustive()
    }
}

/// The next stream of either kind.
fn poll_stream(streams: &mut Streams, cx: &mut Context<'_>) -> Poll<Result<QuicStream, QuicError>> {
    let next = std::task::ready!(streams.poll_next_unpin(cx)).unwrap_or(Err(quinn::ConnectionError::LocallyClosed));
    Poll::Ready(next.map(|(send, receive)| QuicStream::new(send, receive)).map_err(QuicError::from))
}

impl StreamMuxer for QuicConnection {
    type Substream = QuicStream;
    type Error = QuicError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<QuicStream, QuicError>> {
        poll_stream(&mut self.inbound, cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<QuicStream, QuicError>> {
        poll_stream(&mut self.outbound, cx)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), QuicError>> {
        // The endpoint sends it by itself, and stays until that is done.
        self.connection.close(DONE, b"");
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, QuicError>> {
        // Connections do not migrate, and their end shows at the streams that are awaited.
        Poll::Pending
    }
}
