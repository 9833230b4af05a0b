//! How far the offering of each archive has come, kept in a file so that a restart goes on from there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cairn_archive::Archive;

use crate::files::{read_bounded, write_atomically};

/// A path of 400 bytes for each of ten thousand archives.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What an archive's position is kept under: its whole path, for two folders may have files of the same name.
pub(super) fn key(archive: &Archive) -> String {
    let path = archive.path().and_then(|path| std::path::absolute(path).ok());
    path.map_or_else(|| archive.name().to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The next block of each archive, by its [`key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    file: PathBuf,
    next: BTreeMap<String, u64>,
}

impl Position {
    /// The position in `file`. A file that cannot be read counts as none: offering something twice costs little.
    pub(super) fn load(file: &Path) -> Self {
        let next = match read_bounded(file, MAX_FILE_BYTES) {
            Ok(bytes) => bytes.map_or_else(BTreeMap::new, |bytes| serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "seeding starts from the beginning");
                BTreeMap::new()
            }
        };
        Self { file: file.to_owned(), next }
    }

    /// No position, to be saved in `file`.
    pub(super) fn start(file: &Path) -> Self {
        Self { file: file.to_owned(), next: BTreeMap::new() }
    }

    /// The first block of `archive` that was not offered yet.
    pub(super) fn next(&self, archive: &str) -> Option<u64> {
        self.next.get(archive).copied()
    }

    /// Everything before `next` was offered. Blocks on the disk.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub(super) fn advance(&mut self, archive: &str, next: u64) -> io::Result<()> {
        self.next.insert(archive.to_owned(), next);
        write_atomically(&self.file, &serde_json::to_vec(&self.next)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_and_a_broken_file_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("position.json");
        let mut position = Position::load(&file);
        assert_eq!(position.next("a.era1"), None);
        position.advance("a.era1", 64).unwrap();
        position.advance("b.era1", 8192).unwrap();
        assert_eq!(Position::load(&file), position);
        assert_eq!(Position::load(&file).next("a.era1"), Some(64));
        std::fs::write(&file, "{").unwrap();
        assert_eq!(Position::load(&file), Position::start(&file));
    }
}
