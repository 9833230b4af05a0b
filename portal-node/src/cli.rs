//! What a person can type. The text here is the manual.

mod asked;
mod claims;
mod state;

use std::{num::NonZeroUsize, path::PathBuf};

use alloy_primitives::B256;
use bytesize::ByteSize;
use cairn_archive::{Format, MAX_BLOCKS};
use cairn_node::{headers::BlockId, ranges};
use clap::{Args, Parser, Subcommand, ValueEnum};
use overlay::Enr;
use reqwest::Url;

use crate::{
    flags::{GlobalArgs, NetworkArgs, NodeArgs},
    values,
};

pub(crate) use self::asked::{Asked, BlockRange};
pub(crate) use self::claims::ClaimArgs;
#[cfg(feature = "replay")]
pub(crate) use self::state::ReplayArgs;
pub(crate) use self::state::{FollowArgs, GetStateArgs, StateCommand};

/// Keeps, fetches and seeds Ethereum's history, peer to peer.
///
/// Each piece is checked against the chain itself before it is stored, served or printed. Flags win over CAIRN_*
/// environment variables, those over the configuration file.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a fault of the program or the machine
  2    a command line that cannot be parsed
  3    a value that makes no sense (of a flag, a CAIRN_* variable, or in the file), or an address that is taken
  4    not found on the network, or served by nobody in time
  5    data that is damaged or does not match the chain
  6    a file that cannot be read or written
  7    a peer, mirror or node that cannot be reached; no peer answered
  8    sound and not proved: archives without proofs, blocks beyond the trust lists
  9    a mirror or bucket that was named refuses, or is none
  130  interrupted
  141  nobody reads the output any more, as after `| head`";

/// What a storage peer logs unless told otherwise. libp2p tells an ID of its own.
const STORAGE_PEER_LOG: &str = "info,libp2p_swarm=warn";
/// What other commands log unless told otherwise: they print what they do.
const OTHER_LOG: &str = "warn";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a storage peer within a budget of disk
    Run(NodeArgs),
    /// Serve archives (.era1, .ere) in place and hand their content to the peers that store it
    Seed(SeedArgs),
    /// Fetch headers, bodies, receipts or blocks by number or range, verified
    Fetch(FetchArgs),
    /// Keep whole eras as archives within a budget: fetch what is missing, from many peers at once
    Sync(SyncArgs),
    /// Show, import or fetch the lists that headers are proved against
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Check archives: every header proved, every body and receipt list against its header. The verdict on each is that it is
    /// intact, that it is sound in itself but its headers are not proved, or that it is damaged
    Verify(VerifyArgs),
    /// Convert archives between era1 and ere; one that cannot be converted keeps no other from it
    Convert(ConvertArgs),
    /// Make, check and show proof capsules: accounts of one block, with everything that proves them, in one file
    #[command(subcommand)]
    Capsule(CapsuleCommand),
    /// Bring the state into the network by replaying archived blocks, and read it from there
    #[command(subcommand)]
    State(StateCommand),
    /// Ask a running peer how it is
    Status(StatusArgs),
    /// Show how many peers hold each era, as far as a running peer can see
    Coverage(StatusArgs),
    /// Print a ticket for eras, which `cairn fetch` takes: it names the peers that have them
    Share(ShareArgs),
    /// Print this peer's node record
    Enr(EnrArgs),
    /// Show the main job on a small network inside this process
    Demo(DemoArgs),
}

impl Command {
    /// What it logs unless told otherwise.
    pub(crate) fn default_log(&self) -> &'static str {
        match self {
            Self::Run(_) | Self::Seed(_) => STORAGE_PEER_LOG,
            _ => OTHER_LOG,
        }
    }

    /// Whether it goes on where it stopped when it is given again after an interrupt.
    pub(crate) fn goes_on(&self) -> bool {
        match self {
            Self::Sync(_) => true,
            Self::Fetch(fetch) => fetch.makes_archives() || fetch.into_store,
            Self::State(StateCommand::Follow(_)) => true,
            _ => false,
        }
    }
}

/// Flags of `cairn seed`.
#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// Archives or folders of them; also buckets (s3://BUCKET/PREFIX, with the usual AWS_* variables) and folders on web
    /// servers (https://HOST/DIR/)
    #[arg(required = true, value_name = "PATH", value_parser = values::path())]
    pub(crate) paths: Vec<PathBuf>,
    /// Offer everything again instead of going on where the last run stopped
    #[arg(long)]
    pub(crate) from_start: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// What `cairn fetch` fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhatArg {
    /// Header, body and receipts
    Block,
    /// Header
    Header,
    /// Transactions, ommers and withdrawals
    Body,
    /// Receipts
    Receipts,
}

/// How `cairn fetch` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FetchFormat {
    /// A JSON object a block, a line each
    Json,
    /// RLP; of several pieces, one after another
    Rlp,
}

