//! What can be typed after `cairn state`.

use std::{num::NonZeroU64, path::PathBuf};

#[cfg(feature = "replay")]
use bytesize::ByteSize;
use cairn_node::headers::BlockId;
use clap::{Args, Subcommand};
use reqwest::Url;

use super::ClaimArgs;
use crate::{flags::NetworkArgs, values};

/// What is done with the state.
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Execute archived blocks from the genesis allocation on, check the state root of each, and hand the state to the network
    ///
    /// The blocks are executed one after the other, and the root of the state behind each has to be the one in its header. The
    /// archives are taken to be right: `cairn verify` tells whether they are. Interrupted or killed at any point, the same command
    /// goes on where it stopped; more archives may come with each run.
    ///
    /// With --offer the peer that runs on the data folder hands out every trie node and code that a block brings, from block 0 on,
    /// with its proof. What is offered names its block by hash, and whoever gets it has to find the header of that block: seed the
    /// history first (`cairn seed ARCHIVES`), and let peers keep a share of the state (`cairn run --shares state=1`). The replay
    /// waits for the network, and a restart hands out what has no end yet.
    #[cfg(feature = "replay")]
    Replay(Box<ReplayArgs>),
    /// Read accounts, slots and code at a block out of the state network, proved
    Get(Box<GetStateArgs>),
    /// Prove accounts at every n-th block by an execution client (eth_getProof) while it has the state, and keep that as capsules
    ///
    /// Each is what `cairn capsule make --rpc` makes, in a file named by chain, block and the head of the block's hash. Interrupted,
    /// the same command goes on after the last file; blocks whose state the client does not have any more are passed over.
    ///
    /// While a peer runs on the data folder, each capsule gets the proof of its header into its file as soon as the trust lists reach
    /// that block.
    Follow(Box<FollowArgs>),
}

/// Flags of `cairn state replay`.
#[cfg(feature = "replay")]
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Archives (.era1, .ere) or folders of them, in any order; blocks that were replayed before need not be among them
    #[arg(required = true, value_name = "PATH", value_parser = values::path())]
    pub(crate) paths: Vec<PathBuf>,
    /// The chain's genesis file, in the form that geth takes (JSON with `alloc`); of a private chain with its `config`
    #[arg(long, value_name = "FILE", value_parser = values::path())]
    pub(crate) genesis: PathBuf,
    /// Folder of the replayed state, made when it is missing [default: state/ in the data folder]
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    pub(crate) state_dir: Option<PathBuf>,
    /// The last block to replay [default: the last one in the archives]
    #[arg(long, value_name = "BLOCK")]
    pub(crate) to: Option<u64>,
    /// Memory for the database of the state
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = values::read::<ByteSize>)]
    pub(crate) cache: ByteSize,
    /// Hand out all new trie nodes and codes through the peer that runs on the data folder
    #[arg(long)]
    pub(crate) offer: bool,
    /// Begin to hand out behind the blocks that were replayed without --offer: what those have brought is not handed out
    #[arg(long, requires = "offer")]
    pub(crate) offer_from_here: bool,
    /// Most seconds to wait while nothing that is handed out comes to an end
    #[arg(long, requires = "offer", default_value_t = 600, value_name = "SECONDS", value_parser = values::read::<u64>)]
    pub(crate) timeout: u64,
}

/// Flags of `cairn state follow`.
#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// JSON-RPC of an execution client; a full node has the state of the last hundred blocks or so
    #[arg(long, value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) rpc: Url,
    #[command(flatten)]
    pub(crate) wanted: ClaimArgs,
    /// Blocks whose number is a multiple of this
    #[arg(long, value_name = "BLOCKS")]
    pub(crate) every: NonZeroU64,
    /// How many blocks have to follow on one: what is younger may be taken back
    #[arg(long, default_value_t = 64, value_name = "BLOCKS")]
    pub(crate) behind: u64,
    /// The last block; without it there is no end
    #[arg(long, value_name = "BLOCK")]
    pub(crate) to: Option<u64>,
    /// Folder for the capsules, made when it is missing
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    pub(crate) out: PathBuf,
    /// Give all capsules in the folder, once their headers are proved, to the peers that keep capsules: everybody can see then which
    /// accounts are in them
    #[arg(long)]
    pub(crate) share: bool,
}

/// Flags of `cairn state get`.
#[derive(Debug, Args)]
pub(crate) struct GetStateArgs {
    #[command(flatten)]
    pub(crate) wanted: ClaimArgs,
    /// The block, by number or hash
    #[arg(long, value_name = "BLOCK")]
    pub(crate) block: BlockId,
    /// Tell each node that was gone through and where it came from; of what is missing, who was asked and what each said
    #[arg(long)]
    pub(crate) trace: bool,
    /// Most seconds to wait for a part of the state that nobody gives
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = values::read::<u64>)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}
