//! The content of every record, block by block on all threads.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use alloy_primitives::{B256, U256};
use content_types::block::BodyEncoding;
use content_types::header::{DecodedHeader, HeaderError};
use content_types::verify::{self, Unverified};
use content_types::{HeaderProof, HeaderVerifier};

use crate::archive::{Archive, receipts_encoding};
use crate::component::Component;
use crate::e2store::Records;
use crate::error::{ArchiveError, ArchivePlace, ArchiveRule, Mismatch};
use crate::index::Located;
use crate::read_ahead::ReadAhead;
use crate::{content, proof_record, snappy};

use super::compression::Compression;
use super::layout::Positions;
use super::report::{MAX_FINDINGS, Progress};

/// Blocks that a thread takes at a time: enough to be cheap to hand out, few enough to keep all threads busy to the end.
const BLOCKS_AT_A_TIME: usize = 32;

/// Bytes of one component read at once: the records of as many early blocks. Full blocks are larger than that.
const WINDOW: usize = 1 << 14;

/// What is known of one block by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BlockFacts {
    /// What the header says, where it can be read.
    pub(super) header: Option<HeaderFacts>,
    /// Whether the archive's own proof proves the header.
    pub(super) proof: bool,
    /// Whether the body is the one that the header commits to, whatever the header is worth.
    pub(super) body: bool,
    /// Whether the receipts are those that the header commits to, likewise.
    pub(super) receipts: bool,
    /// The total difficulty as it is recorded.
    pub(super) total_difficulty: Option<U256>,
    /// The total difficulty that the header's proof vouches for.
    pub(super) proved_difficulty: Option<U256>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderFacts {
    pub(super) hash: B256,
    pub(super) parent_hash: B256,
    pub(super) difficulty: U256,
}

/// What the check of each block by itself has found.
#[derive(Default)]
pub(super) struct CheckedBlocks {
    pub(super) facts: Vec<BlockFacts>,
    pub(super) findings: Vec<ArchiveError>,
    /// Findings over the limit.
    pub(super) unlisted: u64,
    /// Compressed records whose bytes the usual writers do not make of their content.
    pub(super) foreign_compression: u64,
}

/// Checks each block by itself.
pub(super) fn check(
    archive: &Archive,
    positions: &Positions,
    verifier: &HeaderVerifier,
    threads: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<CheckedBlocks, ArchiveError> {
    let work = BlockCheck {
        archive,
        positions,
        verifier,
        progress,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        list_missing: AtomicBool::new(false),
        blocks_done: AtomicU64::new(0),
        bytes_done: AtomicU64::new(0),
    };
    let of_threads: Vec<Result<ThreadFindings<'_>, ArchiveError>> = std::thread::scope(|scope| {
        let count = threads.clamp(1, positions.len().div_ceil(BLOCKS_AT_A_TIME).max(1));
        let others: Vec<_> = (1..count).map(|_| scope.spawn(|| work.run())).collect();
        let own = work.run();
        let joined = others.into_iter().map(|thread| match thread.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(joined).collect()
    });
    let mut blocks = CheckedBlocks { facts: vec![BlockFacts::default(); positions.len()], ..CheckedBlocks::default() };
    for found in of_threads {
        let found = found?;
        for (nth, facts) in found.facts {
            blocks.facts[nth] = facts;
        }
        blocks.findings.extend(found.findings);
        blocks.unlisted += found.unlisted;
        blocks.foreign_compression += found.compression.different();
    }
    blocks.findings.sort_by_key(|finding| (finding.place.block, finding.place.offset));
    Ok(blocks)
}

/// The check of all blocks, as its threads share it.
struct BlockCheck<'a> {
    archive: &'a Archive,
    positions: &'a Positions,
    verifier: &'a HeaderVerifier,
    progress: &'a (dyn Fn(Progress) + Sync),
    next: AtomicUsize,
    /// Set when the file cannot be read any more.
    stop: AtomicBool,
    /// Set when it was said once that a trust list is missing.
    list_missing: AtomicBool,
    blocks_done: AtomicU64,
    bytes_done: AtomicU64,
}

/// What one thread reads through, and what it has found.
struct ThreadFindings<'a> {
    /// A window for each component, because in an ere file they lie apart.
    windows: [ReadAhead<'a>; Component::COUNT],
    facts: Vec<(usize, BlockFacts)>,
    findings: Vec<ArchiveError>,
    unlisted: u64,
    compression: Compression,
    bytes: u64,
}

impl<'a> ThreadFindings<'a> {
    fn new(records: Records<'a>) -> Self {
        Self {
            windows: std::array::from_fn(|_| records.read_ahead(WINDOW)),
            facts: Vec::new(),
            findings: Vec::new(),
            unlisted: 0,
            compression: Compression::default(),
            bytes: 0,
        }
    }

    fn records(&self, component: Component, len: u64) -> Records<'_> {
        Records::new(&self.windows[component.slot()], len)
    }

    fn report(&mut self, finding: ArchiveError) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.unlisted += 1;
        }
    }
}

