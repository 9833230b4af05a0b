//! What verification found, and what is still good.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::B256;

use crate::archive::Archive;
use crate::component::{Component, Components, Format};
use crate::error::ArchiveError;

/// Findings of one archive that are kept; more are counted.
pub const MAX_FINDINGS: usize = 1000;

/// How far verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Blocks checked.
    pub blocks: u64,
    /// Blocks to check.
    pub total_blocks: u64,
    /// Bytes of records checked.
    pub bytes: u64,
    /// Bytes of the files.
    pub total_bytes: u64,
}

/// What can be said of an archive as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything in it is right, and proved to be of the chain.
    Proved,
    /// It is sound in itself, and the headers that nothing proves are the chain's by the word of a witness. Proofs that lead beyond the
    /// lists were not checked.
    Vouched,
    /// It is sound in itself: bodies and receipts are those of its headers, and each header names the one before. Whether the
    /// headers are the chain's cannot be told: proofs are missing, or the lists to prove them against.
    Unproved,
    /// Something in it is wrong.
    Damaged,
}

/// The outcome of verifying one archive.
#[derive(Debug, Clone)]
pub struct Report {
    /// The archive's name.
    pub archive: Arc<str>,
    /// Its format.
    pub format: Format,
    /// Its blocks.
    pub blocks: RangeInclusive<u64>,
    /// Its components.
    pub components: Components,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// What is wrong, the first [`MAX_FINDINGS`] of it.
    pub findings: Vec<ArchiveError>,
    /// How much more is wrong.
    pub more_findings: u64,
    /// Compressed records whose bytes are not those that the usual writers make of their content: another program compressed them, or
    /// a byte was changed that does not matter for the content, which is right.
    pub foreign_compression: u64,
    /// What the file would be called by its content, where its name has not the form of an archive's and so was compared
    /// with nothing.
    pub proper_name: Option<Box<str>>,
    /// The parent of the first block, as a proved header names it.
    pub first_parent: Option<B256>,
    /// Whether headers count as the chain's because a witness said so.
    pub is_vouched: bool,
    pub(super) good: [Vec<RangeInclusive<u64>>; Component::COUNT],
    seen: HashSet<String>,
}

impl Report {
    pub(super) fn new(archive: &Archive) -> Self {
        Self {
            archive: archive.name().into(),
            format: archive.format(),
            blocks: archive.blocks(),
            components: archive.components(),
            file_len: archive.file_len(),
            findings: Vec::new(),
            more_findings: 0,
            foreign_compression: 0,
            proper_name: None,
            first_parent: None,
            is_vouched: false,
            good: Default::default(),
            seen: HashSet::new(),
        }
    }

    /// Whether nothing at all is wrong with the file, and everything is proved.
    pub fn is_intact(&self) -> bool {
        self.verdict() == Verdict::Proved
    }

    /// What that comes to.
    pub fn verdict(&self) -> Verdict {
        let is_damaged = self.findings.iter().any(|finding| !finding.rule.is_unproved());
        match self.findings.len() {
            0 if self.is_vouched => Verdict::Vouched,
            0 => Verdict::Proved,
            _ if is_damaged || self.more_findings > 0 => Verdict::Damaged,
            _ => Verdict::Unproved,
        }
    }

    /// The blocks whose `component` is proved to be right: a header that belongs to the chain, a body or receipts that
    /// such a header commits to, a proof that holds, a total difficulty that the accumulator covers.
    pub fn good(&self, component: Component) -> &[RangeInclusive<u64>] {
        &self.good[component.slot()]
    }

    /// How many blocks have a `component` that is proved to be right.
    pub fn good_count(&self, component: Component) -> u64 {
        self.good(component).iter().map(|range| range.end() - range.start() + 1).sum()
    }

    /// Adds a finding, unless the same one is there already: layout and content see some damage both.
    pub(super) fn add(&mut self, finding: ArchiveError) {
        if self.findings.len() >= MAX_FINDINGS {
            self.more_findings += 1;
        } else if self.seen.insert(finding.to_string()) {
            self.findings.push(finding);
        }
    }

    /// Takes back that blocks are not proved.
    pub(super) fn forget_unproved(&mut self, is_known: impl Fn(u64) -> bool) {
        self.findings.retain(|finding| !finding.rule.is_unproved() || !finding.place.block.is_some_and(&is_known));
    }

    pub(super) fn add_unlisted(&mut self, count: u64) {
        self.more_findings += count;
    }
}
