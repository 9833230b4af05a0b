//! Peers that speak the protocol badly, beside one that only wants its blocks: floods of control messages, answers that nobody
//! reads, items for nothing, headers that cannot be judged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use cairn_swarm::geometry::{Component, MAX_BLOCK, Part};
use cairn_swarm::quic::{
    Config, Fetch, FetchOptions, Identity, ItemError, PeerAddress, PutError, Received, Sink, Swarm, SwarmFetchError,
};
use cairn_swarm::wire::{ALPN, AnswerStatus, Control, Encodings, Have, Hello, Predict, SwarmRequest, frame_head};
use cairn_tls::Certificate;
use common::{BLOCKS, Blocks, Kept, everything, item, key, options, start};
use content_types::{ContentKey, Distance, history};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, SendStream, TransportConfig, VarInt};
use tokio_util::sync::CancellationToken;

/// How long a test waits for something that should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// The code that a connection is closed with when its peer is barred (`PROTOCOL.md`, "Finding and connecting").
const BARRED: VarInt = VarInt::from_u32(6);

/// A peer without manners: a bare QUIC connection with a certificate, and its control stream.
struct Rogue {
    connection: Connection,
    control: SendStream,
    _endpoint: Endpoint,
}

impl Rogue {
    /// Connects, without any room for answers where `is_mute`, and says hello.
    async fn dial(number: u8, to: PeerAddress, is_mute: bool) -> Self {
        let secret = libp2p_identity::secp256k1::SecretKey::try_from_bytes(&mut [number; 32]).unwrap();
        let keypair = libp2p_identity::secp256k1::Keypair::from(secret);
        let certificate = Certificate::generate(&keypair.into()).unwrap();
        let crypto = QuicClientConfig::try_from(certificate.client_config(None, ALPN).unwrap()).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        if is_mute {
            let mut transport = TransportConfig::default();
            transport.stream_receive_window(VarInt::from_u32(0));
            config.transport_config(Arc::new(transport));
        }
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let connection = endpoint.connect_with(config, to.address, "cairn").unwrap().await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        let hello = Hello {
            chain_id: 1,
            genesis: B256::ZERO,
            max_requests: 64,
            encodings: Encodings::ALL,
            enr: Vec::new(),
            client: Vec::new(),
        };
        control.write_all(&framed(&Control::Hello(hello))).await.unwrap();
        Self { connection, control, _endpoint: endpoint }
    }

    /// Sends a message so many times, or until the connection is closed.
    async fn repeat(&mut self, message: &Control, times: usize) {
        let messages = framed(message).repeat(1024);
        for _ in 0..times / 1024 {
            if self.control.write_all(&messages).await.is_err() {
                return;
            }
        }
    }

    /// Says that it holds the bodies and serves, and answers requests with the beginning of one item, until the connection
    /// ends.
    async fn boast(&mut self, begun: &Bytes, length: u32) -> ConnectionError {
        let have = Control::Have(Have { component: Component::Bodies.code(), first_run: 0, runs: vec![0xff] });
        self.control.write_all(&[framed(&have), framed(&Control::Unchoke)].concat()).await.unwrap();
        let answer = [&[0, 0], frame_head(length).as_bytes(), begun].concat();
        // Both ends of a stream are kept, so that nothing tells of an end.
        let mut streams = Vec::new();
        loop {
            match self.connection.accept_bi().await {
                Ok((mut send, receive)) => {
                    let _ = send.write_all(&answer).await;
                    streams.push((send, receive));
                }
                Err(end) => break end,
            }
        }
    }

    async fn ask(&self, request: &SwarmRequest) {
        let (mut send, _) = self.connection.open_bi().await.unwrap();
        send.write_all(&request.encode()).await.unwrap();
        send.finish().unwrap();
    }
}

