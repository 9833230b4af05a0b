//! A storage peer inside a program of one's own: started, asked how it is, and stopped in order.
//!
//!     cargo run --release -p cairn-node --example embed_node -- DATA_DIR [SECONDS]

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use cairn_node::{Node, NodeConfig};
use content_types::ChainSpec;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let data_dir = args.next().ok_or("usage: embed_node DATA_DIR [SECONDS]")?;
    let seconds = args.next().map_or(Ok(60), |text| text.parse())?;

    // Everything that a node is told is in this value. There is no global state: several nodes live in one process.
    let mut config = NodeConfig::new(Arc::new(ChainSpec::mainnet()), data_dir);
    config.capacity = 1_000_000_000;
    // Records of peers to start from go into `config.bootnodes`; the command `cairn` brings those of mainnet.

    let node = Node::start(config).await?;
    println!("{} listens on {:?}", node.node_id(), node.status().listen);

    // A program that runs for months would wait for its own signals here.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    for network in node.status().networks {
        println!("{}: {} peers, {} items, {} bytes", network.network, network.peers, network.items, network.bytes);
    }

    // Ends in five seconds at most. What was acknowledged is on the disk in any case; this spares the next start its repairs.
    node.shutdown().await;
    Ok(())
}