/// Flags of the commands that fetch from many peers at once.
#[derive(Debug, Args)]
pub(crate) struct FromPeersArgs {
    /// Format of the archives of eras
    #[arg(long = "as", value_enum, default_value = "ere", value_name = "FORMAT")]
    pub(crate) archive_format: ArchiveFormat,
    /// Mirrors of archive files (http://, https://, s3://BUCKET/PREFIX) for what no peer serves of an archive
    #[arg(long, env = "CAIRN_WEB_SEED", value_name = "URL", value_delimiter = ',', value_parser = values::mirror)]
    pub(crate) web_seed: Vec<String>,
    /// Show a line for each peer, too
    #[arg(long)]
    pub(crate) per_peer: bool,
    /// Most seconds to wait while nobody has what is missing, and to spend on a block that is fetched by itself
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = values::read::<u64>)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// Flags of `cairn fetch`.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// A block number, or a range: 100..200 without 200, 100..=200 with it; or a ticket, as `cairn share` prints it, for eras as
    /// archives in the folder --out
    #[arg(value_name = "BLOCKS|TICKET", required_unless_present = "era")]
    pub(crate) blocks: Option<Asked>,
    /// An era of 8,192 blocks, or a range of eras, each as an archive in the folder --out
    #[arg(long, value_name = "ERAS", conflicts_with = "blocks", requires = "out")]
    pub(crate) era: Option<BlockRange>,
    /// What to fetch
    #[arg(long, value_enum, default_value = "block", value_name = "WHAT")]
    pub(crate) what: WhatArg,
    /// How to print it, or to write it into a file that is no archive [default: json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<FetchFormat>,
    /// Put the range into the store of the running peer, as far as its radius and its capacity take it
    #[arg(long, requires = "blocks", conflicts_with_all = ["era", "out", "what", "format", "parallel"])]
    pub(crate) into_store: bool,
    /// JSON-RPC of that peer [default: the peer on the data folder, or http://127.0.0.1:8645]
    #[arg(long, env = "CAIRN_STATUS_RPC", value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) rpc: Option<Url>,
    /// Start a peer to fetch with even if one runs on the data folder; only then do the flags under Network count
    #[arg(long, conflicts_with = "into_store")]
    pub(crate) own_peer: bool,
    /// Write to this file; a name that ends in .ere, .erae or .era1 makes an archive of the range. With --era, a folder
    #[arg(long, value_name = "PATH", value_parser = values::path())]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
    /// Blocks under way at once
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = values::count)]
    pub(crate) parallel: usize,
    #[command(flatten)]
    pub(crate) from_peers: FromPeersArgs,
}

impl FetchArgs {
    /// Whether what it makes are archives, by the ending of `--out`.
    pub(crate) fn makes_archives(&self) -> bool {
        let ending = self.out.as_ref().and_then(|out| out.extension());
        self.era.is_some() || ending.is_some_and(|ending| ["era1", "ere", "erae"].iter().any(|of| ending == *of))
    }

    /// The blocks.
    pub(crate) fn range(&self) -> BlockRange {
        let of_eras = |eras: BlockRange| BlockRange {
            first: eras.first.saturating_mul(MAX_BLOCKS),
            last: eras.last.saturating_mul(MAX_BLOCKS).saturating_add(MAX_BLOCKS - 1),
        };
        // One of the two is given, clap sees to that.
        let blocks = self.blocks.as_ref().and_then(Asked::blocks);
        blocks.or(self.era.map(of_eras)).unwrap_or(BlockRange { first: 0, last: 0 })
    }
}

/// Which eras `cairn sync` fetches first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SyncOrder {
    /// By number
    Sequential,
    /// What the fewest peers hold, which keeps it alive
    Rarest,
}

/// Flags of `cairn sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// An era of 8,192 blocks, or a range of them: 0..20 without 20, 0..=20 with it
    #[arg(long, value_name = "ERAS")]
    pub(crate) eras: BlockRange,
    /// Which eras, and which runs of an era, come first
    #[arg(long, value_enum, default_value = "rarest", value_name = "ORDER")]
    pub(crate) order: SyncOrder,
    /// Most bytes that all archives in the folder may take, such as 50GB; an era that is being put together takes up to its
    /// size beside that. The first era that does not fit ends it [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = values::read::<ByteSize>)]
    pub(crate) capacity: Option<ByteSize>,
    /// Folder for the archives; what is whole is served at once [default: archives/ in the data folder, which run serves]
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    pub(crate) out: Option<PathBuf>,
    /// Eras under way at once
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = values::count)]
    pub(crate) parallel: usize,
    #[command(flatten)]
    pub(crate) from_peers: FromPeersArgs,
}

