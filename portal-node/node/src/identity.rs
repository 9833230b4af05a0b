//! Who this node is: its secret key and its last node record, both in the data directory. With them a restart keeps the
//! node ID, and a record that changed gets a higher sequence number, without which peers would keep the old one.

use std::io;
use std::path::{Path, PathBuf};

use enr::{CombinedKey, CombinedPublicKey, Enr};

use crate::files::{read_bounded, write_atomically};

const KEY_FILE: &str = "node.key";
const RECORD_FILE: &str = "enr.txt";
/// 64 hex digits, `0x` and an end of line.
const MAX_KEY_FILE_BYTES: u64 = 68;
/// A record has at most 300 bytes (EIP-778), so 400 characters in base 64 and a prefix.
const MAX_RECORD_FILE_BYTES: u64 = 512;

/// Why key or record cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no secp256k1 key in it.
    #[error("{}: not a secret key: expected 64 hex digits. Move the file away to get a new identity", path.display())]
    NotAKey {
        /// Which file.
        path: PathBuf,
    },
    /// The key is none of secp256k1's 32 bytes.
    #[error("a secret key of {0} bytes, not 32")]
    Length(usize),
}

/// Where the key lies unless the configuration says otherwise.
pub fn default_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join(KEY_FILE)
}

/// The secret key in the file at `path`; made and saved, readable by the owner only, if there is no such file.
///
/// # Errors
/// [`IdentityError`] if the file cannot be read or written, or has something else in it.
pub fn load_or_create_key(path: &Path) -> Result<CombinedKey, IdentityError> {
    let at = |source| IdentityError::File { path: path.to_owned(), source };
    let not_a_key = || IdentityError::NotAKey { path: path.to_owned() };
    let text = match read_bounded(path, MAX_KEY_FILE_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(not_a_key()),
        text => text.map_err(at)?,
    };
    match text {
        Some(text) => parse_key(&text).ok_or_else(not_a_key),
        None => {
            let key = CombinedKey::generate_secp256k1();
            // Temporary files are made with mode 0600, and the rename keeps it.
            write_atomically(path, format!("{}\n", hex::encode(key.encode())).as_bytes()).map_err(at)?;
            Ok(key)
        }
    }
}

fn parse_key(text: &[u8]) -> Option<CombinedKey> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()?;
    CombinedKey::secp256k1_from_bytes(&mut bytes).ok()
}

/// The record that was saved last, if there is one that can be read.
pub fn saved_record(data_dir: &Path) -> Option<Enr<CombinedKey>> {
    let text = read_bounded(&data_dir.join(RECORD_FILE), MAX_RECORD_FILE_BYTES).ok()??;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// The record that was saved last for this key.
pub(crate) fn last_record(data_dir: &Path, key: &CombinedPublicKey) -> Option<Enr<CombinedKey>> {
    saved_record(data_dir).filter(|record| record.public_key() == *key)
}

/// Saves the record.
///
/// # Errors
/// [`IdentityError::File`] if it cannot be written.
pub(crate) fn save_record(data_dir: &Path, record: &Enr<CombinedKey>) -> Result<(), IdentityError> {
    let path = data_dir.join(RECORD_FILE);
    write_atomically(&path, format!("{record}\n").as_bytes()).map_err(|source| IdentityError::File { path, source })
}

#[cfg(test)]
mod tests {
    use enr::EnrKey;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = default_key_file(folder.path());
        let key = load_or_create_key(&path).unwrap();
        assert_eq!(load_or_create_key(&path).unwrap().encode(), key.encode());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_with_something_else_in_it_is_an_error_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = default_key_file(folder.path());
        for contents in ["", "0x00", "not hex at all", &"0".repeat(64), &"ab".repeat(40)] {
            std::fs::write(&path, contents).unwrap();
            let Err(error) = load_or_create_key(&path) else { panic!("{contents} is no key") };
            assert!(matches!(error, IdentityError::NotAKey { .. }), "{contents}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), contents);
        }
    }

    #[test]
    fn a_record_of_another_key_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (CombinedKey::generate_secp256k1(), CombinedKey::generate_secp256k1());
        let record = Enr::builder().seq(7).build(&own).unwrap();
        save_record(folder.path(), &record).unwrap();
        assert_eq!(last_record(folder.path(), &own.public()), Some(record));
        assert_eq!(last_record(folder.path(), &other.public()), None);
    }
}
