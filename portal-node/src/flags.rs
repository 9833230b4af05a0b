//! The flags that are settings too: each is also a `CAIRN_*` variable, which clap reads, and a key of the configuration
//! file, which serde reads into the same fields.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use bytesize::ByteSize;
use cairn_node::{
    rpc::{AllowedHost, AllowedOrigin},
    swarm::QuicPort,
};
use clap::Args;
use overlay::discovery::Nat;
use reqwest::Url;
use serde::Deserialize;

use crate::values::{self, Addresses, Bootnode, ListenAt, LogFilter, LogFormat, Pull, Share};

/// Flags that every command takes.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Configuration file (TOML) [default: cairn.toml in --data-dir, or else in ~/.local/share/cairn, if it is there]
    #[arg(long, global = true, env = "CAIRN_CONFIG", value_name = "FILE", help_heading = "Everywhere", value_parser = values::path())]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What both the command line and the top level of the file can say.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Common {
    /// Folder of the peer's key, store and trust lists [default: the chain's name in $XDG_DATA_HOME/cairn or
    /// ~/.local/share/cairn, such as ~/.local/share/cairn/mainnet]
    #[arg(long, global = true, env = "CAIRN_DATA_DIR", value_name = "DIR", help_heading = "Everywhere", value_parser = values::path())]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The chain: mainnet, sepolia, or the path of a chain specification (JSON) [default: mainnet]
    #[arg(long, global = true, env = "CAIRN_CHAIN", value_name = "NAME|FILE", help_heading = "Everywhere")]
    pub(crate) chain: Option<String>,
    /// Folder of the trust lists [default: trust/ in the data folder]
    #[arg(long, global = true, env = "CAIRN_TRUST", value_name = "DIR", help_heading = "Everywhere", value_parser = values::path())]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) trust: Option<PathBuf>,
    /// What to log: a level, or levels by target as in RUST_LOG (info,overlay=debug); what discv5 warns of only where it is named [default: info for run and seed, else
    /// warn]
    #[arg(
        long,
        global = true,
        env = "CAIRN_LOG",
        value_name = "FILTER",
        value_parser = values::read::<LogFilter>,
        help_heading = "Everywhere"
    )]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) log: Option<LogFilter>,
    /// How to log [default: text]
    #[arg(long, global = true, env = "CAIRN_LOG_FORMAT", value_name = "FORMAT", help_heading = "Everywhere")]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) log_format: Option<LogFormat>,
    /// Print results as JSON
    #[arg(
        long,
        global = true,
        env = "CAIRN_JSON",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        help_heading = "Everywhere"
    )]
    pub(crate) json: Option<bool>,
    /// The table `[node]`; its flags belong to the commands that start a storage peer.
    #[arg(skip)]
    pub(crate) node: NodeArgs,
    /// The table `[network]`; its flags belong to every command that starts a peer.
    #[arg(skip)]
    pub(crate) network: NetworkArgs,
}

/// Flags of the commands that start a storage peer.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Storage peer")]
pub(crate) struct NodeArgs {
    /// Room for content, such as 50GB; archives given with --seed do not count [default: 10GB]
    #[arg(long, env = "CAIRN_CAPACITY", value_name = "SIZE", value_parser = values::read::<ByteSize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) capacity: Option<ByteSize>,
    /// Room on the disk that is left free; while there is less, nothing is stored and what others offer is declined
    /// [default: 256MiB]
    #[arg(long, env = "CAIRN_DISK_RESERVE", value_name = "SIZE", value_parser = values::read::<ByteSize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) disk_reserve: Option<ByteSize>,
    /// Shares of the capacity, such as history=3,legacy-history=1,state=1; what is not named keeps its default
    /// [default: history=1,legacy-history=1,state=0,capsules=0]
    #[arg(long, env = "CAIRN_SHARES", value_name = "NETWORK=SHARE", value_delimiter = ',', value_parser = values::read::<Share>)]
    #[serde(deserialize_with = "values::list")]
    pub(crate) shares: Option<Vec<Share>>,
    /// Whether the history that it should hold by its radius is fetched from peers over QUIC, within --download-limit [default: on]
    #[arg(long, env = "CAIRN_PULL", value_name = "ON|OFF")]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) pull: Option<Pull>,
    /// Archives (.era1, .ere) or folders of them, served in place without a copy; also s3://BUCKET/PREFIX, https://HOST/DIR/
    #[arg(long = "seed", env = "CAIRN_SEED", value_name = "PATH", value_delimiter = ',', value_parser = values::path())]
    #[serde(deserialize_with = "values::list")]
    pub(crate) seed: Option<Vec<PathBuf>>,
    /// File with the peer's secp256k1 key in hex [default: node.key in the data folder, made when missing]
    #[arg(long, env = "CAIRN_KEY", value_name = "FILE", value_parser = values::path())]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) key: Option<PathBuf>,
    /// Where JSON-RPC (HTTP and WebSocket) listens, or `none` [default: 127.0.0.1:8645]
    #[arg(long, env = "CAIRN_RPC", value_name = "ADDR:PORT", value_parser = values::read::<ListenAt>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) rpc: Option<ListenAt>,
    /// Web pages that may call JSON-RPC, by origin (https://HOST), or * for all [default: none; programs always may]
    #[arg(long, env = "CAIRN_RPC_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) rpc_origins: Option<Vec<AllowedOrigin>>,
    /// Names that JSON-RPC is reached by, beside localhost and IP addresses, or * for any [default: none]
    #[arg(long, env = "CAIRN_RPC_HOSTS", value_name = "NAME", value_delimiter = ',')]
    pub(crate) rpc_hosts: Option<Vec<AllowedHost>>,
    /// Where Prometheus metrics are served, or `none` [default: none]
    #[arg(long, env = "CAIRN_METRICS", value_name = "ADDR:PORT", value_parser = values::read::<ListenAt>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) metrics: Option<ListenAt>,
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) network: NetworkArgs,
}

