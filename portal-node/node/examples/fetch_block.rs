//! One block from the network, proved: a peer that stores nothing is started beside whatever else runs.
//!
//!     cargo run --release -p cairn-node --example fetch_block -- NUMBER RECORD...
//!
//! The records are of peers to start from (`enr:...`).

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cairn_node::{BlockId, Node, NodeConfig};
use content_types::ChainSpec;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let number: u64 = args.next().ok_or("usage: fetch_block NUMBER RECORD...")?.parse()?;

    let folder = tempfile::tempdir()?;
    let mut config = NodeConfig::new(Arc::new(ChainSpec::mainnet()), folder.path());
    // It stores nothing, and takes any port that is free.
    config.capacity = 0;
    config.listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into();
    config.bootnodes = args.map(|record| record.parse()).collect::<Result<_, String>>()?;
    let node = Node::start(config).await?;

    // The lists that headers are proved with; each is checked against a root that is compiled in.
    node.prepare_to_fetch().await;

    // What comes back was checked: the header by its proof, body and receipts by the header.
    match node.fetch().block(BlockId::Number(number)).await {
        Ok(block) => {
            println!("block {number} has the hash {}", block.header.hash());
            println!("a body of {} bytes, receipts of {} bytes", block.body.len(), block.receipts.len());
        }
        Err(error) => {
            println!("{error}");
            // Who was asked, and what each answered.
            error.traces().into_iter().flat_map(|trace| trace.lines()).for_each(|line| println!("  {line}"));
        }
    }
    node.shutdown().await;
    Ok(())
}
