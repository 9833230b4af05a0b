//! What commands that start a peer have in common.

use std::{
    env, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use cairn_node::{
    Node, NodeConfig, RpcConfig, StartError,
    rpc::{RpcError, SOCKET_FILE, calls::GetPeers},
    seeding,
    swarm::{Limits, quic},
    trust::TrustStoreError,
    without_secrets,
};
use cairn_proto::routing::AddressPolicy;
use overlay::{
    Enr,
    discovery::{self, ListenAddresses, Nat},
};
use tempfile::TempDir;

use super::{running::RunningPeer, without_trust};
use crate::{
    advice::{is_out_of_descriptors, with_advice},
    bootnodes,
    failure::{Failure, cannot_listen},
    files,
    flags::{NetworkArgs, NodeArgs},
    origin, output,
    settings::Settings,
    values::{Addresses, Bootnode, ListenAt, Pull, Setting},
};

/// Room for content of a peer that only fetches, in bytes.
const FETCHER_CAPACITY: u64 = 0;
/// The folder in a storage peer's data folder that eras are synced into, and that it serves.
const ARCHIVES_DIR: &str = "archives";
/// Where a peer that only fetches listens, unless told otherwise.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// The configuration of a storage peer.
pub(crate) fn config(settings: &Settings, flags: NodeArgs) -> Result<NodeConfig, Failure> {
    let args = settings.node(flags);
    let mut config = networked(settings, args.network)?;
    if let Some(key) = &args.key {
        // The data folder is made when it is missing, and no other: a slip of the finger would make a new identity.
        let folder = key.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| *folder != config.data_dir && !folder.is_dir()) {
            let name = origin::named("key");
            let why =
                format!("{name}: there is no folder {} for the key: make it, or check the path", folder.display());
            return Err(Failure::Configuration(why));
        }
    }
    config.key_file = args.key;
    if let Some(capacity) = args.capacity {
        config.capacity = capacity.as_u64();
    }
    if let Some(reserve) = args.disk_reserve {
        config.disk_reserve = reserve.as_u64();
    }
    config.shares = args.shares.unwrap_or_default().into_iter().map(|share| (share.network, share.weight)).collect();
    config.pull = args.pull != Some(Pull::Off);
    config.seeds = args.seed.unwrap_or_default();
    config.rpc = match args.rpc {
        None => Some(RpcConfig::default()),
        Some(endpoint) => endpoint.address().map(RpcConfig::at),
    };
    if let Some(rpc) = &mut config.rpc {
        rpc.origins = args.rpc_origins.unwrap_or_default();
        rpc.hosts = args.rpc_hosts.unwrap_or_default();
    }
    config.socket = Some(config.data_dir.join(SOCKET_FILE));
    config.metrics = args.metrics.and_then(ListenAt::address);
    Ok(config)
}

/// What every peer has: a chain and its trust lists, addresses, others to start from.
fn networked(settings: &Settings, args: NetworkArgs) -> Result<NodeConfig, Failure> {
    let chain = settings.chain()?;
    let mut config = NodeConfig::new(chain.clone(), settings.data_dir()?);
    config.trust_dir = Some(settings.trust_dir()?);
    if let Some(listen) = &args.listen {
        config.listen = listen_addresses(listen)?;
    }
    config.nat = args.nat.unwrap_or(config.nat);
    config.bootnodes = match args.bootnodes {
        None => bootnodes::of(chain.chain_id()).iter().filter_map(|text| Enr::read(text).ok()).collect(),
        Some(given) => named_bootnodes(given)?,
    };
    config.quic = args.quic.unwrap_or_default();
    config.limits = Limits {
        upload: args.upload_limit.map(|limit| limit.as_u64()),
        download: args.download_limit.map(|limit| limit.as_u64()),
        max_peers: args.max_peers.map_or(config.limits.max_peers, NonZeroUsize::get),
    };
    config.headers_from = args.headers_from;
    let limits = &mut config.transfers;
    for (limit, given) in [
        (&mut limits.inbound, args.max_inbound),
        (&mut limits.inbound_per_peer, args.max_inbound_per_peer),
        (&mut limits.fetches, args.max_fetches),
        (&mut limits.fetches_per_peer, args.max_fetches_per_peer),
        (&mut limits.outbound, args.max_outbound),
        (&mut limits.outbound_per_peer, args.max_outbound_per_peer),
    ] {
        *limit = given.map_or(*limit, NonZeroUsize::get);
    }
    config.addresses = match args.addresses.unwrap_or(Addresses::Auto) {
        Addresses::Internet => AddressPolicy::Internet,
        Addresses::Local => AddressPolicy::Local,
        Addresses::Auto => address_policy(&config),
    };
    match config.addresses {
        AddressPolicy::Internet => tracing::info!("peers are sought on the Internet"),
        AddressPolicy::Local => tracing::info!(
            "peers are sought on this machine and in the local network, without limits for one subnet of it"
        ),
    }
    Ok(config)
}