/// Flags of `cairn share`.
#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// An era of 8,192 blocks, or a range of them: 0..20 without 20, 0..=20 with it
    #[arg(value_name = "ERAS")]
    pub(crate) eras: BlockRange,
    /// JSON-RPC of the peer that shares [default: the peer on the data folder, or http://127.0.0.1:8645]
    #[arg(long, env = "CAIRN_STATUS_RPC", value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) rpc: Option<Url>,
}

/// Commands of `cairn trust`.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Show the trust roots and which lists behind them are here
    Show,
    /// Import a list from a file; which one it is follows from the root that it has
    Import(TrustImportArgs),
    /// Fetch the lists from peers, or from an HTTP mirror
    Fetch(Box<TrustFetchArgs>),
}

/// Flags of `cairn trust import`.
#[derive(Debug, Args)]
pub(crate) struct TrustImportArgs {
    /// The list as SSZ; historical summaries also with their proof, and with a fork digest in front as the beacon network has
    /// them
    #[arg(value_name = "FILE", value_parser = values::path())]
    pub(crate) file: PathBuf,
    /// State root of a finalized beacon state that you trust: lets in newer historical summaries with their proof
    #[arg(long, value_name = "HASH", value_parser = values::hexadecimal::<B256>("a block hash: 0x and 64 hex digits"))]
    pub(crate) state_root: Option<alloy_primitives::B256>,
}

/// Flags of `cairn trust fetch`.
#[derive(Debug, Args)]
pub(crate) struct TrustFetchArgs {
    /// Folder on an HTTP mirror that holds the lists [default: ask peers]
    #[arg(long, value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) from: Option<Url>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// Flags of `cairn verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Archives or folders of them
    #[arg(required = true, value_name = "PATH", value_parser = values::path())]
    pub(crate) paths: Vec<PathBuf>,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// JSON-RPC of an execution client that you trust: it vouches for headers that no list or proof proves. Only as a flag: what a
    /// variable or the file names is asked by other commands, which prove what it says
    #[arg(long, value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) headers_from: Option<Url>,
}

/// What is done with capsules.
#[derive(Debug, Subcommand)]
pub(crate) enum CapsuleCommand {
    /// Make one: of the state network, of what an execution client proves (eth_getProof), or of a file of such proofs
    Make(Box<MakeCapsuleArgs>),
    /// Check that one proves what it tells, without a network
    Verify(CapsuleArgs),
    /// Check one and show what it tells
    Show(CapsuleArgs),
    /// Check one and write it as JSON: what eth_getProof answers (EIP-1186), the header and its proof beside it
    Export(CapsuleArgs),
    /// Give one to the peers that keep capsules
    Put(Box<PutCapsuleArgs>),
    /// Find one that peers keep
    Get(Box<GetCapsuleArgs>),
}

/// Flags of `cairn capsule make`.
#[derive(Debug, Args)]
pub(crate) struct MakeCapsuleArgs {
    /// JSON-RPC of an execution client that still has the state of the block [default: ask the state network]
    #[arg(long, value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) rpc: Option<Url>,
    /// A file with what eth_getProof has answered, one or a list, or with what `cairn capsule export` has written: a capsule of all
    /// that it proves
    #[arg(long, value_name = "FILE", group = "accounts", value_parser = values::path(), conflicts_with_all = ["rpc", "account", "slot", "code"])]
    pub(crate) proofs: Option<PathBuf>,
    /// The block, by number or hash
    #[arg(long, value_name = "BLOCK")]
    pub(crate) block: BlockId,
    #[command(flatten)]
    pub(crate) wanted: ClaimArgs,
    /// An archive (.era1, .ere) that has the block with the proof of its header, which the capsule then has, too
    #[arg(long, value_name = "FILE", value_parser = values::path())]
    pub(crate) proof_from: Option<PathBuf>,
    /// Where the capsule goes; - for standard output
    #[arg(long, value_name = "FILE", value_parser = values::path())]
    pub(crate) out: PathBuf,
    /// Most seconds to wait for a part of the state that nobody gives
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = values::read::<u64>)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// Flags of `cairn capsule put`.
#[derive(Debug, Args)]
pub(crate) struct PutCapsuleArgs {
    /// The capsule
    #[arg(value_name = "FILE", value_parser = values::path())]
    pub(crate) file: PathBuf,
    /// Give the nodes and codes in it to the peers that keep state, instead of the capsule: accounts in it can be read by anybody then
    #[arg(long)]
    pub(crate) state: bool,
    /// Most seconds until somebody keeps it
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = values::read::<u64>)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// Flags of `cairn capsule get`: what the capsule was made with.
#[derive(Debug, Args)]
pub(crate) struct GetCapsuleArgs {
    /// The block, by number or hash
    #[arg(long, value_name = "BLOCK")]
    pub(crate) block: BlockId,
    #[command(flatten)]
    pub(crate) wanted: ClaimArgs,
    /// Where the capsule goes; - for standard output
    #[arg(long, value_name = "FILE", value_parser = values::path())]
    pub(crate) out: PathBuf,
    /// Most seconds to wait for it
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = values::read::<u64>)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// Flags of the commands that read a capsule.
#[derive(Debug, Args)]
pub(crate) struct CapsuleArgs {
    /// The capsule
    #[arg(value_name = "FILE", value_parser = values::path())]
    pub(crate) file: PathBuf,
    /// The hash of its block, from somebody that you trust, instead of the proof of its header
    #[arg(long, value_name = "HASH")]
    pub(crate) block_hash: Option<B256>,
}

