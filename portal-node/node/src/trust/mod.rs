//! The lists behind the chain's trust roots: kept as files in one folder, checked whenever they come in.
//!
//! A list comes from a file, from an HTTP mirror (`mirror`) or from peers (`trust_fetcher`); wherever it comes from, it is
//! checked against the root in the chain specification before it is saved or used.

mod mirror;
pub(crate) mod order;
mod proved_summaries;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::trust::{HistoricalSummaries, TrustError, TrustListKind};
use content_types::{ChainSpec, HeaderVerifier, TrustLists};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::files::{read_bounded, write_atomically};

pub use mirror::MirrorError;

/// Why a list was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum TrustStoreError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's contents are not a list that the chain's roots vouch for.
    #[error("{}: {source}. Nothing was imported", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// The rule it breaks.
        source: TrustError,
    },
    /// The file is no historical summaries with their proof.
    #[error(
        "{}: no historical summaries with their proof, neither as SSZ nor with a fork digest in front: {source}. Nothing was \
         imported",
        path.display()
    )]
    NotSummaries {
        /// Which file.
        path: PathBuf,
        /// The rule that it breaks without a fork digest.
        source: TrustError,
    },
    /// A list that was kept does not pass its check any more.
    #[error(
        "{}: {source}. It is not used: `cairn trust fetch` and `cairn trust import FILE` put a good one in its place",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The rule it breaks.
        source: TrustError,
    },
    /// There is no such file.
    #[error("{}: no such file: check the path", .0.display())]
    Missing(PathBuf),
}

/// What is there of one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListStatus {
    /// Which list.
    pub kind: TrustListKind,
    /// The root that it is checked against; without one, this chain needs no such list or none can be trusted.
    pub root: Option<B256>,
    /// Entries of the checked list; `None` when it is missing.
    pub entries: Option<usize>,
    /// Where it is kept.
    pub file: PathBuf,
}

/// The name of a list's file, in the folder and on a mirror: the names that the public test data gives them.
pub fn file_name(kind: TrustListKind) -> &'static str {
    match kind {
        TrustListKind::PreMergeAccumulator => "historical_hashes_accumulator.ssz",
        TrustListKind::HistoricalRoots => "historical_roots.ssz",
        TrustListKind::HistoricalSummaries => "historical_summaries.ssz",
    }
}

/// The folder of the lists and what it holds, checked. What is taken in later counts for every verifier asked for from
/// then on.
#[derive(Debug)]
pub struct TrustStore {
    dir: PathBuf,
    chain: Arc<ChainSpec>,
    lists: RwLock<TrustLists>,
    changed: watch::Sender<()>,
}

impl TrustStore {
    /// Loads the lists in `dir`, which need not exist. Lists for which `chain` has no root are left alone, except
    /// summaries that were imported under the root of a beacon state.
    ///
    /// # Errors
    /// [`TrustStoreError`] for a file that cannot be read, or that has another root than the chain's.
    pub fn open(dir: impl Into<PathBuf>, chain: Arc<ChainSpec>) -> Result<Self, TrustStoreError> {
        let dir = dir.into();
        let mut lists = TrustLists::default();
        let roots = chain.trust_roots();
        for kind in TrustListKind::ALL.into_iter().filter(|kind| roots.root(*kind).is_some()) {
            let path = dir.join(file_name(kind));
            if let Some(bytes) = read_list(&path)? {
                lists.import(kind, &bytes, roots).map_err(|source| TrustStoreError::Damaged { path, source })?;
            }
        }
        proved_summaries::load(&dir)?.into_iter().for_each(|summaries| lists.extend_summaries(summaries));
        Ok(Self { dir, chain, lists: RwLock::new(lists), changed: watch::Sender::new(()) })
    }

