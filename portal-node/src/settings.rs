//! Settings: flags over environment variables over the configuration file over defaults.
//!
//! clap lays flags over `CAIRN_*` variables; here the result is laid over the TOML file. The file's keys are the names
//! of the flags; what a storage peer keeps and offers stands in the table `[node]`, how a peer of any kind reaches
//! others in the table `[network]`.

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytesize::ByteSize;
use cairn_node::rpc::{AllowedHost, AllowedOrigin};
use clap::{Args, ValueEnum};
use content_types::{ChainSpec, SubNetwork};
use overlay::discovery::Nat;
use reqwest::Url;
use serde::Deserialize;

use crate::{
    failure::Failure,
    origin,
    values::{self, Bootnode, LogFilter, Setting},
};

/// The configuration file's name in the data folder.
const FILE_NAME: &str = "cairn.toml";
/// What a storage peer logs unless told otherwise. discv5 warns of every peer that went away.
const STORAGE_PEER_LOG: &str = "info,discv5=error";
/// What other commands log unless told otherwise: they print what they do.
const OTHER_LOG: &str = "warn,discv5=error";

/// Flags that every command takes.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Configuration file (TOML) [default: cairn.toml in the data folder, if it is there]
    #[arg(long, global = true, env = "CAIRN_CONFIG", value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What both the command line and the top level of the file can say.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Common {
    /// Folder of the peer's key, store and trust lists [default: $XDG_DATA_HOME/cairn or ~/.local/share/cairn]
    #[arg(long, global = true, env = "CAIRN_DATA_DIR", value_name = "DIR", help_heading = "Everywhere")]
    data_dir: Option<PathBuf>,
    /// The chain: mainnet, sepolia, or the path of a chain specification (JSON) [default: mainnet]
    #[arg(long, global = true, env = "CAIRN_CHAIN", value_name = "NAME|FILE", help_heading = "Everywhere")]
    chain: Option<String>,
    /// Folder of the trust lists [default: trust/ in the data folder]
    #[arg(long, global = true, env = "CAIRN_TRUST", value_name = "DIR", help_heading = "Everywhere")]
    trust: Option<PathBuf>,
    /// What to log, in the syntax of RUST_LOG [default: info for run and seed, else warn]
    #[arg(
        long,
        global = true,
        env = "CAIRN_LOG",
        value_name = "FILTER",
        value_parser = values::read::<LogFilter>,
        help_heading = "Everywhere"
    )]
    #[serde(deserialize_with = "values::optional")]
    log: Option<LogFilter>,
    /// How to log [default: text]
    #[arg(long, global = true, env = "CAIRN_LOG_FORMAT", value_name = "FORMAT", help_heading = "Everywhere")]
    #[serde(deserialize_with = "values::optional")]
    log_format: Option<LogFormat>,
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
    json: Option<bool>,
    /// The table `[node]`; its flags belong to the commands that start a storage peer.
    #[arg(skip)]
    node: NodeArgs,
    /// The table `[network]`; its flags belong to every command that starts a peer.
    #[arg(skip)]
    network: NetworkArgs,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
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
    /// Shares of the capacity, such as history=3,legacy-history=1 [default: equal shares]
    #[arg(long, env = "CAIRN_SHARES", value_name = "NETWORK=SHARE", value_delimiter = ',', value_parser = values::read::<Share>)]
    #[serde(deserialize_with = "values::list")]
    pub(crate) shares: Option<Vec<Share>>,
    /// Archives (.era1, .ere) or folders of them, served in place without a copy
    #[arg(long = "seed", env = "CAIRN_SEED", value_name = "PATH", value_delimiter = ',')]
    pub(crate) seed: Option<Vec<PathBuf>>,
    /// File with the peer's secp256k1 key in hex [default: node.key in the data folder, made when missing]
    #[arg(long, env = "CAIRN_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Where JSON-RPC (HTTP and WebSocket) listens, or `none` [default: 127.0.0.1:8645]
    #[arg(long, env = "CAIRN_RPC", value_name = "ADDR:PORT", value_parser = values::read::<Endpoint>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) rpc: Option<Endpoint>,
    /// Web pages that may call JSON-RPC, by origin (https://HOST), or * for all [default: none; programs always may]
    #[arg(long, env = "CAIRN_RPC_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) rpc_origins: Option<Vec<AllowedOrigin>>,
    /// Names that JSON-RPC is reached by, beside localhost and IP addresses, or * for any [default: none]
    #[arg(long, env = "CAIRN_RPC_HOSTS", value_name = "NAME", value_delimiter = ',')]
    pub(crate) rpc_hosts: Option<Vec<AllowedHost>>,
    /// Where Prometheus metrics are served, or `none` [default: none]
    #[arg(long, env = "CAIRN_METRICS", value_name = "ADDR:PORT", value_parser = values::read::<Endpoint>)]
    #[serde(deserialize_with = "values::optional")]
    pub(crate) metrics: Option<Endpoint>,
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
    /// How others reach this peer: none, extip:ADDR, extip:ADDR:PORT, upnp or auto [default: auto]
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

