//! A network that holds the state of some blocks, over loopback: peers that share it by content ID, and a newcomer that reads accounts,
//! slots and code from it, equal to what they are, over QUIC and over uTP alone. With figures for whoever runs the large ones:
//!
//! ```text
//! cargo test --release -p cairn-testnet --test state_network -- --ignored --nocapture --test-threads 1
//! ```
//!
//! The same with long paths is in `state_paths.rs`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // clippy's exception for tests covers only functions marked as such

mod state;

use cairn_node::swarm::QuicPort;
use state::{ChainState, LARGE, Scale, newcomer};

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_reads_the_state_from_peers_that_share_it() {
    run(SMALL, QuicPort::Above).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_reads_the_state_over_utp_alone() {
    run(SMALL, QuicPort::Nowhere).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; for figures"]
async fn a_newcomer_reads_the_state_of_sixteen_peers() {
    run(LARGE, QuicPort::Above).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; for figures"]
async fn a_newcomer_reads_the_state_of_sixteen_peers_over_utp_alone() {
    run(LARGE, QuicPort::Nowhere).await;
}

/// In seconds.
const SMALL: Scale = Scale { peers: 6, accounts: 60, blocks: &[40, 90], reads: 150 };

async fn run(scale: Scale, quic: QuicPort) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = ChainState::new(scale);
    let network = chain.share(quic, &[]).await;
    chain.read(network, newcomer(quic, None, Vec::new()), None).await;
}
