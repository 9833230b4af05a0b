//! A peer that holds what another holds, asks that one for whatever it is asked for, and flips one byte in the body of every
//! hundredth block. For `scripts/bench-swarm`.
//!
//! ```text
//! liar KEY_FILE LISTEN CHAIN_ID GENESIS OTHER_KEY_FILE OTHER_ADDRESS     prints its node ID, and serves
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends by panicking, and prints")]

use std::{env, fs, future::pending, net::SocketAddr, sync::Arc};

use alloy_primitives::hex;
use bytes::Bytes;
use cairn_limits::Holder;
use cairn_swarm::{
    geometry::{Component, Part},
    quic::{Config, Held, Identity, Items, Library, NotServed, PeerAddress, Session, Swarm},
    wire::{Encoding, Encodings},
};
use content_types::{ContentKey, history, legacy_history};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

/// A lie in the body of every block whose number is a multiple.
const LIE_EVERY: u64 = 100;

struct Liar {
    held: watch::Sender<Arc<Held>>,
    source: Mutex<Option<Arc<Session>>>,
}

impl Library for Liar {
    fn held(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    fn read(&self, _: Holder, part: Part, _: Encodings, max_bytes: usize) -> BoxFuture<'_, Result<Items, NotServed>> {
        Box::pin(self.items(part, max_bytes))
    }

    fn item(&self, _: Holder, _: ContentKey) -> BoxFuture<'_, Result<Bytes, NotServed>> {
        Box::pin(async { Err(NotServed::NotHeld) })
    }
}

impl Liar {
    async fn items(&self, part: Part, max_bytes: usize) -> Result<Items, NotServed> {
        let source = self.source.lock().clone().ok_or(NotServed::NotHeld)?;
        let (mut items, mut bytes) = (Vec::new(), 0);
        for number in part.blocks() {
            let key: ContentKey = match part.component {
                Component::Headers => legacy_history::ContentKey::HeaderByNumber(number).into(),
                Component::Bodies => history::ContentKey::BlockBody { number }.into(),
                Component::Receipts => history::ContentKey::BlockReceipts { number }.into(),
            };
            let Ok(item) = source.item(&key).await else { break };
            let mut item = Vec::from(item);
            if part.component == Component::Bodies && number.is_multiple_of(LIE_EVERY) {
                let middle = item.len() / 2;
                item[middle] ^= 1;
            }
            bytes += item.len();
            items.push(item.into());
            if bytes >= max_bytes {
                break;
            }
        }
        if items.is_empty() { Err(NotServed::NotHeld) } else { Ok(Items { encoding: Encoding::Plain, items }) }
    }
}

fn secret(file: &str) -> [u8; 32] {
    hex::decode(fs::read_to_string(file).unwrap().trim()).unwrap().try_into().unwrap()
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [key_file, listen, chain_id, genesis, other_key_file, other_address] = &args[..] else {
        panic!("liar KEY_FILE LISTEN CHAIN_ID GENESIS OTHER_KEY_FILE OTHER_ADDRESS");
    };
    let library = Arc::new(Liar { held: watch::Sender::default(), source: Mutex::default() });
    let listen: SocketAddr = listen.parse().unwrap();
    let config = Config::new(listen, chain_id.parse().unwrap(), genesis.parse().unwrap());
    let record = watch::Sender::new(Vec::new()).subscribe();
    let swarm = Swarm::start(config, Identity::new(secret(key_file)).unwrap(), library.clone(), record).unwrap();

    let other = libp2p_identity::secp256k1::SecretKey::try_from_bytes(&mut secret(other_key_file)).unwrap();
    let key = libp2p_identity::secp256k1::Keypair::from(other).public().to_bytes();
    let mut changes = swarm.changes();
    let source = swarm.connect(PeerAddress { key, address: other_address.parse().unwrap() }).await.unwrap();
    while source.view().held.iter().any(|runs| runs.is_empty()) {
        changes.changed().await.unwrap();
    }
    *library.source.lock() = Some(Arc::clone(&source));
    library.held.send_replace(source.view().held);
    println!("{}", swarm.node_id());
    pending::<()>().await;
}
