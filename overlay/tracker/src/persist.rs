//! The state file on the disk. Everything here blocks, and is called on a thread for it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    EraKey, TrackedChain,
    records::{
        EraRecord,
        state_file::{self, Damage},
    },
};

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Damage(#[from] Damage),
}

/// The records in the file. A node that lost them is as good as a new one: so a file that cannot be used is reported,
/// put aside and otherwise treated like none.
pub(crate) fn load(path: &Path, chain: &TrackedChain) -> Vec<(EraKey, EraRecord)> {
    let error = match read(path, chain) {
        Ok(records) => return records,
        Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => error,
    };
    let aside = beside(path, ".damaged");
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(file = %path.display(), %error, "tracker state not used, kept as {}", aside.display()),
        Err(rename) => tracing::warn!(file = %path.display(), %error, %rename, "tracker state not used"),
    }
    Vec::new()
}

fn read(path: &Path, chain: &TrackedChain) -> Result<Vec<(EraKey, EraRecord)>, LoadError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(state_file::MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > state_file::MAX_BYTES {
        return Err(Damage::TooLong.into());
    }
    Ok(state_file::decode(chain, &bytes)?)
}

/// Replaces the file: whoever reads it, even after a power cut, finds the old content or the new.
pub(crate) fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: TrackedChain = TrackedChain { id: 1, genesis_hash: [1; 32] };

    #[test]
    fn a_saved_state_is_loaded_and_a_damaged_one_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracker");
        assert!(load(&path, &CHAIN).is_empty());

        let record = EraRecord { provider: [2; 33], addresses: vec!["127.0.0.1:9".parse().unwrap()], renewed: 5 };
        let mut bytes = state_file::encode(&CHAIN, std::iter::once((&[3; 32], &record)));
        save(&path, &bytes).unwrap();
        assert_eq!(load(&path, &CHAIN), [([3; 32], record)]);

        bytes[60] ^= 1;
        save(&path, &bytes).unwrap();
        assert!(load(&path, &CHAIN).is_empty());
        assert!(!path.exists());
        assert_eq!(fs::read(folder.path().join("tracker.damaged")).unwrap(), bytes);
        assert!(!folder.path().join("tracker.tmp").exists());
    }
}
