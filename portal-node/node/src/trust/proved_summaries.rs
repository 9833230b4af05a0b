//! Historical summaries that lead to the root of a beacon state which the operator trusts. They are kept whole, in a
//! file with that root in its name, so that they are checked again when they are read.
//!
//! They come as SSZ, or as the beacon network has them, behind a fork digest. No bytes are both: the lengths of the two differ
//! by what no summaries make up for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use content_types::trust::{HistoricalSummaries, HistoricalSummariesWithProof, TrustError};

use super::{TrustStoreError, read_list};
use crate::files::write_atomically;

/// Bytes of the fork digest that precedes the container on the beacon network.
const FORK_DIGEST_LEN: usize = 4;

const PREFIX: &str = "historical_summaries_in_state_";
const SUFFIX: &str = ".ssz";

/// Decodes summaries with their proof, with a fork digest in front or without.
///
/// # Errors
/// Why they are none, taken for what has no fork digest.
pub(super) fn decode(bytes: &[u8]) -> Result<HistoricalSummariesWithProof, TrustError> {
    HistoricalSummariesWithProof::decode(bytes).or_else(|error| {
        let behind_digest = bytes.get(FORK_DIGEST_LEN..).ok_or_else(|| error.clone())?;
        HistoricalSummariesWithProof::decode(behind_digest).map_err(|_| error)
    })
}

/// Checks summaries with their proof against the root of a beacon state.
///
/// # Errors
/// The rule that the bytes break.
fn check(bytes: &[u8], state_root: B256) -> Result<HistoricalSummaries, TrustError> {
    HistoricalSummaries::from_state_proof(HistoricalSummariesWithProof::decode(bytes)?, state_root)
}

/// Keeps what was checked against `state_root` in `dir`.
///
/// # Errors
/// [`TrustStoreError::File`].
pub(super) fn save(dir: &Path, bytes: &[u8], state_root: B256) -> Result<(), TrustStoreError> {
    let path = dir.join(format!("{PREFIX}{state_root}{SUFFIX}"));
    write_atomically(&path, bytes).map_err(|source| TrustStoreError::File { path, source })
}

/// All summaries that were kept in `dir`, which need not exist.
///
/// # Errors
/// [`TrustStoreError`] for a file that cannot be read, or does not lead to the root in its name.
pub(super) fn load(dir: &Path) -> Result<Vec<HistoricalSummaries>, TrustStoreError> {
    let checked = checked(dir)?.into_iter();
    checked.map(|(path, kept)| kept.map_err(|source| TrustStoreError::Damaged { path, source })).collect()
}

/// The files in `dir` that do not lead to the root in their name, and the rules they break.
///
/// # Errors
/// [`TrustStoreError::File`].
pub(super) fn damaged(dir: &Path) -> Result<Vec<(PathBuf, TrustError)>, TrustStoreError> {
    Ok(checked(dir)?.into_iter().filter_map(|(path, kept)| Some((path, kept.err()?))).collect())
}

type Checked = (PathBuf, Result<HistoricalSummaries, TrustError>);

fn checked(dir: &Path) -> Result<Vec<Checked>, TrustStoreError> {
    let unreadable = |source| TrustStoreError::File { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut checked = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let Some(state_root) = state_root(&path) else { continue };
        if let Some(bytes) = read_list(&path)? {
            checked.push((path, check(&bytes, state_root)));
        }
    }
    Ok(checked)
}

fn state_root(path: &Path) -> Option<B256> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}
