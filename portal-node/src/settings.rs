//! Settings: flags over environment variables over the configuration file over defaults.
//!
//! clap lays flags over `CAIRN_*` variables (`flags`); here the result is laid over the TOML file. The file's keys are the
//! names of the flags; what a storage peer keeps and offers stands in the table `[node]`, how a peer of any kind reaches
//! others in the table `[network]`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use content_types::ChainSpec;

use crate::{
    failure::Failure,
    flags::{Common, GlobalArgs, NetworkArgs, NodeArgs},
    origin,
    values::LogFormat,
};

/// The configuration file's name in the data folder.
const FILE_NAME: &str = "cairn.toml";

/// The settings that every command works with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Folder of the peer's key, store and trust lists, if it is named.
    data_dir: Option<PathBuf>,
    /// Where each chain has such a folder that is not named; unknown to a user without a home.
    base_dir: Option<PathBuf>,
    /// Folder of the trust lists, if it is named.
    trust_dir: Option<PathBuf>,
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
    /// Lays the flags over the configuration file; `default_log` is what the command logs unless told otherwise.
    ///
    /// # Errors
    /// When the file cannot be read or says something unknown.
    pub(crate) fn load(args: GlobalArgs, default_log: &str) -> Result<Self, Failure> {
        Self::load_under(base_dir(), args, default_log)
    }

    fn load_under(base_dir: Option<PathBuf>, args: GlobalArgs, default_log: &str) -> Result<Self, Failure> {
        let flags = args.common;
        // The file may name the chain, so it lies above the chains' folders.
        let folder = flags.data_dir.as_ref().or(base_dir.as_ref());
        let file = match (&args.config, folder.map(|folder| folder.join(FILE_NAME))) {
            (Some(path), _) => read_file(path, &format!("{}: ", origin::named("config")))?,
            (None, Some(path)) if path.exists() => read_file(&path, "")?,
            (None, _) => Common::default(),
        };
        let given = flags.or(file);
        Ok(Self {
            data_dir: given.data_dir,
            base_dir,
            trust_dir: given.trust,
            chain: given.chain.unwrap_or_else(|| "mainnet".to_owned()),
            log: given.log.map_or_else(|| default_log.to_owned(), |filter| filter.0),
            log_format: given.log_format.unwrap_or(LogFormat::Text),
            json: given.json.unwrap_or(false),
            node: NodeArgs { network: given.network, ..given.node },
        })
    }

    /// Folder of the peer's key, store and trust lists: the one that is named, or else the chain's own.
    ///
    /// # Errors
    /// When none is named and there is no home for one, or no such chain.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        match (&self.data_dir, &self.base_dir) {
            (Some(named), _) => Ok(named.clone()),
            // A chain's name has nothing in it that leads elsewhere: letters, digits and hyphens.
            (None, Some(base)) => Ok(base.join(self.chain()?.name())),
            (None, None) => {
                Err(Failure::Configuration("no data folder: give --data-dir, or set HOME or XDG_DATA_HOME".into()))
            }
        }
    }

    /// Folder of the trust lists.
    ///
    /// # Errors
    /// As for [`Settings::data_dir`], in which it is unless it is named.
    pub(crate) fn trust_dir(&self) -> Result<PathBuf, Failure> {
        match &self.trust_dir {
            Some(named) => Ok(named.clone()),
            None => Ok(self.data_dir()?.join("trust")),
        }
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

/// Reads the file. A complaint that there is none begins with what it was named by, one about what it says with file and line.
fn read_file(path: &Path, named: &str) -> Result<Common, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Configuration(format!(
            "{named}the configuration file {} cannot be read: {error}: give another with --config or CAIRN_CONFIG",
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
                .map_err(|error| Failure::Configuration(format!("{}: {path}: {error}", origin::named("chain"))))
        }
    }
}

