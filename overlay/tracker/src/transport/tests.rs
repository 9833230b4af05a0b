//! The transport by itself on loopback: addresses, streams, strangers, and what a flood of first datagrams leaves for others.

use std::{
    future::{Future, poll_fn},
    net::UdpSocket,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake},
};

use futures::{AsyncReadExt, AsyncWriteExt, future};
use libp2p_core::{StreamMuxer, muxing::StreamMuxerExt, transport::PortUse};

use super::*;
use crate::{addresses::multiaddr, identity};

/// How long a test waits for anything. Only one that fails takes so long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

const CONFIG: QuicConfig = QuicConfig {
    stream_window: 32 << 10,
    connection_window: 256 << 10,
    max_streams: 4,
    max_silence: PATIENCE,
    keep_alive: std::time::Duration::from_secs(5),
    handshake_timeout: PATIENCE,
    handshakes: 64,
    handshakes_of_address: 16,
};

fn keypair(secret: u8) -> Keypair {
    identity::keypair([secret; 32]).unwrap()
}

fn transport(secret: u8) -> QuicTransport {
    QuicTransport::new(&keypair(secret), CONFIG).unwrap()
}

async fn event(transport: &mut QuicTransport) -> TransportEvent<Connecting, QuicError> {
    poll_fn(|cx| Pin::new(&mut *transport).poll(cx)).await
}

/// A transport that listens on loopback, and where.
async fn listening(secret: u8) -> (QuicTransport, SocketAddr) {
    let mut transport = transport(secret);
    transport.listen_on(ListenerId::next(), multiaddr(([127, 0, 0, 1], 0).into())).unwrap();
    let TransportEvent::NewAddress { listen_addr, .. } = event(&mut transport).await else { panic!("no address") };
    let address = socket_address(&listen_addr).unwrap();
    (transport, address)
}

fn dial(transport: &mut QuicTransport, address: Multiaddr) -> Result<Connecting, TransportError<QuicError>> {
    transport.dial(address, DialOpts { role: Role::Dialer, port_use: PortUse::Reuse })
}

/// Takes in all who come, and keeps the connections.
async fn accept(mut transport: QuicTransport, accepted: tokio::sync::mpsc::UnboundedSender<(PeerId, QuicConnection)>) {
    loop {
        if let TransportEvent::Incoming { upgrade, .. } = event(&mut transport).await {
            let accepted = accepted.clone();
            tokio::spawn(async move {
                if let Ok(connection) = upgrade.await {
                    let _ = accepted.send(connection);
                }
            });
        }
    }
}

async fn pair() -> ((PeerId, QuicConnection), (PeerId, QuicConnection)) {
    let ((mut listener, address), mut dialler) = (listening(1).await, transport(2));
    let dialled = dial(&mut dialler, multiaddr(address)).unwrap();
    let TransportEvent::Incoming { upgrade, send_back_addr, .. } = event(&mut listener).await else {
        panic!("nothing came in");
    };
    assert!(socket_address(&send_back_addr).unwrap().ip().is_loopback());
    let (dialled, accepted) = future::join(dialled, upgrade).await;
    (dialled.unwrap(), accepted.unwrap())
}

#[tokio::test]
async fn both_sides_learn_whom_they_speak_to_and_bytes_go_both_ways() {
    let ((there, mut dialled), (here, mut accepted)) = pair().await;
    assert_eq!((there, here), (keypair(1).public().to_peer_id(), keypair(2).public().to_peer_id()));
    let asking = async {
        let mut stream = poll_fn(|cx| dialled.poll_outbound_unpin(cx)).await.unwrap();
        stream.write_all(b"who?").await.unwrap();
        stream.close().await.unwrap();
        stream.close().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answering = async {
        let mut stream = poll_fn(|cx| accepted.poll_inbound_unpin(cx)).await.unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"who?");
        stream.write_all(&[7; 100_000]).await.unwrap();
        stream.close().await.unwrap();
    };
    assert_eq!(future::join(asking, answering).await.0, vec![7; 100_000]);
    poll_fn(|cx| dialled.poll_close_unpin(cx)).await.unwrap();
    assert!(poll_fn(|cx| accepted.poll_inbound_unpin(cx)).await.is_err(), "the other side sees the end");
}