impl BlockCheck<'_> {
    fn run(&self) -> Result<ThreadFindings<'_>, ArchiveError> {
        let mut found = ThreadFindings::new(self.archive.records());
        while !self.stop.load(Ordering::Relaxed) {
            let first = self.next.fetch_add(BLOCKS_AT_A_TIME, Ordering::Relaxed);
            let range = first..self.positions.len().min(first.saturating_add(BLOCKS_AT_A_TIME));
            if range.is_empty() {
                break;
            }
            let blocks = range.len() as u64;
            for nth in range {
                match self.check_block(nth, &mut found) {
                    Ok(facts) => found.facts.push((nth, facts)),
                    Err(unreadable) => {
                        self.stop.store(true, Ordering::Relaxed);
                        return Err(unreadable);
                    }
                }
            }
            self.tell(blocks, std::mem::take(&mut found.bytes));
        }
        Ok(found)
    }

    fn tell(&self, blocks: u64, bytes: u64) {
        (self.progress)(Progress {
            blocks: self.blocks_done.fetch_add(blocks, Ordering::Relaxed) + blocks,
            total_blocks: self.positions.len() as u64,
            bytes: self.bytes_done.fetch_add(bytes, Ordering::Relaxed) + bytes,
            total_bytes: self.archive.file_len(),
        });
    }

    /// Checks all components of one block. An error means that the file cannot be read.
    fn check_block(&self, nth: usize, found: &mut ThreadFindings<'_>) -> Result<BlockFacts, ArchiveError> {
        let components = self.archive.components();
        let rule = |unverified: Unverified| ArchiveRule::Unverified(Box::new(unverified));
        let mut facts = BlockFacts::default();
        let header = self.check(nth, Component::Header, found, |this, at, found| {
            let header = content::decode_header(this.content(at, Component::Header, found)?)?;
            let number = this.number(nth);
            if header.number() == number {
                Ok(header)
            } else {
                Err(ArchiveRule::Number(Mismatch::new(number, header.number())))
            }
        })?;
        facts.header = header.as_ref().map(|header| HeaderFacts {
            hash: header.hash(),
            parent_hash: header.header().parent_hash,
            difficulty: header.header().difficulty,
        });
        facts.body = self
            .check(nth, Component::Body, found, |this, at, found| {
                let body = this.content(at, Component::Body, found)?;
                let Some(header) = &header else { return Ok(()) };
                verify::body(header.header(), BodyEncoding::Rlp, body.into()).map(drop).map_err(rule)
            })?
            .is_some();
        if components.has(Component::Receipts) {
            facts.receipts = self
                .check(nth, Component::Receipts, found, |this, at, found| {
                    let receipts = this.content(at, Component::Receipts, found)?;
                    let Some(header) = &header else { return Ok(()) };
                    verify::receipts(header.header(), receipts_encoding(this.archive.format()), receipts.into())
                        .map(drop)
                        .map_err(rule)
                })?
                .is_some();
        }
        if components.has(Component::TotalDifficulty) {
            facts.total_difficulty = self.check(nth, Component::TotalDifficulty, found, |this, at, found| {
                found.bytes += at.header.record_len();
                let records = found.records(Component::TotalDifficulty, this.archive.file_len());
                content::read_total_difficulty(records, at)
            })?;
        }
        if components.has(Component::Proof) {
            let proved = self.check(nth, Component::Proof, found, |this, at, found| {
                let proof = proof_record::decode(&this.content(at, Component::Proof, found)?)?;
                header.map_or(Ok(None), |header| this.prove(header, proof))
            })?;
            if let Some(proof) = proved.flatten() {
                facts.proof = true;
                facts.proved_difficulty = proof_record::total_difficulty(&proof);
            }
        }
        Ok(facts)
    }

    /// Returns the proof if it holds. That a whole list is missing is said once and not for each block.
    fn prove(&self, header: DecodedHeader, proof: HeaderProof) -> Result<Option<HeaderProof>, ArchiveRule> {
        match self.verifier.prove(header, &proof) {
            Ok(_) => Ok(Some(proof)),
            Err(HeaderError::ListMissing { .. } | HeaderError::BeyondList { .. })
                if self.list_missing.swap(true, Ordering::Relaxed) =>
            {
                Ok(None)
            }
            Err(error) => Err(ArchiveRule::Proof(Box::new(error))),
        }
    }

    /// Runs the check of one component. What it finds is reported, and the result is then `None`.
    fn check<T>(
        &self,
        nth: usize,
        component: Component,
        found: &mut ThreadFindings<'_>,
        check: impl FnOnce(&Self, Located, &mut ThreadFindings<'_>) -> Result<T, ArchiveRule>,
    ) -> Result<Option<T>, ArchiveError> {
        let mut place = self.place(nth, component);
        let known = self.positions[nth][component.slot()];
        let result = match known.map_or_else(|| self.archive.locate(self.number(nth), component), Ok) {
            Ok(at) => {
                place.offset = Some(at.offset);
                check(self, at, found)
            }
            // The layout has said already which blocks lack the component.
            Err(ArchiveRule::Missing(_)) => return Ok(None),
            Err(rule) => Err(rule),
        };
        match result {
            Ok(value) => Ok(Some(value)),
            Err(rule @ (ArchiveRule::Io(_) | ArchiveRule::Vanished)) => Err(place.broken(rule)),
            Err(rule) => {
                found.report(place.broken(rule));
                Ok(None)
            }
        }
    }

    /// The content of a compressed record, whose compressed bytes are checked on the way.
    fn content(
        &self,
        at: Located,
        component: Component,
        found: &mut ThreadFindings<'_>,
    ) -> Result<Vec<u8>, ArchiveRule> {
        let stream = content::stored(found.records(component, self.archive.file_len()), at, component)?;
        found.bytes += at.header.record_len();
        let content = snappy::decode(&stream, component.limit())?;
        found.compression.compare(&stream, &content)?;
        Ok(content)
    }

    fn number(&self, nth: usize) -> u64 {
        self.archive.blocks().start() + nth as u64
    }

    fn place(&self, nth: usize, component: Component) -> ArchivePlace {
        let kind = component.record_type(self.archive.format());
        self.archive.place().record(kind).block(self.number(nth))
    }
}