/// The network is a local one if nobody outside is told an address of this peer, and each address that is known, its
/// own and the bootnodes', is local. A peer that the Internet could reach keeps the limits.
fn address_policy(config: &NodeConfig) -> AddressPolicy {
    let own = config.listen.v4.map(|v4| IpAddr::V4(*v4.ip())).into_iter();
    let own = own.chain(config.listen.v6.map(|v6| IpAddr::V6(*v6.ip()))).filter(|ip| !ip.is_unspecified());
    let others =
        config.bootnodes.iter().flat_map(|enr| enr.ip4().map(IpAddr::V4).into_iter().chain(enr.ip6().map(IpAddr::V6)));
    // What the Internet's rule does not believe is an address of this machine or of the local network.
    let mut are_local = own.chain(others).map(|ip| !AddressPolicy::Internet.believes(ip)).peekable();
    let is_local = config.nat == Nat::None && are_local.peek().is_some() && are_local.all(|is_local| is_local);
    if is_local { AddressPolicy::Local } else { AddressPolicy::Internet }
}

/// Starts a peer that stores nothing, with a key and a port of its own, so that it can run beside a storage peer. Its
/// folder goes when the second value is dropped.
pub(crate) async fn start_fetcher(settings: &Settings, flags: NetworkArgs) -> Result<(Node, TempDir), Failure> {
    start_passing(settings, flags, Vec::new()).await
}

/// The same of one that serves archives while it fetches.
pub(crate) async fn start_passing(
    settings: &Settings,
    flags: NetworkArgs,
    seeds: Vec<PathBuf>,
) -> Result<(Node, TempDir), Failure> {
    let scratch = tempfile::tempdir().map_err(|error| Failure::io(&env::temp_dir(), error))?;
    let mut args = settings.fetcher(flags);
    args.listen.get_or_insert_with(|| vec![ANY_PORT]);
    let is_told_of_peers = args.bootnodes.is_some();
    let mut config = networked(settings, args)?;
    // A peer that runs on the data folder serves what it has, and knows others: with them it takes no time to find anybody.
    if !is_told_of_peers && let Some(running) = RunningPeer::on_folder(settings).await? {
        // It does without, too: that peer may be busy, or of another version.
        let known = running.ask(GetPeers {}).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the peer that runs on the data folder names no peers");
            Vec::new()
        });
        config.bootnodes.extend(known.iter().filter_map(|text| Enr::read(text).ok()));
    }
    config.data_dir = scratch.path().to_owned();
    config.capacity = FETCHER_CAPACITY;
    config.seeds = seeds;
    config.rpc = None;
    Ok((start_any(config).await?, scratch))
}

/// Starts a storage peer.
pub(crate) async fn start(config: NodeConfig) -> Result<Node, Failure> {
    let node = start_any(config).await?;
    // A peer that only fetches asks for the lists by itself, and says so when nobody has them.
    if !without_trust::is_without_trust(node.trust())
        && let Some(missing) = without_trust::missing(node.trust())
    {
        tracing::warn!("{missing}");
    }
    Ok(node)
}

/// The folder in a storage peer's data folder that eras are synced into; made when it is missing, so that a peer notices what
/// comes later.
pub(crate) fn archives_folder(data_dir: &Path) -> Result<PathBuf, Failure> {
    let folder = data_dir.join(ARCHIVES_DIR);
    std::fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    Ok(folder)
}

/// Checks that there is something to seed where a command says. A bucket that does not answer is for later.
pub(crate) async fn check_seeds(seeds: &[PathBuf]) -> Result<(), Failure> {
    let (urls, paths): (Vec<_>, Vec<_>) = seeds.iter().cloned().partition(|seed| seeding::url_of(seed).is_some());
    files::archives(&paths)?;
    for url in urls.iter().filter_map(|seed| seeding::url_of(seed)) {
        seeding::check_url(url).map_err(|error| Failure::Configuration(error.to_string()))?;
        match seeding::count_at(url).await {
            Ok(0) => {
                return Err(Failure::Io(format!(
                    "{}: no .era1, .ere or .erae file is listed there: check the URL",
                    without_secrets(url)
                )));
            }
            Ok(_) => {}
            Err(error) if error.is_settled() => {
                // What else is settled says itself what to do.
                let instead = if error.is_not_found() { ": check the URL, which is that of a folder" } else { "" };
                return Err(Failure::Refused(format!("{error}{instead}")));
            }
            Err(error) => tracing::warn!(%error, "not to be seeded now: it is tried again every minute"),
        }
    }
    Ok(())
}