    /// Renames the files in `dir` that fail their check, so that good ones can take their places. Blocks on the disk.
    ///
    /// # Errors
    /// [`TrustStoreError::File`] for one that cannot be read or renamed.
    pub fn set_aside_damaged(dir: &Path, chain: &ChainSpec) -> Result<Vec<SetAside>, TrustStoreError> {
        let roots = chain.trust_roots();
        let mut set_aside = Vec::new();
        for kind in TrustListKind::ALL.into_iter().filter(|kind| roots.root(*kind).is_some()) {
            let path = dir.join(file_name(kind));
            let why = match read_list(&path) {
                Ok(None) => continue,
                Ok(Some(bytes)) => match TrustLists::default().import(kind, &bytes, roots) {
                    Ok(()) => continue,
                    Err(rule) => format!("{}: {rule}", path.display()),
                },
                Err(TrustStoreError::File { path, source }) if source.kind() == io::ErrorKind::FileTooLarge => {
                    format!("{}: {source}", path.display())
                }
                Err(error) => return Err(error),
            };
            set_aside.push(SetAside { why, to: set_aside_file(path)? });
        }
        for (path, rule) in proved_summaries::damaged(dir)? {
            let why = format!("{}: {rule}", path.display());
            set_aside.push(SetAside { why, to: set_aside_file(path)? });
        }
        Ok(set_aside)
    }

    /// The chain whose lists are kept.
    pub fn chain(&self) -> &Arc<ChainSpec> {
        &self.chain
    }

    /// A verifier with the lists that are there now.
    pub fn verifier(&self) -> HeaderVerifier {
        HeaderVerifier::new(Arc::clone(&self.chain), self.lists.read().clone())
    }

    /// Whether any list is there, so that some header can be proved.
    pub fn has_lists(&self) -> bool {
        let lists = self.lists.read();
        TrustListKind::ALL.into_iter().any(|kind| lists.entries(kind).is_some())
    }

    /// What is there of each list.
    pub fn status(&self) -> Vec<ListStatus> {
        let lists = self.lists.read();
        TrustListKind::ALL
            .into_iter()
            .map(|kind| ListStatus {
                kind,
                root: self.chain.trust_roots().root(kind),
                entries: lists.entries(kind),
                file: self.dir.join(file_name(kind)),
            })
            .collect()
    }

    /// The lists that the chain has a root for and that are not there, with their roots.
    pub fn missing(&self) -> Vec<(TrustListKind, B256)> {
        let lists = self.lists.read();
        TrustListKind::ALL
            .into_iter()
            .filter(|kind| lists.entries(*kind).is_none())
            .filter_map(|kind| Some((kind, self.chain.trust_roots().root(kind)?)))
            .collect()
    }

    /// Tells of each list that is taken in from here on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The list with this root as a peer can check it, if it is there.
    pub fn encoded(&self, root: &B256) -> Option<Bytes> {
        self.lists.read().encoded(root, self.chain.trust_roots()).map(Bytes::from)
    }

    /// Checks the file at `path`, finds out which list it is, and takes it in. Historical summaries may come with their proof,
    /// too, of which nothing is needed here, and with a fork digest in front of that. Blocks on the disk.
    ///
    /// # Errors
    /// [`TrustStoreError`] when it cannot be read, is none of the chain's lists, or cannot be saved.
    pub fn import_file(&self, path: &Path) -> Result<TrustListKind, TrustStoreError> {
        let bytes = read_list(path)?.ok_or_else(|| TrustStoreError::Missing(path.to_owned()))?;
        let kind = self
            .take(|lists| self.recognize(lists, &bytes))
            .map_err(|source| TrustStoreError::Refused { path: path.to_owned(), source })?;
        self.save(kind)?;
        Ok(kind)
    }

    fn recognize(&self, lists: &mut TrustLists, bytes: &[u8]) -> Result<TrustListKind, TrustError> {
        let (roots, kind) = (self.chain.trust_roots(), TrustListKind::HistoricalSummaries);
        lists.import_any(bytes, roots).or_else(|unrecognized| {
            let with_proof = proved_summaries::decode(bytes).map_err(|_| unrecognized)?;
            lists.import(kind, &HistoricalSummaries::encode(with_proof.summaries()), roots)?;
            Ok(kind)
        })
    }

