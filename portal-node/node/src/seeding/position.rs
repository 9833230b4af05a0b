//! How far the offering of each archive has come, kept in a file so that a restart goes on from there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use alloy_primitives::keccak256;
use cairn_archive::Archive;
use serde::{Deserialize, Serialize};

use crate::files::{read_bounded, write_atomically};

/// A path of 400 bytes for each of ten thousand archives.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Which archive a position is of: its whole path, for two folders may have files of the same name, and the state of the
/// file there, for what was refused of a damaged one is offered when it has been repaired.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ArchiveKey {
    path: String,
    file: FileStamp,
}

/// What changes when a file is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct FileStamp {
    bytes: u64,
    /// Nanoseconds since 1970; 0 if the file system does not say. Of what is in a bucket, a hash of what tells it apart.
    modified: u64,
}

impl ArchiveKey {
    /// The key of an archive that lies in a bucket, where `stamp` tells its states apart.
    pub(super) fn of_object(archive: &Archive, stamp: Option<&str>) -> Self {
        let hash = keccak256(stamp.unwrap_or_default());
        let modified = hash.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
        Self { path: archive.name().to_owned(), file: FileStamp { bytes: archive.file_len(), modified } }
    }

    /// Whether two are of the same archive, in whatever state.
    pub(super) fn is_of_same(&self, other: &Self) -> bool {
        self.path == other.path
    }

    /// The key of an archive as its file is now. Blocks on the disk.
    pub(super) fn of(archive: &Archive) -> Self {
        let path = archive.path().and_then(|path| std::path::absolute(path).ok());
        let file = path.as_deref().and_then(|path| fs::metadata(path).ok()).map_or_else(FileStamp::default, |found| {
            let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified = modified.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
            FileStamp { bytes: found.len(), modified }
        });
        let path = path.map_or_else(|| archive.name().to_owned(), |path| path.to_string_lossy().into_owned());
        Self { path, file }
    }
}

/// How far the offering of one archive has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ArchivePosition {
    /// The first block that is still to be offered.
    next: u64,
    #[serde(flatten)]
    file: FileStamp,
}

/// The next block of each archive, by its [`ArchiveKey`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    file: PathBuf,
    places: BTreeMap<String, ArchivePosition>,
}

impl Position {
    /// The position in `file`. A file that cannot be read counts as none: offering something twice costs little.
    pub(super) fn load(file: &Path) -> Self {
        let places = match read_bounded(file, MAX_FILE_BYTES) {
            Ok(bytes) => bytes.map_or_else(BTreeMap::new, |bytes| serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "seeding starts from the beginning");
                BTreeMap::new()
            }
        };
        Self { file: file.to_owned(), places }
    }

    /// No position, to be saved in `file`.
    pub(super) fn start(file: &Path) -> Self {
        Self { file: file.to_owned(), places: BTreeMap::new() }
    }

    /// The first block of an archive that was not offered yet.
    pub(super) fn next(&self, archive: &ArchiveKey) -> Option<u64> {
        self.places.get(&archive.path).filter(|place| place.file == archive.file).map(|place| place.next)
    }

    /// Everything before `next` was offered, or never can be. Blocks on the disk.
    ///
    /// # Errors
    /// Whatever the file system reports.
    pub(super) fn advance(&mut self, archive: &ArchiveKey, next: u64) -> io::Result<()> {
        self.places.insert(archive.path.clone(), ArchivePosition { next, file: archive.file });
        write_atomically(&self.file, &serde_json::to_vec(&self.places)?)
    }
}

#[cfg(test)]
mod tests {
    use cairn_synthetic::{SyntheticChain, SyntheticConfig};

    use super::*;

    fn key(path: &str, bytes: u64) -> ArchiveKey {
        ArchiveKey { path: path.to_owned(), file: FileStamp { bytes, modified: 7 } }
    }

    #[test]
    fn a_position_survives_and_a_broken_file_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("position.json");
        let mut position = Position::load(&file);
        let (a, b) = (key("a.era1", 1), key("b.era1", 2));
        assert_eq!(position.next(&a), None);
        position.advance(&a, 64).unwrap();
        position.advance(&b, 8192).unwrap();
        assert_eq!(Position::load(&file), position);
        assert_eq!(Position::load(&file).next(&a), Some(64));
        // What a version before this one wrote is a broken file too.
        for broken in ["{", r#"{"a.era1":64}"#] {
            std::fs::write(&file, broken).unwrap();
            assert_eq!(Position::load(&file), Position::start(&file));
        }
    }

    #[test]
    fn a_file_that_was_written_to_starts_over() {
        let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = chain.write_archives(folder.path()).unwrap().remove(0);
        let archive = Archive::open(&path).unwrap();
        let mut position = Position::start(&folder.path().join("position.json"));
        position.advance(&ArchiveKey::of(&archive), 64).unwrap();
        assert_eq!(position.next(&ArchiveKey::of(&archive)), Some(64));
        let before = ArchiveKey::of(&archive);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        let touched = ArchiveKey::of(&archive);
        assert_eq!(position.next(&touched), None);
        file.set_len(1000).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        assert!(ArchiveKey::of(&archive) != touched && before.path == touched.path, "the length counts by itself");

        let [one, other] = ["one", "other"].map(|stamp| ArchiveKey::of_object(&archive, Some(stamp)));
        position.advance(&one, 32).unwrap();
        assert_eq!((position.next(&one), position.next(&other)), (Some(32), None));
        assert!(one.is_of_same(&other));
    }
}
