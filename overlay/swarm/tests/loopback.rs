//! Endpoints on loopback: fetches from several peers, a liar among them, a peer with another key, another chain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::Arc,
};

use alloy_primitives::B256;
use bytes::Bytes;
use cairn_archive::snappy::Encoder;
use cairn_limits::Holder;
use cairn_swarm::{
    download::DownloadConfig,
    geometry::{Component, Part, RUN_BLOCKS},
    quic::{
        Config, ConnectError, Fetch, FetchError, FetchOptions, Held, Identity, ItemError, Items, Library, NotServed,
        PeerAddress, PutError, Sink, Swarm,
    },
    wire::{Encoding, Encodings, Status},
};
use content_types::{ContentKey, history};
use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const BLOCKS: u64 = 600;

fn item(component: Component, number: u64) -> Bytes {
    let length = match component {
        Component::Headers => 600,
        Component::Bodies => 200 + number as usize * 97 % 30_000,
        Component::Receipts => number as usize % 5_000,
    };
    (0..length).map(|at| (at as u64 * 31 + number * 7 + u64::from(component.code())) as u8).collect()
}

fn compressed(item: &Bytes) -> Bytes {
    let mut stream = Vec::new();
    Encoder::new().encode(item, &mut stream).unwrap();
    stream.into()
}

/// Serves blocks, one of so many bodies wrong.
struct Blocks {
    held: watch::Sender<Arc<Held>>,
    lie: Option<u64>,
    encoding: Encoding,
}

impl Blocks {
    fn new(runs: Range<u64>, lie: Option<u64>) -> Arc<Self> {
        let mut held = Held::default();
        held.iter_mut().for_each(|of| assert!(of.insert(runs.clone())));
        Arc::new(Self { held: watch::Sender::new(Arc::new(held)), lie, encoding: Encoding::Plain })
    }

    fn compressed(runs: Range<u64>, lie: Option<u64>) -> Arc<Self> {
        let blocks = Arc::into_inner(Self::new(runs, lie)).unwrap();
        Arc::new(Self { encoding: Encoding::Snappy, ..blocks })
    }
}

impl Library for Blocks {
    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    fn read(
        &self,
        _: Holder,
        part: Part,
        encodings: Encodings,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Items, NotServed>> {
        ready(self.items(part, encodings, max_bytes)).boxed()
    }

    fn item(&self, _: Holder, key: ContentKey) -> BoxFuture<'_, Result<Bytes, NotServed>> {
        let item = match key {
            ContentKey::History(history::ContentKey::BlockBody { number }) => Ok(item(Component::Bodies, number)),
            _ => Err(NotServed::NotHeld),
        };
        ready(item).boxed()
    }
}

impl Blocks {
    fn items(&self, part: Part, encodings: Encodings, max_bytes: usize) -> Result<Items, NotServed> {
        if !self.held.borrow()[part.component.index()].contains(part.first / RUN_BLOCKS) {
            return Err(NotServed::NotHeld);
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        for number in part.blocks().take_while(|number| *number < BLOCKS) {
            let is_lie = part.component == Component::Bodies && self.lie.is_some_and(|of| number.is_multiple_of(of));
            let item = match (is_lie, self.encoding) {
                (true, _) => Bytes::from_static(b"a lie, and no stream"),
                (false, Encoding::Plain) => item(part.component, number),
                (false, Encoding::Snappy) => compressed(&item(part.component, number)),
            };
            bytes += item.len();
            items.push(item);
            if bytes > max_bytes {
                break;
            }
        }
        assert!(encodings.has(self.encoding));
        Ok(Items { encoding: self.encoding, items })
    }
}

#[derive(Default)]
struct Kept(Mutex<BTreeMap<(Component, u64), Bytes>>);

impl Sink for Kept {
    fn put(&self, component: Component, number: u64, bytes: &Bytes) -> Result<(), PutError> {
        if *bytes != item(component, number) {
            return Err(PutError::Invalid("not the item".into()));
        }
        assert!(self.0.lock().insert((component, number), bytes.clone()).is_none());
        Ok(())
    }
}

/// A sink whose disk is full.
struct Full;

impl Sink for Full {
    fn put(&self, _: Component, _: u64, _: &Bytes) -> Result<(), PutError> {
        Err(PutError::Failed("the disk is full".into()))
    }
}

fn key(number: u8) -> ([u8; 32], [u8; 33]) {
    let secret = [number; 32];
    let parsed = libp2p_identity::secp256k1::SecretKey::try_from_bytes(&mut secret.clone()).unwrap();
    (secret, libp2p_identity::secp256k1::Keypair::from(parsed).public().to_bytes())
}

fn start_on(chain: u64, number: u8, library: Arc<Blocks>) -> (Swarm, PeerAddress) {
    let config = Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), chain, B256::ZERO);
    let (secret, key) = key(number);
    let record = watch::Sender::new(Vec::new()).subscribe();
    let swarm = Swarm::start(config, Identity::new(secret).unwrap(), library, record).unwrap();
    let address = swarm.local_addr().unwrap();
    (swarm, PeerAddress { key, address })
}