impl NodeArgs {
    /// These settings, and where they are silent the file's.
    fn or(self, file: Self) -> Self {
        Self {
            capacity: self.capacity.or(file.capacity),
            shares: self.shares.or(file.shares),
            seed: self.seed.or(file.seed),
            key: self.key.or(file.key),
            rpc: self.rpc.or(file.rpc),
            rpc_origins: self.rpc_origins.or(file.rpc_origins),
            rpc_hosts: self.rpc_hosts.or(file.rpc_hosts),
            metrics: self.metrics.or(file.metrics),
            network: self.network.or(file.network),
        }
    }
}

impl NetworkArgs {
    /// These settings, and where they are silent the file's.
    fn or(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            nat: self.nat.or(file.nat),
            addresses: self.addresses.or(file.addresses),
            bootnodes: self.bootnodes.or(file.bootnodes),
            headers_from: self.headers_from.or(file.headers_from),
            max_inbound: self.max_inbound.or(file.max_inbound),
            max_inbound_per_peer: self.max_inbound_per_peer.or(file.max_inbound_per_peer),
            max_fetches: self.max_fetches.or(file.max_fetches),
            max_fetches_per_peer: self.max_fetches_per_peer.or(file.max_fetches_per_peer),
            max_outbound: self.max_outbound.or(file.max_outbound),
            max_outbound_per_peer: self.max_outbound_per_peer.or(file.max_outbound_per_peer),
        }
    }
}

/// Where peers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Addresses {
    /// Few of one subnet; no address of a local network that a record only claims.
    Internet,
    /// Any number on this machine and in the local network, whose addresses are believed.
    Local,
    /// Local with --nat none, if all addresses given to listen on and to start from are local; else Internet.
    Auto,
}

/// A TCP address to listen on, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Listen nowhere.
    Nowhere,
    /// Listen on this address.
    At(SocketAddr),
}

impl Endpoint {
    /// The address, if there is one.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Nowhere => None,
            Self::At(address) => Some(address),
        }
    }
}

impl Setting for Addresses {
    fn read(text: &str) -> Result<Self, String> {
        values::word(text)
    }
}

impl Setting for LogFormat {
    fn read(text: &str) -> Result<Self, String> {
        values::word(text)
    }
}

impl Setting for Endpoint {
    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        text.parse().map(Self::At).map_err(|_| format!("{text:?} is not ADDR:PORT (such as 127.0.0.1:8645) or none"))
    }
}

/// The share of the capacity that a sub-network gets, in proportion to the others' shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Whose share it is.
    pub(crate) network: SubNetwork,
    /// Its weight.
    pub(crate) weight: u32,
}

impl Setting for Share {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not NETWORK=SHARE with history or legacy-history and a whole number");
        let (network, weight) = text.split_once('=').ok_or_else(wrong)?;
        let network = match network {
            "history" => SubNetwork::History,
            "legacy-history" => SubNetwork::LegacyHistory,
            _ => return Err(wrong()),
        };
        Ok(Self { network, weight: weight.parse().map_err(|_| wrong())? })
    }
}