/// Flags of every command that starts a peer.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// UDP addresses to listen on: one of IPv4, one of IPv6, or both [default: 0.0.0.0:9009; to fetch, any free port]
    #[arg(
        long,
        env = "CAIRN_LISTEN",
        value_name = "ADDR:PORT",
        value_delimiter = ',',
        value_parser = values::read::<SocketAddr>
    )]
    #[serde(deserialize_with = "values::list")]
    pub(crate) listen: Option<Vec<SocketAddr>>,
    /// UDP port for QUIC, over which ranges are served and fetched, or `none` [default: 1000 above that of discv5]
    #[arg(long, env = "CAIRN_QUIC", value_name = "PORT", value_parser = values::read::<QuicPort>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) quic: Option<QuicPort>,
    /// Most bytes a second that others get over QUIC, such as 10MB [default: no limit]
    #[arg(long, env = "CAIRN_UPLOAD_LIMIT", value_name = "SIZE", value_parser = values::read::<ByteSize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) upload_limit: Option<ByteSize>,
    /// Most bytes a second that ranges are fetched with, from peers over QUIC and mirrors together [default: no limit]
    #[arg(long, env = "CAIRN_DOWNLOAD_LIMIT", value_name = "SIZE", value_parser = values::read::<ByteSize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) download_limit: Option<ByteSize>,
    /// Most QUIC connections at once [default: 128]
    #[arg(long, env = "CAIRN_MAX_PEERS", value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) max_peers: Option<NonZeroUsize>,
    /// How others reach this peer: none, extip:ADDR, extip:ADDR:PORT (of discv5; QUIC and the tracker at ADDR on their own
    /// ports), upnp, pmp (PCP and NAT-PMP) or auto (what the router speaks, and what peers see) [default: auto]
    #[arg(long, env = "CAIRN_NAT", value_name = "MODE", value_parser = values::read::<Nat>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) nat: Option<Nat>,
    /// Where peers are: on the Internet, or on this machine and in the local network [default: auto]
    #[arg(long, env = "CAIRN_ADDRESSES", value_name = "WHERE")]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) addresses: Option<Addresses>,
    /// Peers to start from, as ENRs; `none` for no peer [default: the chain's]
    #[arg(
        long,
        env = "CAIRN_BOOTNODES",
        value_name = "ENR",
        value_delimiter = ',',
        value_parser = values::read::<Bootnode>
    )]
    #[serde(deserialize_with = "values::list")]
    pub(crate) bootnodes: Option<Vec<Bootnode>>,
    /// JSON-RPC of an execution client to take headers from; each is proved all the same
    #[arg(long, env = "CAIRN_HEADERS_FROM", value_name = "URL", value_parser = values::read::<Url>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) headers_from: Option<Url>,
    /// Most uTP transfers at once of what others offer this peer [default: 256]
    #[arg(long, env = "CAIRN_MAX_INBOUND", value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) max_inbound: Option<NonZeroUsize>,
    /// Most of them from one peer [default: 16]
    #[arg(long, env = "CAIRN_MAX_INBOUND_PER_PEER", value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) max_inbound_per_peer: Option<NonZeroUsize>,
    /// Most uTP transfers at once of what this peer asks for [default: 256]
    #[arg(long, env = "CAIRN_MAX_FETCHES", value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) max_fetches: Option<NonZeroUsize>,
    /// Most of them from one peer [default: 32]
    #[arg(long, env = "CAIRN_MAX_FETCHES_PER_PEER", value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) max_fetches_per_peer: Option<NonZeroUsize>,
    /// Most uTP transfers out of this peer at once [default: 256]
    #[arg(long, env = "CAIRN_MAX_OUTBOUND", value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) max_outbound: Option<NonZeroUsize>,
    /// Most of them to one peer [default: 64]
    #[arg(long, env = "CAIRN_MAX_OUTBOUND_PER_PEER", value_name = "N", value_parser = values::read::<NonZeroUsize>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) max_outbound_per_peer: Option<NonZeroUsize>,
}

/// Lays settings over others of their kind, field by field. A field that is not named here does not compile.
macro_rules! laid_over {
    ($($settings:ident { $($field:ident),+ $(,)? })+) => {$(
        impl $settings {
            /// These settings, and where they are silent the ones of `below`.
            pub(crate) fn or(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field)),+ }
            }
        }
    )+};
}

laid_over! {
    Common { data_dir, chain, trust, log, log_format, json, node, network }
    NodeArgs { capacity, disk_reserve, shares, pull, seed, key, rpc, rpc_origins, rpc_hosts, metrics, network }
    NetworkArgs {
        listen,
        quic,
        upload_limit,
        download_limit,
        max_peers,
        nat,
        addresses,
        bootnodes,
        headers_from,
        max_inbound,
        max_inbound_per_peer,
        max_fetches,
        max_fetches_per_peer,
        max_outbound,
        max_outbound_per_peer,
    }
}