fn start(number: u8, library: Arc<Blocks>) -> (Swarm, PeerAddress) {
    start_on(1, number, library)
}

fn everything() -> [(Component, Range<u64>); 3] {
    Component::ALL.map(|component| (component, 0..BLOCKS))
}

fn options() -> FetchOptions {
    FetchOptions {
        download: DownloadConfig { part_bytes: 64 << 10, ..DownloadConfig::default() },
        ..FetchOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_comes_from_several_peers_and_a_liar_is_barred() {
    from_several_with_a_liar(Blocks::new(0..3, Some(50))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decompressed_is_a_lie() {
    from_several_with_a_liar(Blocks::compressed(0..3, Some(50))).await;
}

async fn from_several_with_a_liar(liar: Arc<Blocks>) {
    let peers = [start(1, Blocks::new(0..3, None)), start(2, Blocks::compressed(0..2, None)), start(3, liar)];
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    swarm.connect(peers[2].1).await.unwrap();
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = kept.clone();
    let fetch = Fetch::new(swarm.clone(), &options(), everything(), [], &sink);
    let mut progress = fetch.progress();
    let running = tokio::spawn(async move { fetch.run(&CancellationToken::new()).await });
    // Alone it is asked for all, its lies among it.
    progress.wait_for(|progress| progress.invalid > 0).await.unwrap();
    for (_, address) in &peers[..2] {
        swarm.connect(*address).await.unwrap();
    }
    running.await.unwrap().unwrap();
    assert_eq!(kept.0.lock().len() as u64, 3 * BLOCKS);
    let liar = peers[2].0.node_id();
    assert!(swarm.barred_for(&liar).is_some());
    assert!(matches!(swarm.connect(peers[2].1).await, Err(ConnectError::Barred(_))));
    assert!(peers[..2].iter().all(|(peer, _)| swarm.barred_for(&peer.node_id()).is_none()));
    assert!(progress.borrow().invalid >= 1 && progress.borrow().total.missing == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_comes_to_hold_is_fetched_when_it_says_so() {
    let library = Blocks::new(0..1, None);
    let (peer, address) = start(1, library.clone());
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = kept.clone();
    let fetch = Fetch::new(swarm.clone(), &options(), everything(), [], &sink);
    let mut progress = fetch.progress();
    let running = tokio::spawn(async move { fetch.run(&CancellationToken::new()).await });
    swarm.connect(address).await.unwrap();
    progress.wait_for(|progress| progress.total.missing == 3 * (BLOCKS - RUN_BLOCKS)).await.unwrap();
    assert_eq!(progress.borrow().total.unreachable, 3 * (BLOCKS - RUN_BLOCKS));
    library.held.send_modify(|held| {
        Arc::make_mut(held).iter_mut().for_each(|of| assert!(of.insert(0..3)));
    });
    running.await.unwrap().unwrap();
    assert_eq!(kept.0.lock().len() as u64, 3 * BLOCKS);
    peer.shutdown().await;
}

#[tokio::test]
async fn items_come_in_one_round_trip_or_not_at_all() {
    let (_peer, address) = start(1, Blocks::new(0..3, None));
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    let session = swarm.connect(address).await.unwrap();
    let body = |number| ContentKey::from(history::ContentKey::BlockBody { number });
    assert_eq!(session.item(&body(77)).await.unwrap(), item(Component::Bodies, 77));
    let receipts = history::ContentKey::BlockReceipts { number: 5 }.into();
    assert!(matches!(session.item(&receipts).await, Err(ItemError::Refused(Status::NotHeld))));
}

#[tokio::test]
async fn a_peer_with_another_key_or_chain_is_dropped() {
    let (_peer, address) = start(1, Blocks::new(0..3, None));
    let (_other_chain, of_other_chain) = start_on(5, 2, Blocks::new(0..3, None));
    let (swarm, own) = start(9, Blocks::new(0..0, None));
    let stranger = PeerAddress { key: key(7).1, address: address.address };
    assert!(matches!(swarm.connect(stranger).await, Err(ConnectError::Connection(_))));
    assert!(matches!(swarm.connect(own).await, Err(ConnectError::Own)));
    assert!(swarm.connect(of_other_chain).await.is_err());
    assert_eq!(swarm.connect(address).await.unwrap().node_id(), cairn_swarm::quic::node_id_of(&address.key).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_and_a_stop_end_a_fetch() {
    let (_peer, address) = start(1, Blocks::new(0..3, None));
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    swarm.connect(address).await.unwrap();
    let full: Arc<dyn Sink> = Arc::new(Full);
    let outcome = Fetch::new(swarm.clone(), &options(), everything(), [], &full).run(&CancellationToken::new()).await;
    assert!(matches!(outcome, Err(FetchError::Sink(error)) if error.to_string() == "the disk is full"));
    let stop = CancellationToken::new();
    stop.cancel();
    let kept: Arc<dyn Sink> = Arc::new(Kept::default());
    let outcome = Fetch::new(swarm, &options(), everything(), [], &kept).run(&stop).await;
    assert!(matches!(outcome, Err(FetchError::Stopped)));
}