#[tokio::test]
async fn a_peer_has_no_more_streams_than_it_may() {
    let ((_, mut dialled), _accepted) = pair().await;
    let mut streams = Vec::new();
    for _ in 0..CONFIG.max_streams {
        streams.push(poll_fn(|cx| dialled.poll_outbound_unpin(cx)).await.unwrap());
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut dialled).poll_outbound(&mut cx).is_pending());
}

#[tokio::test]
async fn whoever_has_another_key_than_the_address_says_is_refused_in_the_handshake() {
    let ((listener, address), mut dialler) = (listening(1).await, transport(2));
    let (sender, _accepted) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(accept(listener, sender));
    let to = |secret| multiaddr(address).with(Protocol::P2p(keypair(secret).public().to_peer_id()));
    let error = dial(&mut dialler, to(3)).unwrap().await.unwrap_err();
    assert!(matches!(error, QuicError::Connection(quinn::ConnectionError::TransportError(_))), "{error}");
    assert!(dial(&mut dialler, to(1)).unwrap().await.is_ok());
}

#[tokio::test]
async fn only_quic_addresses_of_hosts_are_dialled() {
    let mut transport = transport(1);
    let refused = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/udp/0/quic-v1", "/memory/1"];
    for address in refused.into_iter().chain(["/ip4/0.0.0.0/udp/1/quic-v1", "/dns4/localhost/udp/1/quic-v1"]) {
        let dialled = dial(&mut transport, address.parse().unwrap());
        assert!(matches!(dialled, Err(TransportError::MultiaddrNotSupported(_))), "{address}");
    }
    let listened = transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/1".parse().unwrap());
    assert!(matches!(listened, Err(TransportError::MultiaddrNotSupported(_))));
}

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_listener_that_is_removed_says_so_once() {
    let mut transport = transport(1);
    let id = ListenerId::next();
    transport.listen_on(id, multiaddr(([127, 0, 0, 1], 0).into())).unwrap();
    assert!(matches!(event(&mut transport).await, TransportEvent::NewAddress { .. }));
    let woken = Arc::<Woken>::default();
    let waker = woken.clone().into();
    let polled = pin!(event(&mut transport)).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    assert!(transport.remove_listener(id) && !transport.remove_listener(id));
    assert!(woken.0.load(Ordering::Relaxed), "whoever waits for an event is told");
    let closed = event(&mut transport).await;
    assert!(matches!(closed, TransportEvent::ListenerClosed { listener_id, reason: Ok(()) } if listener_id == id));
    assert!(future::poll_immediate(event(&mut transport)).await.is_none());
}

/// The first datagram of a dial that goes no further, as a flood sends it.
async fn first_datagram() -> Vec<u8> {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut dialler = transport(9);
    let dialled = dial(&mut dialler, multiaddr(sink.local_addr().unwrap())).unwrap();
    let receiving = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; 2048];
        let length = sink.recv(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    });
    tokio::select! {
        _ = dialled => panic!("nobody answers"),
        bytes = receiving => bytes.unwrap(),
    }
}

#[tokio::test]
async fn a_flood_of_first_datagrams_keeps_nobody_out() {
    let (listener, address) = listening(1).await;
    let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let places = listener.settings.places.clone();
    tokio::spawn(accept(listener, sender));
    // Many more than there are places, each for a connection of its own: the ID that its keys come from is another.
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..2 * CONFIG.handshakes {
        flood.send_to(&first_datagram().await, address).unwrap();
    }
    for secret in 20..30 {
        let mut dialler = transport(secret);
        let dialled = dial(&mut dialler, multiaddr(address)).unwrap();
        let connected = tokio::time::timeout(PATIENCE / 2, dialled).await.expect("kept out");
        assert_eq!(connected.unwrap().0, keypair(1).public().to_peer_id());
        assert_eq!(accepted.recv().await.unwrap().0, keypair(secret).public().to_peer_id());
    }
    // The flood holds what unproved addresses may have, and no more.
    assert!(matches!(places.enter(IpAddr::from([127, 0, 0, 1]), false), places::Verdict::Prove));
}
