//! Era1 to ere and back, other profiles, and parts of an era: everything that goes from one archive into another.
//!
//! Content is read, written in the other format's encoding and compressed anew; nothing is checked against the chain.
//! Bounded memory: one block at a time.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use alloy_primitives::U256;

use crate::archive::Archive;
use crate::component::{Component, Components};
use crate::error::{ArchiveError, ArchiveRule};
use crate::proof_record;
use crate::write::{ArchiveWriter, Plan};

/// The kind of file to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An era1 file: of the blocks before the merge, those that come first.
    Era1,
    /// An ere file, with total difficulties where there are any.
    Ere {
        /// Whether with proofs. Those that the source lacks are built, which works before the merge.
        proofs: bool,
        /// Whether with receipts.
        receipts: bool,
    },
}

/// How far a conversion has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Blocks are read from the source.
    Read {
        /// Blocks read.
        blocks: u64,
        /// Blocks to read.
        total: u64,
    },
    /// The file is written.
    Written {
        /// Bytes written.
        bytes: u64,
        /// Bytes to write.
        total: u64,
    },
}

/// Writes the blocks of `source` that lie in `blocks` into a file in the folder `dir`, and returns its path. A file of its name is
/// replaced.
///
/// # Errors
///
/// What [`Archive`] says of a block that cannot be read, what [`ArchiveWriter`] says of one that cannot be written;
/// [`ArchiveRule::Missing`] when the source lacks a component that the target needs, [`ArchiveRule::OutOfRange`] when it has none of
/// the blocks, [`ArchiveRule::AfterMerge`] when none of them can be in an era1 file.
pub fn convert(
    source: &Archive,
    blocks: RangeInclusive<u64>,
    network: &str,
    target: Target,
    dir: impl AsRef<Path>,
    progress: impl FnMut(Step),
) -> Result<PathBuf, ArchiveError> {
    convert_beside(source, blocks, network, target, dir, |_| false, progress)
}

/// [`convert`], unless the file would get a name that `is_kept`.
///
/// # Errors
///
/// As [`convert`], and [`ArchiveRule::NameTaken`].
pub fn convert_beside(
    source: &Archive,
    blocks: RangeInclusive<u64>,
    network: &str,
    target: Target,
    dir: impl AsRef<Path>,
    is_kept: impl FnOnce(&str) -> bool,
    mut progress: impl FnMut(Step),
) -> Result<PathBuf, ArchiveError> {
    let source = source.pinned()?;
    let held = source.blocks();
    let blocks = *blocks.start().max(held.start())..=*blocks.end().min(held.end());
    if blocks.is_empty() {
        return Err(source.place().broken(ArchiveRule::OutOfRange(held)));
    }
    let plan = plan(&source, blocks, network, target)?;
    let mut writer = ArchiveWriter::create(dir, plan)?;
    copy(&source, &mut writer, &mut progress)?;
    let name = writer.proper_name()?;
    if is_kept(&name) {
        return Err(source.place().broken(ArchiveRule::NameTaken(name)));
    }
    writer.finish_with(|bytes, total| progress(Step::Written { bytes, total }))
}

fn plan(source: &Archive, blocks: RangeInclusive<u64>, network: &str, target: Target) -> Result<Plan, ArchiveError> {
    let before_merge = before_merge(source, &blocks)?;
    match target {
        Target::Era1 if before_merge.is_empty() => Err(source.place().broken(ArchiveRule::AfterMerge)),
        Target::Era1 => Ok(Plan::era1(network, before_merge.start..=before_merge.end - 1)),
        Target::Ere { proofs, receipts } => {
            let mut components = Components::default();
            if proofs {
                components = components.with(Component::Proof);
            }
            if receipts {
                components = components.with(Component::Receipts);
            }
            if !before_merge.is_empty() && source.components().has(Component::TotalDifficulty) {
                components = components.with(Component::TotalDifficulty);
            }
            Ok(Plan::ere(network, blocks, components))
        }
    }
}

/// Those of `blocks` that lie before the merge: the ones that have a difficulty.
fn before_merge(source: &Archive, blocks: &RangeInclusive<u64>) -> Result<Range<u64>, ArchiveError> {
    let (mut low, mut high) = (*blocks.start(), blocks.end().saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if source.decoded_header(middle)?.header().difficulty.is_zero() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(*blocks.start()..low)
}

/// Copies in the order of the file that is written, so that nothing has to wait for its place.
fn copy(source: &Archive, writer: &mut ArchiveWriter, progress: &mut impl FnMut(Step)) -> Result<(), ArchiveError> {
    let plan = writer.plan().clone();
    let total = plan.blocks.end() - plan.blocks.start() + 1;
    let records_of_each = plan.components.iter().count() as u64;
    let records = plan.records(usize::try_from(total).unwrap_or(usize::MAX));
    for ((nth, component), done) in records.zip(1..) {
        let number = plan.blocks.start() + nth as u64;
        let missing = || {
            let kind = component.record_type(source.format());
            source.place().record(kind).block(number).broken(ArchiveRule::Missing(component))
        };
        match component {
            Component::Header => writer.put_header(&source.header(number)?)?,
            Component::Body => writer.put_body(number, &source.body(number)?)?,
            Component::Receipts => writer.put_receipts(number, &source.receipts(number)?.ok_or_else(missing)?)?,
            Component::TotalDifficulty => {
                writer.put_total_difficulty(number, total_difficulty(source, number)?.ok_or_else(missing)?)?;
            }
            Component::Proof => writer.put_proof(number, &source.header_with_proof(number)?.proof)?,
        }
        progress(Step::Read { blocks: done / records_of_each, total });
    }
    Ok(())
}

/// The total difficulty as it is recorded, or else as a proof from before the merge tells it.
fn total_difficulty(source: &Archive, number: u64) -> Result<Option<U256>, ArchiveError> {
    if let Some(value) = source.total_difficulty(number)? {
        return Ok(Some(value));
    }
    Ok(source.proof(number)?.as_ref().and_then(proof_record::total_difficulty))
}
