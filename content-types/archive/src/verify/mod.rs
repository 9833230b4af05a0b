//! Checks everything in an archive against the chain, down to the last byte of the file.
//!
//! Three steps, each in a module of its own:
//!
//! 1. `layout`: records, reserved bytes, gaps, order, and every slot of the index;
//! 2. `blocks`: the content of every record, on all threads: framing, checksums, headers and their proofs, bodies and
//!    receipts against their headers, and whether the compressed bytes are those that the file's writer makes;
//! 3. `chain`: what joins the blocks: parent hashes, total difficulties, the accumulator, the file's name.
//!
//! What is wrong ends up in [`Report::findings`] with record, block, offset and rule, and does not keep the rest from
//! being checked: [`Report::good`] says what can still be relied on. That something cannot be proved with what is here is a finding
//! too, and no damage: [`Report::verdict`] tells the two apart, and what somebody vouches for whom the caller believes
//! ([`Witness`]).

mod blocks;
mod chain;
mod compression;
mod difficulty;
mod folder;
mod layout;
mod report;
mod witness;

use alloy_primitives::B256;
use content_types::HeaderVerifier;

use crate::archive::Archive;
use crate::error::ArchiveError;

pub use folder::{FolderReport, verify_files, verify_files_with};
pub use report::{MAX_FINDINGS, Progress, Report, Verdict};
pub use witness::{KnownBlock, Witness};

/// Verifies an archive on `threads` threads, and calls `progress` from any of them now and then.
///
/// # Errors
///
/// Only when the file vanished or cannot be read any more; what is wrong with its content is in the report.
pub fn verify_archive(
    archive: &Archive,
    verifier: &HeaderVerifier,
    threads: usize,
    progress: impl Fn(Progress) + Sync,
) -> Result<Report, ArchiveError> {
    verify_before(archive, None, Trusted { verifier, witness: None }, threads, &progress)
}

/// What headers are held against.
#[derive(Clone, Copy)]
struct Trusted<'a> {
    verifier: &'a HeaderVerifier,
    /// Asked for what the verifier cannot prove.
    witness: Option<&'a dyn Witness>,
}

/// Verifies an archive, of whose last block a proved header of the next file tells the hash.
fn verify_before(
    archive: &Archive,
    last_hash: Option<B256>,
    trusted: Trusted<'_>,
    threads: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, ArchiveError> {
    let archive = archive.pinned()?;
    let layout = layout::check(&archive);
    let blocks = blocks::check(&archive, &layout.positions, trusted.verifier, threads, progress)?;
    let mut report = Report::new(&archive);
    layout.findings.into_iter().chain(blocks.findings).for_each(|finding| report.add(finding));
    report.add_unlisted(blocks.unlisted);
    report.foreign_compression = blocks.foreign_compression;
    chain::check(&archive, &blocks.facts, last_hash, trusted, &mut report);
    Ok(report)
}
