//! What comes in at a port: each first datagram begins a handshake, has to prove its address, or is ignored.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use libp2p_core::{
    Multiaddr,
    transport::{ListenerId, TransportEvent},
};
use quinn::{Endpoint, Incoming};

use super::{
    Connecting, QuicError,
    config::QuinnSettings,
    connection,
    places::{HandshakePlaces, Verdict},
};
use crate::addresses::multiaddr;

type Event = TransportEvent<Connecting, QuicError>;

/// How a listener is doing.
enum ListenerState {
    /// Nobody knows its address yet.
    New,
    Open,
    /// It is to say so, and then to end.
    Closing(Result<(), QuicError>),
    Closed,
}

/// An endpoint that others dial.
pub(super) struct Listener {
    id: ListenerId,
    endpoint: Endpoint,
    local: SocketAddr,
    incoming: BoxStream<'static, Incoming>,
    state: ListenerState,
    /// Who waits for the next event, to be told when this closes.
    waker: Option<Waker>,
    places: HandshakePlaces,
    handshake_timeout: Duration,
}

impl Listener {
    pub(super) fn new(id: ListenerId, endpoint: Endpoint, settings: &QuinnSettings) -> io::Result<Self> {
        let accept = |endpoint: Endpoint| async move { endpoint.accept().await.map(|incoming| (incoming, endpoint)) };
        Ok(Self {
            id,
            local: endpoint.local_addr()?,
            incoming: stream::unfold(endpoint.clone(), accept).boxed(),
            endpoint,
            state: ListenerState::New,
            waker: None,
            places: settings.places.clone(),
            handshake_timeout: settings.handshake_timeout,
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether datagrams from this port get to an address: one that is bound to another host's does not reach loopback.
    pub(super) fn reaches(&self, to: IpAddr) -> bool {
        let from = self.local.ip();
        matches!(self.state, ListenerState::New | ListenerState::Open)
            && (from.is_unspecified() || from.is_loopback() == to.is_loopback())
    }

    /// Takes nothing in any more, if it is this one. Connections go on.
    pub(super) fn close(&mut self, id: ListenerId) -> bool {
        let is_this = self.id == id && matches!(self.state, ListenerState::New | ListenerState::Open);
        if is_this {
            self.endpoint.set_server_config(None);
            self.state = ListenerState::Closing(Ok(()));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        is_this
    }

    fn address(&self) -> Multiaddr {
        multiaddr(self.local)
    }

    /// Begins a handshake, or does not.
    fn admit(&self, incoming: Incoming) -> Option<Event> {
        let from = incoming.remote_address();
        let place = match self.places.enter(from.ip(), incoming.remote_address_validated()) {
            Verdict::Begin(place) => place,
            Verdict::Prove => {
                // It fails only for what was retried before, which is proved.
                let _ = incoming.retry();
                return None;
            }
            Verdict::Ignore => {
                incoming.ignore();
                return None;
            }
        };
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                return Some(TransportEvent::ListenerError { listener_id: self.id, error: error.into() });
            }
        };
        let timeout = self.handshake_timeout;
        let upgrade: Connecting = Box::pin(async move {
            let finished = connection::finish(connecting, timeout).await;
            drop(place);
            finished
        });
        let (local_addr, send_back_addr) = (self.address(), multiaddr(from));
        Some(TransportEvent::Incoming { listener_id: self.id, upgrade, local_addr, send_back_addr })
    }
}

impl Stream for Listener {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match std::mem::replace(&mut self.state, ListenerState::Closed) {
            ListenerState::New => {
                self.state = ListenerState::Open;
                let (listener_id, listen_addr) = (self.id, self.address());
                return Poll::Ready(Some(TransportEvent::NewAddress { listener_id, listen_addr }));
            }
            ListenerState::Open => self.state = ListenerState::Open,
            ListenerState::Closing(reason) => {
                return Poll::Ready(Some(TransportEvent::ListenerClosed { listener_id: self.id, reason }));
            }
            ListenerState::Closed => return Poll::Ready(None),
        }
        loop {
            let Poll::Ready(incoming) = self.incoming.poll_next_unpin(cx) else {
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let Some(incoming) = incoming else {
                self.state = ListenerState::Closed;
                let reason = Err(QuicError::Closed);
                return Poll::Ready(Some(TransportEvent::ListenerClosed { listener_id: self.id, reason }));
            };
            if let Some(event) = self.admit(incoming) {
                return Poll::Ready(Some(event));
            }
        }
    }
}
