//! Many archives at once: each by itself, and all as one chain.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use content_types::HeaderVerifier;

use crate::archive::Archive;
use crate::error::{ArchiveError, ArchivePlace};
use crate::name::ArchiveName;

use super::report::{Progress, Report};
use super::witness::Witness;
use super::{Trusted, verify_before};

/// The outcome of verifying many archives.
#[derive(Debug)]
pub struct FolderReport {
    /// One report for each file that is an archive, in the order of their blocks.
    pub files: Vec<Report>,
    /// Files that cannot be opened as an archive, or could not be read to the end.
    pub unreadable: Vec<ArchiveError>,
    /// Eras between the first and the last that no file covers. A folder may hold what it likes, so this is no damage.
    pub missing_eras: Vec<RangeInclusive<u64>>,
}

impl FolderReport {
    /// Whether nothing at all is wrong with any file.
    pub fn is_intact(&self) -> bool {
        self.unreadable.is_empty() && self.files.iter().all(Report::is_intact)
    }
}

/// The archives among `paths`: files as they are, and the files with an archive's suffix in folders.
///
/// # Errors
///
/// [`ArchiveRule::Io`](crate::ArchiveRule::Io) when a folder cannot be read.
fn archives_of(paths: &[impl AsRef<Path>]) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if !path.is_dir() {
            files.push(path.to_owned());
            continue;
        }
        let failed = |error| ArchivePlace::archive(&path.to_string_lossy().into()).broken(error);
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(ArchiveName::is_archive) {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Verifies files and the archives in folders. A proved header of one file also proves the last one of the file before
/// it, whose successor it names; two files that do not continue each other are a finding of the first.
///
/// # Errors
///
/// [`ArchiveRule::Io`](crate::ArchiveRule::Io) when a folder cannot be read; what is wrong with a file is in the report.
pub fn verify_files(
    paths: &[impl AsRef<Path>],
    verifier: &HeaderVerifier,
    threads: usize,
    progress: impl Fn(Progress) + Sync,
) -> Result<FolderReport, ArchiveError> {
    verify_files_with(paths, verifier, None, threads, progress)
}

/// The same, with somebody who is asked for blocks that nothing proves.
///
/// # Errors
///
/// As [`verify_files`].
pub fn verify_files_with(
    paths: &[impl AsRef<Path>],
    verifier: &HeaderVerifier,
    witness: Option<&dyn Witness>,
    threads: usize,
    progress: impl Fn(Progress) + Sync,
) -> Result<FolderReport, ArchiveError> {
    let trusted = Trusted { verifier, witness };
    let mut report = FolderReport { files: Vec::new(), unreadable: Vec::new(), missing_eras: Vec::new() };
    let mut archives = Vec::new();
    for path in archives_of(paths)? {
        match Archive::open(&path) {
            Ok(archive) => archives.push(archive),
            Err(error) => report.unreadable.push(error),
        }
    }
    archives.sort_by_key(|archive| (*archive.blocks().start(), archive.name().to_owned()));
    report.missing_eras = missing_eras(&archives);

    let total_blocks = archives.iter().map(|archive| archive.blocks().end() - archive.blocks().start() + 1).sum();
    let total_bytes = archives.iter().map(Archive::file_len).sum();
    let mut before = Progress::default();
    // From the last to the first, because headers prove those before them.
    let mut first_parents: Vec<(u64, B256)> = Vec::new();
    for archive in archives.iter().rev() {
        let next = archive.blocks().end().checked_add(1);
        let last_hash = first_parents.iter().rev().find(|(start, _)| Some(*start) == next).map(|(_, hash)| *hash);
        let tell = |done: Progress| {
            progress(Progress {
                blocks: before.blocks + done.blocks,
                total_blocks,
                bytes: before.bytes + done.bytes,
                total_bytes,
            });
        };
        match verify_before(archive, last_hash, trusted, threads, &tell) {
            Ok(file) => {
                first_parents.extend(file.first_parent.map(|parent| (*archive.blocks().start(), parent)));
                report.files.push(file);
            }
            Err(error) => report.unreadable.push(error),
        }
        before.blocks += archive.blocks().end() - archive.blocks().start() + 1;
        before.bytes += archive.file_len();
    }
    report.files.reverse();
    Ok(report)
}

/// Eras that no archive covers, between those that some do; `archives` are in ascending order.
fn missing_eras(archives: &[Archive]) -> Vec<RangeInclusive<u64>> {
    let neighbours = archives.iter().zip(archives.iter().skip(1));
    let gap = |(one, next): (&Archive, &Archive)| (next.era() > one.era() + 1).then(|| one.era() + 1..=next.era() - 1);
    neighbours.filter_map(gap).collect()
}