/// The user's folder for what this program keeps.
fn base_dir() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share"))).map(|base| base.join("cairn"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use bytesize::ByteSize;
    use cairn_synthetic::{SyntheticChain, SyntheticConfig};
    use overlay::discovery::Nat;
    use proptest::prelude::*;

    use super::*;
    use crate::values::{Bootnode, ListenAt};

    fn load(file: &str, flags: Common) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.toml");
        fs::write(&path, file).unwrap();
        Settings::load(GlobalArgs { config: Some(path), common: flags }, "info")
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file =
            "data-dir = '/from/file'\nlog = 'debug'\n[node]\ncapacity = '7GB'\nrpc = 'none'\n[network]\nnat = 'upnp'\n";
        let flags = Common { data_dir: Some("/from/flag".into()), ..Common::default() };
        let settings = load(file, flags).unwrap();
        assert_eq!(settings.data_dir().unwrap(), Path::new("/from/flag"));
        assert_eq!(settings.trust_dir().unwrap(), Path::new("/from/flag/trust"));
        assert_eq!(settings.log, "debug");
        assert!(!settings.json);
        let node = settings.node(NodeArgs { capacity: Some(ByteSize::gb(9)), ..NodeArgs::default() });
        assert_eq!(node.capacity, Some(ByteSize::gb(9)));
        assert_eq!(node.rpc, Some(ListenAt::Nowhere));
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
    fn each_chain_has_a_folder_of_its_own_unless_one_is_named() {
        let base = tempfile::tempdir().unwrap();
        let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
        let specification = base.path().join("chain.json");
        fs::write(&specification, chain.spec().to_json()).unwrap();
        let load = |flags: Common| {
            let args = GlobalArgs { config: None, common: flags };
            Settings::load_under(Some(base.path().to_owned()), args, "info").unwrap()
        };
        let of_chain = |name: &str| load(Common { chain: Some(name.to_owned()), ..Common::default() });
        assert_eq!(load(Common::default()).data_dir().unwrap(), base.path().join("mainnet"));
        assert_eq!(of_chain("sepolia").data_dir().unwrap(), base.path().join("sepolia"));
        let of_file = of_chain(specification.to_str().unwrap());
        assert_eq!(of_file.trust_dir().unwrap(), base.path().join(chain.spec().name()).join("trust"));
        assert!(of_chain("/nowhere/chain.json").data_dir().is_err());

        let named = load(Common { data_dir: Some("/named".into()), ..Common::default() });
        assert_eq!(named.data_dir().unwrap(), Path::new("/named"));
        fs::write(base.path().join(FILE_NAME), "chain = 'sepolia'\n").unwrap();
        assert_eq!(load(Common::default()).data_dir().unwrap(), base.path().join("sepolia"));
        let homeless = Settings::load_under(None, GlobalArgs::default(), "info").unwrap();
        assert!(homeless.data_dir().unwrap_err().to_string().contains("--data-dir"));
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
    fn a_bad_value_in_the_file_is_a_line_that_names_its_line() {
        for (file, line, said) in [
            ("log = 'info'\n[node]\ncapacity = 'much'\n", 3, "50GB"),
            ("[node]\nrpc = 'localhost'\n", 2, "ADDR:PORT"),
            ("[node]\nshares = ['history=1',\n'moon=1']\n", 3, "NETWORK=SHARE"),
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

    proptest! {
        /// Names, values and signs of a good file in any order, and anything between them.
        #[test]
        fn any_file_is_read_or_refused_in_one_line_that_names_its_own(
            file in "(\\[(node|network|x)\\]|chain|data-dir|log|log-format|json|capacity|disk-reserve|shares|seed|rpc|\
                      rpc-origins|metrics|key|listen|nat|bootnodes|addresses|max-peers|upload-limit|headers-from|max-fetches|\
                      =|'|\"|\\[|\\]|,|\\.|#|\n|\n| |true|none|local|50GB|-1|99999999999999999999|127\\.0\\.0\\.1:0|\
                      history=1|extip:1\\.2\\.3\\.4|http://x|~|\\$HOME|\\PC){0,40}"
        ) {
            match load(&file, Common::default()) {
                Ok(settings) => drop((settings.node(NodeArgs::default()), settings.fetcher(NetworkArgs::default()))),
                Err(error) => {
                    let error = error.to_string();
                    let (_, told) = error.split_once("test.toml:").expect("which file");
                    let line = told.split_once(": ").and_then(|(line, _)| line.parse::<usize>().ok());
                    prop_assert!(line.is_some_and(|line| (1..=file.lines().count().max(1) + 1).contains(&line)), "{}", error);
                    prop_assert_eq!(error.lines().count(), 1, "{}", error);
                }
            }
        }
    }
}