/// An archive format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchiveFormat {
    /// Blocks before the merge, receipts with bloom
    Era1,
    /// Any blocks, with header proofs, receipts without bloom
    Ere,
}

impl From<ArchiveFormat> for Format {
    fn from(format: ArchiveFormat) -> Self {
        match format {
            ArchiveFormat::Era1 => Self::Era1,
            ArchiveFormat::Ere => Self::Ere,
        }
    }
}

/// What an ere file does without. The format's other parts are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct ProfileArgs {
    /// Leave header proofs out of an ere file
    #[arg(long, requires = "out")]
    pub(crate) no_proofs: bool,
    /// Leave receipts out of an ere file
    #[arg(long, requires = "out")]
    pub(crate) no_receipts: bool,
}

impl From<ProfileArgs> for ranges::Profile {
    fn from(ProfileArgs { no_proofs, no_receipts }: ProfileArgs) -> Self {
        Self { proofs: !no_proofs, receipts: !no_receipts }
    }
}

impl ProfileArgs {
    /// Whether the file has everything that its blocks allow.
    pub(crate) fn is_whole(self) -> bool {
        !self.no_proofs && !self.no_receipts
    }
}

/// Flags of `cairn convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// Archives or folders of them
    #[arg(required = true, value_name = "PATH", value_parser = values::path())]
    pub(crate) paths: Vec<PathBuf>,
    /// The format to convert to
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) to: ArchiveFormat,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = values::path())]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
}

/// Flags of `cairn status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// JSON-RPC of the running peer [default: the peer on the data folder, or http://127.0.0.1:8645]
    #[arg(long, env = "CAIRN_STATUS_RPC", value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) rpc: Option<Url>,
}

/// Flags of `cairn enr`.
#[derive(Debug, Args)]
pub(crate) struct EnrArgs {
    /// Ask the running peer at this JSON-RPC URL instead of reading the data folder
    #[arg(long, value_name = "URL", value_parser = values::read::<Url>)]
    pub(crate) rpc: Option<Url>,
    /// Read this record instead and print what it says
    #[arg(long, value_name = "ENR", conflicts_with = "rpc", value_parser = values::read::<Enr>)]
    pub(crate) decode: Option<Enr>,
    /// File with the peer's key: a record of another key is refused [default: any record in the data folder]
    #[arg(long, env = "CAIRN_KEY", value_name = "FILE", value_parser = values::path())]
    pub(crate) key: Option<PathBuf>,
}

/// Flags of `cairn demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Peers in the network
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = values::read::<usize>)]
    pub(crate) peers: usize,
    /// Archives to seed instead of a synthetic chain
    #[arg(long, value_name = "FILE", num_args = 1.., value_parser = values::path())]
    pub(crate) archive: Vec<PathBuf>,
    /// Blocks of the synthetic chain
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = values::read::<u64>)]
    pub(crate) blocks: u64,
    /// Bytes of a body and its receipts, together, in the average block of the synthetic chain
    #[arg(long, default_value_t = 40_000, value_name = "BYTES", value_parser = values::read::<usize>)]
    pub(crate) block_size: usize,
    /// Pieces that the new peer fetches
    #[arg(long, default_value_t = 300, value_name = "N", value_parser = values::count)]
    pub(crate) sample: usize,
    /// Seed of the synthetic chain and of the sample
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = values::read::<u64>)]
    pub(crate) random_seed: u64,
    /// Only write the synthetic chain into this folder (chain.json, trust/, archives/), for peers of your own
    #[arg(long, value_name = "DIR", conflicts_with_all = ["archive", "peers", "sample"], value_parser = values::path())]
    pub(crate) write: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn archives_are_asked_for_with_their_flags() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["cairn"], words].concat()).map(|_| ());
        parse(&["fetch", "5", "--out", "a.ere", "--web-seed", "http://127.0.0.1/"]).unwrap();
        parse(&["fetch", "--era", "5", "--out", "a", "--as", "era1"]).unwrap();
        parse(&["sync", "--eras", "5", "--as", "era1", "--web-seed", "http://127.0.0.1/"]).unwrap();
    }
}