fn framed(message: &Control) -> Vec<u8> {
    let message = message.encode();
    [frame_head(message.len() as u32).as_bytes(), &message[..]].concat()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

fn body(number: u64) -> ContentKey {
    history::ContentKey::BlockBody { number }.into()
}

/// Fetches everything from whoever is connected.
async fn fetch(swarm: &Swarm, sink: Arc<dyn Sink>, options: &FetchOptions) -> Result<(), SwarmFetchError> {
    let fetch = Fetch::new(swarm.clone(), options, everything(), [], &sink);
    soon("the fetch", fetch.run(&CancellationToken::new())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_prediction_takes_long_and_honest_peers_are_served_beside_it() {
    let (_seeder, address) = start(1, Blocks::new(0..3, None));
    let mut rogue = Rogue::dial(20, address, false).await;
    // A walk over all blocks that this tells of would take days.
    for radius in [Distance::ZERO, Distance::from_log2(0)] {
        let predict = Control::Predict(Predict::new(radius, u64::MAX));
        rogue.control.write_all(&framed(&predict)).await.unwrap();
    }
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    let session = soon("a session", swarm.connect(address)).await.unwrap();
    assert_eq!(soon("an item", session.item(&body(7))).await.unwrap(), item(Component::Bodies, 7));
    assert!(MAX_BLOCK < u64::from(u32::MAX), "what is walked over is bounded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_control_messages_ends_the_connection_and_connecting_anew_renews_nothing() {
    let (seeder, address) = start(1, Blocks::new(0..3, None));
    let mut rogue = Rogue::dial(21, address, false).await;
    rogue.repeat(&Control::Interested, 1 << 20).await;
    soon("the end of the first", rogue.connection.closed()).await;
    // A quarter of what a stranger may send, and far more than flows in again meanwhile.
    let mut again = Rogue::dial(21, address, false).await;
    again.repeat(&Control::Interested, 4 << 10).await;
    soon("the end of the next", again.connection.closed()).await;
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    assert!(soon("another's session", swarm.connect(address)).await.is_ok());
    drop(seeder);
}

/// Two peers ask for as much as they may and have no room for any of it. What they have of the memory for answers is their
/// share, and they lose it to whoever waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_hold_up_nobody_else() {
    let library = Blocks::new(0..3, None);
    let config = Config { upload_buffer: 2 << 20, ..config() };
    let (secret, key) = key(1);
    let record = tokio::sync::watch::Sender::new(Vec::new()).subscribe();
    let seeder = Swarm::start(config, Identity::new(secret).unwrap(), library, record).unwrap();
    let address = PeerAddress { key, address: seeder.local_addr().unwrap() };
    let mut rogues = Vec::new();
    for number in 22..26 {
        let mut rogue = Rogue::dial(number, address, true).await;
        rogue.control.write_all(&framed(&Control::Interested)).await.unwrap();
        for _ in 0..32 {
            let part = Part::new(Component::Bodies, 0..256).unwrap();
            rogue.ask(&SwarmRequest::Part(part, Encodings::PLAIN)).await;
            rogue.ask(&SwarmRequest::Item(cairn_swarm::wire::ItemKey(body(1)))).await;
        }
        rogues.push(rogue);
    }
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    swarm.connect(address).await.unwrap();
    let kept = Arc::new(Kept::default());
    fetch(&swarm, kept.clone(), &options()).await.unwrap();
    assert_eq!(kept.0.lock().len() as u64, 3 * BLOCKS);
    drop(rogues);
}

/// They would be found out when they are whole, which they never are; and nobody waits for their silence here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_as_no_item_can_bars_its_sender_before_it_is_whole() {
    const CLAIMED: u32 = 16 << 20;
    let (swarm, address) = start(9, Blocks::new(0..0, None));
    let sink: Arc<dyn Sink> = Arc::new(Kept::default());
    let bodies = [(Component::Bodies, 0..BLOCKS)];
    let mut options = options();
    options.download.request_timeout = 10 * PATIENCE;
    let (fetch, stop) =
        (Fetch::new(swarm.clone(), &options, bodies, std::iter::once(0..BLOCKS), &sink), CancellationToken::new());
    let rogues = async {
        for (number, begun) in (30..).zip([Bytes::from_static(&[0; 4000]), item(Component::Bodies, 250)]) {
            let mut rogue = Rogue::dial(number, address, false).await;
            let end = soon("the bar", rogue.boast(&begun, CLAIMED)).await;
            assert!(matches!(&end, ConnectionError::ApplicationClosed(close) if close.error_code == BARRED), "{end}");
        }
        stop.cancel();
    };
    let (outcome, ()) = tokio::join!(fetch.run(&stop), rogues);
    assert!(matches!(outcome, Err(SwarmFetchError::Stopped)), "nobody had anything");
}

fn config() -> Config {
    Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1, B256::ZERO)
}

/// Who is not served has single items within an allowance; whoever wants more waits for its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_for_who_is_not_served_have_an_end() {
    let (_seeder, address) = start(1, Blocks::new(0..3, None));
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    let session = swarm.connect(address).await.unwrap();
    let mut bytes = 0;
    let refused = loop {
        match session.item(&body(300)).await {
            Ok(item) => bytes += item.len(),
            Err(error) => break error,
        }
        assert!(bytes < 100 << 20, "there is no end to it");
    };
    assert!(matches!(refused, ItemError::Refused(AnswerStatus::Busy)), "{refused}");
    assert!(bytes > 1 << 20, "a lookup or two go through: {bytes}");
}

/// Keeps everything but headers whose peer says that they lie beyond what can be judged.
#[derive(Default)]
struct Judges(Kept);

/// A header that claims a time beyond all lists.
const BEYOND: &[u8] = b"a lie, and no stream";

impl Sink for Judges {
    fn put(&self, component: Component, number: u64, received: &Received) -> Result<(), PutError> {
        match &received.item[..] {
            BEYOND => Err(PutError::Doubtful("the lists end before it".into())),
            _ => self.0.put(component, number, received),
        }
    }
}

fn in_doubt() -> Arc<Blocks> {
    let blocks = Arc::into_inner(Blocks::new(0..3, Some(1))).unwrap();
    Arc::new(Blocks { lies_of: Component::Headers, ..blocks })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_cannot_be_judged_end_no_fetch_that_others_can_serve() {
    let peers = [start(1, in_doubt()), start(2, Blocks::new(0..3, None))];
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    for (_, address) in &peers {
        swarm.connect(*address).await.unwrap();
    }
    let sink = Arc::new(Judges::default());
    fetch(&swarm, sink.clone(), &options()).await.unwrap();
    assert_eq!(sink.0.0.lock().len() as u64, 3 * BLOCKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nobody_has_others_the_fetch_says_what_is_missing_to_judge_them() {
    let (_peer, address) = start(1, in_doubt());
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    swarm.connect(address).await.unwrap();
    let options = FetchOptions { doubt_patience: Duration::from_millis(100), ..options() };
    let error = fetch(&swarm, Arc::new(Judges::default()), &options).await.unwrap_err();
    assert!(matches!(&error, SwarmFetchError::Unproved { peers: 1, .. }), "{error}");
    assert!(error.to_string().contains("the lists end before it"), "{error}");
}
