//! A folder of capsules of followed accounts. A file's name tells chain, block, and the head of the block's hash, so the names alone
//! say how far it is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use alloy_primitives::{B256, hex};

/// What a capsule's name ends with.
const ENDING: &str = "capsule";
/// Bytes of a block's hash in a file's name.
const SHORT_HASH: usize = 4;

/// The folder, as far as it is one chain's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedFolder {
    path: PathBuf,
    chain: String,
}

impl FollowedFolder {
    /// The folder of a chain, by the chain's name. Nothing is touched.
    pub fn new(path: PathBuf, chain: &str) -> Self {
        Self { path, chain: chain.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the capsule of a block belongs.
    pub fn file(&self, block: u64, hash: B256) -> PathBuf {
        let hash = hex::encode(hash.get(..SHORT_HASH).unwrap_or_default());
        self.path.join(format!("{}-{block:010}-{hash}.{ENDING}", self.chain))
    }

    /// The files by the blocks in their names. A block has several when it was taken back and another one came in its place.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn files(&self) -> io::Result<BTreeMap<u64, Vec<PathBuf>>> {
        let mut files: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if let Some(block) = path.file_name().and_then(|name| self.block(name.to_str()?)) {
                files.entry(block).or_default().push(path);
            }
        }
        Ok(files)
    }

    /// The youngest block up to the chain's `head` that there is a capsule of. A name can tell of any number.
    ///
    /// # Errors
    /// What the file system reports.
    pub fn last(&self, head: u64) -> io::Result<Option<u64>> {
        Ok(self.files()?.range(..=head).next_back().map(|(block, _)| *block))
    }

    fn block(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.chain)?.strip_prefix('-')?.strip_suffix(ENDING)?.strip_suffix('.')?;
        rest.split_once('-')?.0.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capsules_of_a_chain_are_found_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        let folder = FollowedFolder::new(root.path().to_owned(), "mainnet");
        assert_eq!(folder.last(u64::MAX).unwrap(), None);
        let blocks = [7, 30, 1_000_000_007];
        for block in blocks {
            fs::write(folder.file(block, B256::repeat_byte(7)), "").unwrap();
        }
        fs::write(folder.file(30, B256::ZERO), "").unwrap();
        fs::write(FollowedFolder::new(root.path().to_owned(), "sepolia").file(2_000_000_000, B256::ZERO), "").unwrap();
        fs::write(root.path().join("mainnet-9000000000-00000000.capsule.part"), "").unwrap();
        fs::write(root.path().join("notes"), "").unwrap();
        assert_eq!(folder.last(1_000_000_007).unwrap(), Some(1_000_000_007));
        assert_eq!(folder.last(1_000_000_006).unwrap(), Some(30));
        let files = folder.files().unwrap();
        assert_eq!(files.keys().copied().collect::<Vec<_>>(), blocks);
        assert_eq!(files[&30].len(), 2);
        assert!(files[&7][0].ends_with("mainnet-0000000007-07070707.capsule"), "{files:?}");
    }
}