    /// Checks historical summaries in the file at `path`, with their proof, against the root of a beacon state that the
    /// caller trusts, and takes them in, for later runs too. A fork digest may stand in front. Blocks on the disk.
    ///
    /// # Errors
    /// [`TrustStoreError`] when the file cannot be read, does not prove true, or cannot be saved.
    pub fn import_summaries(&self, path: &Path, state_root: B256) -> Result<TrustListKind, TrustStoreError> {
        let bytes = read_list(path)?.ok_or_else(|| TrustStoreError::Missing(path.to_owned()))?;
        let with_proof = proved_summaries::decode(&bytes)
            .map_err(|source| TrustStoreError::NotSummaries { path: path.to_owned(), source })?;
        let container = with_proof.encode();
        let summaries = HistoricalSummaries::from_state_proof(with_proof, state_root)
            .map_err(|source| TrustStoreError::Refused { path: path.to_owned(), source })?;
        proved_summaries::save(&self.dir, &container, state_root)?;
        self.lists.write().extend_summaries(summaries);
        self.changed.send_replace(());
        self.save(TrustListKind::HistoricalSummaries)?;
        Ok(TrustListKind::HistoricalSummaries)
    }

    /// Checks a list that came from elsewhere and takes it in. Blocks on the disk.
    ///
    /// # Errors
    /// The rule that the bytes break; `Ok(Err(_))` if the list is good and in use but could not be saved.
    pub(crate) fn import(&self, kind: TrustListKind, bytes: &[u8]) -> Result<Result<(), TrustStoreError>, TrustError> {
        self.take(|lists| lists.import(kind, bytes, self.chain.trust_roots()))?;
        Ok(self.save(kind))
    }

    /// Checks outside the lock, for the tree of a long list takes a while to hash; then takes over what was found good.
    fn take<T>(&self, import: impl FnOnce(&mut TrustLists) -> Result<T, TrustError>) -> Result<T, TrustError> {
        let mut checked = TrustLists::default();
        let imported = import(&mut checked)?;
        let TrustLists { pre_merge, historical_roots, summaries } = checked;
        let mut lists = self.lists.write();
        lists.pre_merge = pre_merge.or_else(|| lists.pre_merge.take());
        lists.historical_roots = historical_roots.or_else(|| lists.historical_roots.take());
        if let Some(summaries) = summaries {
            lists.extend_summaries(summaries);
        }
        drop(lists);
        self.changed.send_replace(());
        Ok(imported)
    }

    fn save(&self, kind: TrustListKind) -> Result<(), TrustStoreError> {
        let Some(bytes) = self.chain.trust_roots().root(kind).and_then(|root| self.encoded(&root)) else {
            return Ok(());
        };
        let path = self.dir.join(file_name(kind));
        write_atomically(&path, &bytes).map_err(|source| TrustStoreError::File { path, source })
    }
}

/// A list that failed its check and was renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Which file, and the rule it breaks.
    pub why: String,
    /// What it is called now.
    pub to: PathBuf,
}

fn set_aside_file(path: PathBuf) -> Result<PathBuf, TrustStoreError> {
    let mut to = path.clone().into_os_string();
    to.push(".damaged");
    let to = PathBuf::from(to);
    match fs::rename(&path, &to) {
        Ok(()) => Ok(to),
        Err(source) => Err(TrustStoreError::File { path, source }),
    }
}

fn read_list(path: &Path) -> Result<Option<Vec<u8>>, TrustStoreError> {
    let limit = TrustListKind::ALL.into_iter().map(TrustListKind::max_len).max().unwrap_or(0);
    read_bounded(path, limit as u64).map_err(|source| TrustStoreError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use cairn_synthetic::{SyntheticChain, SyntheticConfig};

    use super::*;

    #[test]
    fn lists_are_in_use_while_another_is_checked_and_none_is_lost() {
        let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let trust = TrustStore::open(folder.path(), Arc::clone(chain.spec())).unwrap();
        let roots = chain.spec().trust_roots();
        for (already, kind) in TrustListKind::ALL.into_iter().enumerate() {
            let list = chain.trust_lists().encoded(&roots.root(kind).unwrap(), roots).unwrap();
            let mut checks = 0;
            let taken = trust.take(|lists| {
                checks += 1;
                assert_eq!(TrustListKind::ALL.len() - trust.missing().len(), already, "nobody waits for the check");
                lists.import(kind, &list, roots)
            });
            assert_eq!((taken, checks), (Ok(()), 1));
        }
        assert_eq!(trust.missing(), []);
        let refused = trust.take(|lists| lists.import(TrustListKind::HistoricalRoots, &[0; 32], roots));
        assert!(refused.is_err() && trust.missing().is_empty(), "what is refused changes nothing");
    }
}