/// The settings that every command works with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Folder of the peer's key, store and trust lists.
    pub(crate) data_dir: PathBuf,
    /// Folder of the trust lists.
    pub(crate) trust_dir: PathBuf,
    /// Name or file of the chain, read when a command needs it.
    chain: String,
    /// What to log.
    pub(crate) log: String,
    /// How log lines look.
    pub(crate) log_format: LogFormat,
    /// Whether results are printed as JSON.
    pub(crate) json: bool,
    /// The file's tables `[node]` and `[network]`.
    node: NodeArgs,
}

impl Settings {
    /// Lays the flags over the configuration file. A storage peer logs more than other commands.
    ///
    /// # Errors
    /// When the file cannot be read or says something unknown.
    pub(crate) fn load(args: GlobalArgs, is_storage_peer: bool) -> Result<Self, Failure> {
        let default_log = if is_storage_peer { STORAGE_PEER_LOG } else { OTHER_LOG };
        let flags = args.common;
        let early_data_dir = flags.data_dir.clone().or_else(default_data_dir);
        let file = match (&args.config, &early_data_dir) {
            (Some(path), _) => read_file(path)?,
            (None, Some(data_dir)) => {
                let path = data_dir.join(FILE_NAME);
                if path.exists() { read_file(&path)? } else { Common::default() }
            }
            (None, None) => Common::default(),
        };
        let data_dir = flags.data_dir.or(file.data_dir).or(early_data_dir).ok_or_else(|| {
            Failure::Configuration("no data folder: give --data-dir, or set HOME or XDG_DATA_HOME".into())
        })?;
        Ok(Self {
            trust_dir: flags.trust.or(file.trust).unwrap_or_else(|| data_dir.join("trust")),
            data_dir,
            chain: flags.chain.or(file.chain).unwrap_or_else(|| "mainnet".to_owned()),
            log: flags.log.or(file.log).map_or_else(|| default_log.to_owned(), |filter| filter.0),
            log_format: flags.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            json: flags.json.or(file.json).unwrap_or(false),
            node: NodeArgs { network: file.network, ..file.node },
        })
    }

    /// The chain and its trust roots.
    ///
    /// # Errors
    /// When the chain is neither known nor a readable file.
    pub(crate) fn chain(&self) -> Result<Arc<ChainSpec>, Failure> {
        read_chain(&self.chain).map(Arc::new)
    }

    /// The file of the storage peer's key, if a flag or the file names one.
    pub(crate) fn key(&self, flag: Option<PathBuf>) -> Option<PathBuf> {
        flag.or_else(|| self.node.key.clone())
    }

    /// A storage peer's flags laid over the file's tables.
    pub(crate) fn node(&self, flags: NodeArgs) -> NodeArgs {
        flags.or(self.node.clone())
    }

    /// The flags of a peer that only fetches laid over the file's table `[network]`. The addresses that the file says
    /// belong to the storage peer, which may be running.
    pub(crate) fn fetcher(&self, flags: NetworkArgs) -> NetworkArgs {
        flags.or(NetworkArgs { listen: None, ..self.node.network.clone() })
    }
}

fn read_file(path: &Path) -> Result<Common, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Configuration(format!(
            "the configuration file {} cannot be read: {error}. Give another with --config or CAIRN_CONFIG, or leave both out",
            path.display()
        ))
    })?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).map_or(0, |before| before.matches('\n').count()) + 1;
        // TOML's own complaints may have several lines.
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        Failure::Configuration(format!("{}:{line}: {what}", path.display()))
    })
}

fn read_chain(name: &str) -> Result<ChainSpec, Failure> {
    match name {
        "mainnet" => Ok(ChainSpec::mainnet()),
        "sepolia" => Ok(ChainSpec::sepolia()),
        path => {
            let text = fs::read_to_string(path).map_err(|error| {
                Failure::Configuration(format!(
                    "{}: {path:?} is neither mainnet nor sepolia, nor a file with a chain specification: {error}",
                    origin::named("chain")
                ))
            })?;
            ChainSpec::from_json(&text)
                .map_err(|error| Failure::Configuration(format!("the chain specification {path}: {error}")))
        }
    }
}

