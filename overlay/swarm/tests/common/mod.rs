//! Peers that serve made-up blocks, for the tests of this crate.
#![allow(dead_code, clippy::unwrap_used)] // Each test program uses a part; one that fails to set up has failed.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::Arc,
};

use alloy_primitives::B256;
use bytes::Bytes;
use cairn_archive::snappy::{self, Encoder};
use cairn_limits::Holder;
use cairn_swarm::{
    download::DownloadConfig,
    geometry::{Component, Part, RUN_BLOCKS},
    quic::{
        Config, FetchOptions, Held, Identity, Items, Library, NotServed, PeerAddress, PutError, Received, Sink, Swarm,
    },
    wire::{Encoding, Encodings},
};
use content_types::{ContentKey, history};
use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) const BLOCKS: u64 = 600;

pub(crate) fn item(component: Component, number: u64) -> Bytes {
    let length = match component {
        Component::Headers => 600,
        Component::Bodies => 200 + number as usize * 97 % 30_000,
        Component::Receipts => number as usize % 5_000,
    };
    let bytes: Vec<u8> =
        (0..length).map(|at| (at as u64 * 31 + number * 7 + u64::from(component.code())) as u8).collect();
    match component {
        Component::Headers => bytes.into(),
        // No more than this is looked at before an item is whole.
        Component::Bodies | Component::Receipts => {
            let mut list = Vec::new();
            alloy_rlp::Header { list: true, payload_length: length }.encode(&mut list);
            [list, bytes].concat().into()
        }
    }
}

pub(crate) fn compressed(item: &Bytes) -> Bytes {
    let mut stream = Vec::new();
    Encoder::new().encode(item, &mut stream).unwrap();
    stream.into()
}

/// Serves blocks, one of so many bodies wrong.
pub(crate) struct Blocks {
    pub(crate) held: watch::Sender<Arc<Held>>,
    pub(crate) lie: Option<u64>,
    /// What the lies are of.
    pub(crate) lies_of: Component,
    pub(crate) encoding: Encoding,
}

impl Blocks {
    pub(crate) fn new(runs: Range<u64>, lie: Option<u64>) -> Arc<Self> {
        let mut held = Held::default();
        held.iter_mut().for_each(|of| assert!(of.insert(runs.clone())));
        Arc::new(Self {
            held: watch::Sender::new(Arc::new(held)),
            lie,
            lies_of: Component::Bodies,
            encoding: Encoding::Plain,
        })
    }

    pub(crate) fn compressed(runs: Range<u64>, lie: Option<u64>) -> Arc<Self> {
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
            let is_lie = part.component == self.lies_of && self.lie.is_some_and(|of| number.is_multiple_of(of));
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
pub(crate) struct Kept(pub(crate) Mutex<BTreeMap<(Component, u64), Bytes>>);

impl Sink for Kept {
    fn put(&self, component: Component, number: u64, received: &Received) -> Result<(), PutError> {
        let bytes = &received.item;
        if *bytes != item(component, number) {
            return Err(PutError::Invalid("not the item".into()));
        }
        // What came compressed is told as it came, too.
        if let Some(stream) = &received.stream {
            assert_eq!(snappy::decode(stream, bytes.len()).unwrap(), bytes[..]);
        }
        assert!(self.0.lock().insert((component, number), bytes.clone()).is_none());
        Ok(())
    }
}

pub(crate) fn key(number: u8) -> ([u8; 32], [u8; 33]) {
    let secret = [number; 32];
    let parsed = libp2p_identity::secp256k1::SecretKey::try_from_bytes(&mut secret.clone()).unwrap();
    (secret, libp2p_identity::secp256k1::Keypair::from(parsed).public().to_bytes())
}

pub(crate) fn start_on(chain: u64, number: u8, library: Arc<Blocks>) -> (Swarm, PeerAddress) {
    let config = Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), chain, B256::ZERO);
    let (secret, key) = key(number);
    let record = watch::Sender::new(Vec::new()).subscribe();
    let swarm = Swarm::start(config, Identity::new(secret).unwrap(), library, record).unwrap();
    let address = swarm.local_addr().unwrap();
    (swarm, PeerAddress { key, address })
}

pub(crate) fn start(number: u8, library: Arc<Blocks>) -> (Swarm, PeerAddress) {
    start_on(1, number, library)
}

pub(crate) fn everything() -> [(Component, Range<u64>); 3] {
    Component::ALL.map(|component| (component, 0..BLOCKS))
}

pub(crate) fn options() -> FetchOptions {
    FetchOptions {
        download: DownloadConfig { part_bytes: 64 << 10, ..DownloadConfig::default() },
        ..FetchOptions::default()
    }
}