async fn start_any(config: NodeConfig) -> Result<Node, Failure> {
    for path in &config.seeds {
        if let Some(url) = seeding::url_of(path) {
            let named = |error| Failure::Configuration(format!("{}: {error}", origin::named("seed")));
            seeding::check_url(url).map_err(named)?;
        } else if !path.exists() {
            return Err(Failure::Io(format!("{}: no such file or folder to seed: check the path", path.display())));
        }
    }
    let (data_dir, listen) = (config.data_dir.clone(), config.listen);
    let node = Node::start(config).await.map_err(|error| start_failure(&data_dir, listen, &error))?;
    if without_trust::is_without_trust(node.trust()) {
        output::remark(without_trust::without_roots(node.chain()));
    }
    Ok(node)
}

fn start_failure(data_dir: &Path, listen: ListenAddresses, error: &StartError) -> Failure {
    let text = format!("the peer in {} did not start: {}", data_dir.display(), with_advice(error));
    match error {
        // Neither another folder nor another address would help.
        _ if is_out_of_descriptors(error) => Failure::Internal(text),
        StartError::Discovery(discovery::StartError::Bind(source)) => {
            Failure::Configuration(cannot_listen("UDP", listened(listen), "listen", source))
        }
        // Its address is discv5's, which is bound later; only the port is its own.
        StartError::Quic(quic::StartError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrNotAvailable => {
            Failure::Configuration(cannot_listen("UDP", listened(listen), "listen", source))
        }
        StartError::Quic(quic::StartError::Bind { address, source }) => {
            Failure::Configuration(cannot_listen("QUIC's UDP", address, "quic", source))
        }
        StartError::Rpc(RpcError::Listen { address, source }) => {
            Failure::Configuration(cannot_listen("JSON-RPC's TCP", address, "rpc", source))
        }
        StartError::Metrics { address, source } => {
            Failure::Configuration(cannot_listen("the metrics' TCP", address, "metrics", source))
        }
        StartError::Trust(TrustStoreError::Refused { .. } | TrustStoreError::Damaged { .. }) => Failure::Invalid(text),
        StartError::Trust(_) => Failure::Io(text),
        StartError::Identity(_) => Failure::Io(text),
        // In use, of another chain, of a newer version: the store says which, and knows of folders but not of flags.
        StartError::Store(_) => Failure::Io(format!("{text} (--data-dir names another folder)")),
        StartError::Discovery(discovery::StartError::NoAddress) => Failure::Configuration(text),
        StartError::Discovery(_)
        | StartError::Rpc(RpcError::Method(_))
        | StartError::Http(_)
        | StartError::Quic(_)
        | StartError::Tracker(_)
        | StartError::Protocol(_)
        | StartError::Stopping(_) => Failure::Internal(text),
    }
}

fn listened(on: ListenAddresses) -> String {
    let addresses = on.v4.map(SocketAddr::V4).into_iter().chain(on.v6.map(SocketAddr::V6));
    addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(" or ")
}

fn named_bootnodes(given: Vec<Bootnode>) -> Result<Vec<Enr>, Failure> {
    let count = given.len();
    let records: Vec<Enr> = given
        .into_iter()
        .filter_map(|bootnode| match bootnode {
            Bootnode::Nobody => None,
            Bootnode::At(enr) => Some(*enr),
        })
        .collect();
    if !records.is_empty() && records.len() < count {
        let name = origin::named("bootnodes");
        return Err(Failure::Configuration(format!("{name}: give node records, or `none` alone, and not both")));
    }
    Ok(records)
}

fn listen_addresses(addresses: &[SocketAddr]) -> Result<ListenAddresses, Failure> {
    let mut listen = ListenAddresses { v4: None, v6: None };
    for address in addresses {
        let taken = match address {
            SocketAddr::V4(v4) => listen.v4.replace(*v4).is_some(),
            SocketAddr::V6(v6) => listen.v6.replace(*v6).is_some(),
        };
        if taken {
            let name = origin::named("listen");
            return Err(Failure::Configuration(format!("{name}: give one IPv4 and one IPv6 address at most")));
        }
    }
    Ok(listen)
}

#[cfg(test)]
mod tests {
    use cairn_proto::limits::TransferLimits;
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    /// The configuration that `cairn run` makes of a file and flags.
    fn configured(file: &str, flags: &[&str]) -> NodeConfig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let line = [&["cairn", "--data-dir", "/nowhere", "--config", path, "run"], flags].concat();
        let Cli { command, global } = Cli::try_parse_from(line).unwrap();
        let Command::Run(flags) = command else { panic!("{command:?}") };
        config(&Settings::load(global, "info").unwrap(), flags).unwrap()
    }

    #[test]
    fn limits_of_transfers_come_from_flags_and_from_the_file() {
        let file = "[network]\nmax-inbound = 1\nmax-inbound-per-peer = 2\nmax-fetches = 3\nmax-fetches-per-peer = 4\n\
                    max-outbound = 5\nmax-outbound-per-peer = 6\n";
        let of_file = TransferLimits {
            inbound: 1,
            inbound_per_peer: 2,
            fetches: 3,
            fetches_per_peer: 4,
            outbound: 5,
            outbound_per_peer: 6,
        };
        assert_eq!(configured(file, &[]).transfers, of_file);
        let flags = ["--max-fetches", "30", "--max-fetches-per-peer", "40"];
        let expected = TransferLimits { fetches: 30, fetches_per_peer: 40, ..of_file };
        assert_eq!(configured(file, &flags).transfers, expected);
        assert_eq!(configured("", &[]).transfers, TransferLimits::default());
    }

    #[test]
    fn the_help_says_what_limits_there_are_without_flags() {
        let limits = TransferLimits::default();
        let command = <Cli as clap::CommandFactory>::command();
        let run = command.find_subcommand("run").unwrap();
        for (flag, default) in [
            ("max-inbound", limits.inbound),
            ("max-inbound-per-peer", limits.inbound_per_peer),
            ("max-fetches", limits.fetches),
            ("max-fetches-per-peer", limits.fetches_per_peer),
            ("max-outbound", limits.outbound),
            ("max-outbound-per-peer", limits.outbound_per_peer),
        ] {
            let help = run.get_arguments().find(|argument| argument.get_long() == Some(flag)).unwrap().get_help();
            let help = help.unwrap().to_string();
            assert!(help.ends_with(&format!("[default: {default}]")), "{flag}: {help}");
        }
    }

    #[test]
    fn who_may_call_the_rpc_comes_from_flags_and_from_the_file() {
        let closed = configured("", &[]).rpc.unwrap();
        assert!(closed.origins.is_empty() && closed.hosts.is_empty());
        let file = "[node]\nrpc-origins = ['https://dapp.example']\nrpc-hosts = ['a.lan']\n";
        let rpc = configured(file, &["--rpc-hosts", "b.lan,c.lan"]).rpc.unwrap();
        assert_eq!(rpc.origins, ["https://dapp.example".parse().unwrap()]);
        assert_eq!(rpc.hosts, ["b.lan", "c.lan"].map(|name| name.parse().unwrap()));
    }

    #[test]
    fn only_a_peer_that_nobody_outside_could_know_is_taken_to_be_in_a_local_network() {
        use AddressPolicy::{Internet, Local};
        let folder = tempfile::tempdir().unwrap();
        let key = cairn_node::identity::load_or_create_key(&folder.path().join("key")).unwrap();
        let local_enr = Enr::builder().ip4(Ipv4Addr::LOCALHOST).udp4(9009).build(&key).unwrap().to_base64();
        let outer_enr = bootnodes::of(1)[0];
        let none = ["--nat", "none", "--bootnodes"];
        let both = format!("{local_enr},{outer_enr}");
        for (listen, bootnodes, expected) in [
            ("127.0.0.1:0", "none", Local),
            ("192.168.1.2:0,[fd00::1]:0", local_enr.as_str(), Local),
            ("0.0.0.0:0", local_enr.as_str(), Local),
            ("0.0.0.0:0", "none", Internet),
            ("127.0.0.1:0", outer_enr, Internet),
            ("0.0.0.0:0", both.as_str(), Internet),
            ("192.168.1.2:0,[2001:db8::1]:0", "none", Internet),
        ] {
            let flags = [&none[..], &[bootnodes, "--listen", listen]].concat();
            assert_eq!(configured("", &flags).addresses, expected, "{listen} {bootnodes}");
        }
        // A router or other peers tell an address to the world.
        let flags = ["--listen", "192.168.1.2:9009", "--bootnodes", local_enr.as_str()];
        assert_eq!(configured("", &flags).addresses, Internet);
        assert_eq!(configured("[network]\naddresses = 'local'\n", &flags).addresses, Local);
        let flags = ["--listen", "127.0.0.1:0", "--nat", "none", "--bootnodes", "none", "--addresses", "internet"];
        assert_eq!(configured("[network]\naddresses = 'local'\n", &flags).addresses, Internet);
    }

    #[test]
    fn one_address_of_each_family_is_the_most() {
        let listen = listen_addresses(&["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]).unwrap();
        assert!(listen.v4.is_some() && listen.v6.is_some());
        assert!(listen_addresses(&["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()]).is_err());
    }

    #[test]
    fn built_in_bootnodes_are_records() {
        assert!(!bootnodes::of(1).is_empty());
        assert!(bootnodes::of(1).iter().all(|text| Enr::read(text).is_ok()));
    }
}