fn default_data_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share"))).map(|base| base.join("cairn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, flags: Common) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.toml");
        fs::write(&path, file).unwrap();
        Settings::load(GlobalArgs { config: Some(path), common: flags }, true)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file =
            "data-dir = '/from/file'\nlog = 'debug'\n[node]\ncapacity = '7GB'\nrpc = 'none'\n[network]\nnat = 'upnp'\n";
        let flags = Common { data_dir: Some("/from/flag".into()), ..Common::default() };
        let settings = load(file, flags).unwrap();
        assert_eq!(settings.data_dir, Path::new("/from/flag"));
        assert_eq!(settings.trust_dir, Path::new("/from/flag/trust"));
        assert_eq!(settings.log, "debug");
        assert!(!settings.json);
        let node = settings.node(NodeArgs { capacity: Some(ByteSize::gb(9)), ..NodeArgs::default() });
        assert_eq!(node.capacity, Some(ByteSize::gb(9)));
        assert_eq!(node.rpc, Some(Endpoint::Nowhere));
        assert_eq!(node.network.nat, Some(Nat::Upnp));
        assert_eq!(node.network.listen, None);
    }

    #[test]
    fn a_fetcher_leaves_the_storage_peers_addresses_alone() {
        let file = "[network]\nlisten = ['127.0.0.1:9009']\nbootnodes = ['none']\n";
        let settings = load(file, Common::default()).unwrap();
        let fetcher = settings.fetcher(NetworkArgs::default());
        assert_eq!((fetcher.listen, fetcher.bootnodes), (None, Some(vec![Bootnode::Nobody])));
        assert!(settings.node(NodeArgs::default()).network.listen.is_some());
    }

    #[test]
    fn an_unknown_key_is_named() {
        for file in ["capacty = '7GB'\n", "[node]\ncapacty = '7GB'\n", "[network]\ncapacty = '7GB'\n"] {
            let error = load(file, Common::default()).unwrap_err().to_string();
            assert!(error.contains("capacty"), "{error}");
        }
    }

    #[test]
    fn a_chain_that_does_not_exist_says_what_would() {
        let flags = Common { chain: Some("/nowhere/chain.json".into()), ..Common::default() };
        let settings = load("", flags).unwrap();
        let error = settings.chain().unwrap_err().to_string();
        assert!(error.contains("mainnet") && error.contains("/nowhere/chain.json"), "{error}");
    }

    #[test]
    fn shares_and_endpoints_say_what_they_expect() {
        assert_eq!(Share::read("history=3"), Ok(Share { network: SubNetwork::History, weight: 3 }));
        assert!(Share::read("history").unwrap_err().contains("NETWORK=SHARE"));
        assert!(Share::read("state=1").is_err());
        assert!(Endpoint::read("localhost").unwrap_err().contains("ADDR:PORT"));
    }

    #[test]
    fn a_bad_value_in_the_file_is_a_line_that_names_its_line() {
        for (file, line, said) in [
            ("log = 'info'\n[node]\ncapacity = 'much'\n", 3, "50GB"),
            ("[node]\nrpc = 'localhost'\n", 2, "ADDR:PORT"),
            ("[node]\nshares = ['history=1',\n'state=1']\n", 3, "NETWORK=SHARE"),
            ("[network]\n\nnat = 'magic'\n", 3, "extip:ADDRESS"),
            ("[network]\nbootnodes = ['enr:nonsense']\n", 2, "enr:nonsense"),
            ("[network]\nmax-inbound = 0\n", 2, "from 1 on"),
            ("[network]\naddresses = 'moon'\n", 2, "internet, local, auto"),
            ("log-format = 'loud'\n", 1, "text, json"),
            ("json = 'maybe'\n", 1, "boolean"),
            ("log = 'info\n", 1, "string"),
        ] {
            let error = load(file, Common::default()).unwrap_err().to_string();
            assert!(error.contains(&format!("test.toml:{line}: ")) && error.contains(said), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn sizes_and_limits_may_be_numbers_in_the_file() {
        let settings = load("[node]\ncapacity = 5000\n[network]\nmax-fetches = 7\n", Common::default()).unwrap();
        let node = settings.node(NodeArgs::default());
        assert_eq!((node.capacity, node.network.max_fetches), (Some(ByteSize(5000)), NonZeroUsize::new(7)));
    }
}
