//! Trackers on loopback, and waiting for them.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use cairn_tracker::{Config, Provider, PublicKey, TrackedChain, Tracker, TrackerStatus};
use futures::{Stream, StreamExt};
use libp2p_identity::{Keypair, secp256k1};

pub(crate) const CHAIN: TrackedChain = TrackedChain { id: 1, genesis_hash: [0xd4; 32] };

/// How long a test waits for anything. Only one that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at; what is tested does not depend on it.
const POLL: Duration = Duration::from_millis(10);

pub(crate) fn keypair(secret: u8) -> Keypair {
    secp256k1::Keypair::from(secp256k1::SecretKey::try_from_bytes([secret; 32]).unwrap()).into()
}

pub(crate) fn public_key(secret: u8) -> PublicKey {
    keypair(secret).public().try_into_secp256k1().unwrap().to_bytes()
}

/// A tracker that knows the peers `bootstrap`, by their secrets.
pub(crate) fn config(secret: u8, bootstrap: &[(u8, SocketAddr)]) -> Config {
    Config {
        bootstrap: bootstrap.iter().map(|(secret, address)| (public_key(*secret), *address)).collect(),
        ..Config::new([secret; 32], CHAIN, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

pub(crate) async fn start(secret: u8, bootstrap: &[(u8, SocketAddr)]) -> Tracker {
    Tracker::start(config(secret, bootstrap)).await.unwrap()
}

pub(crate) fn eras(eras: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    eras.into_iter().collect()
}

/// Waits until a tracker's status is as it should be.
pub(crate) async fn until(tracker: &Tracker, what: &str, condition: impl Fn(&TrackerStatus) -> bool) {
    let mut last = None;
    let is_so = async {
        loop {
            let status = tracker.status().await.unwrap();
            if condition(&status) {
                return;
            }
            last = Some(status);
            tokio::time::sleep(POLL).await;
        }
    };
    let is_so = tokio::time::timeout(PATIENCE, is_so).await;
    assert!(is_so.is_ok(), "{what}: {last:?}");
}

/// All that a lookup finds.
pub(crate) async fn found(providers: impl Stream<Item = Provider>) -> Vec<Provider> {
    tokio::time::timeout(PATIENCE, providers.collect()).await.unwrap()
}
