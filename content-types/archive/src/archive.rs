//! An open archive: blocks read by number, in place, from any thread.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{B256, U256};
use bytes::Bytes;
use content_types::block::ReceiptsEncoding;
use content_types::header::{DecodedHeader, EpochRecord, EpochTree};
use content_types::{HeaderProof, HeaderWithProof};

use crate::component::{Component, Components, Format, MAX_BLOCKS};
use crate::content;
use crate::e2store::{RecordType, Records};
use crate::epochs::{Cell, EpochCache};
use crate::error::{ArchiveError, ArchivePlace, ArchiveRule, Mismatch};
use crate::index::{ArchiveIndex, BlockSlots, Located};
use crate::lineage::{self, Link, LinkedHeader};
use crate::proof_record;
use crate::source::{FileSource, ReadAt};
use crate::whereabouts::{self, Whereabouts};

/// A list of receipts as an archive holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// [`ReceiptsEncoding::Rlp`] from era1, [`ReceiptsEncoding::Slim`] from ere.
    pub encoding: ReceiptsEncoding,
    /// The list.
    pub bytes: Bytes,
}

/// An era1 or ere file, or other bytes in one of these formats.
///
/// Nothing that it returns is checked against the chain, only against the checksums in the file: that is for the
/// validation pipeline, and for [`verify`](crate::verify).
///
/// Reading takes `&self` and goes by positioned reads. A file is opened for each read (see [`crate::source`]); when it
/// was removed or replaced, every read fails with [`ArchiveRule::Vanished`]. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Archive {
    name: Arc<str>,
    path: Option<PathBuf>,
    source: Arc<dyn ReadAt>,
    len: u64,
    index: Arc<ArchiveIndex>,
    damage: Option<Arc<ArchiveError>>,
    epoch: EpochSlot,
}

/// The archive's place in a cache of epoch trees.
#[derive(Clone)]
struct EpochSlot {
    cache: Arc<EpochCache>,
    key: u64,
}

impl EpochSlot {
    fn cell(&self) -> Arc<Cell> {
        self.cache.cell(self.key)
    }
}

impl Archive {
    /// Opens a file, with an epoch cache of its own. The file's suffix does not matter.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Io`], or [`ArchiveRule::NotAnArchive`] when there is neither an index nor any block at the start. A file whose
    /// index cannot be used is opened nonetheless, see [`Archive::damage`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ArchiveError> {
        Self::open_with(path, Arc::new(EpochCache::new(1)))
    }

    /// Opens a file that shares `cache` with other archives.
    ///
    /// # Errors
    ///
    /// As [`Archive::open`].
    pub fn open_with(path: impl AsRef<Path>, cache: Arc<EpochCache>) -> Result<Self, ArchiveError> {
        let path = path.as_ref();
        let name: Arc<str> = path.to_string_lossy().into();
        let source = FileSource::open(path).map_err(|error| ArchivePlace::archive(&name).broken(error))?;
        let mut archive = Self::new(Box::new(source), name, cache)?;
        archive.path = Some(path.to_owned());
        Ok(archive)
    }

    /// Opens any source; `name` stands for it in errors.
    ///
    /// # Errors
    ///
    /// As [`Archive::open`].
    pub fn from_source(source: Box<dyn ReadAt>, name: &str) -> Result<Self, ArchiveError> {
        Self::new(source, name.into(), Arc::new(EpochCache::new(1)))
    }

    /// Opens any source that shares `cache` with other archives; `name` stands for it in errors.
    ///
    /// # Errors
    ///
    /// As [`Archive::open`].
    pub fn from_source_with(source: Box<dyn ReadAt>, name: &str, cache: Arc<EpochCache>) -> Result<Self, ArchiveError> {
        Self::new(source, name.into(), cache)
    }

    fn new(source: Box<dyn ReadAt>, name: Arc<str>, cache: Arc<EpochCache>) -> Result<Self, ArchiveError> {
        let place = ArchivePlace::archive(&name);
        let len = source.len().map_err(|error| place.clone().broken(error))?;
        // Opening takes many small reads; the pinned source serves them from one descriptor.
        let pinned = source.pinned().map_err(|error| place.clone().broken(error))?;
        let records = Records::new(pinned.as_deref().unwrap_or(source.as_ref()), len);
        let Whereabouts { index, damage } = whereabouts::find(records).map_err(|rule| place.clone().broken(rule))?;
        let damage = damage.map(|(offset, rule)| Arc::new(ArchivePlace { offset, ..place }.broken(rule)));
        let epoch = EpochSlot { key: cache.new_key(), cache };
        Ok(Self { name, path: None, source: source.into(), len, index: Arc::new(index), damage, epoch })
    }

    /// The archive's name in errors: its path, or what was given to [`Archive::from_source`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's path, if the archive is a file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.index.format
    }

    /// The components the archive holds: its profile. A rebuilt index may lack some of them for some blocks.
    pub fn components(&self) -> Components {
        self.index.components
    }

    /// The numbers of the archive's blocks.
    pub fn blocks(&self) -> RangeInclusive<u64> {
        self.index.blocks()
    }

    /// Number of the era: the first block's number divided by 8,192.
    pub fn era(&self) -> u64 {
        self.index.start / MAX_BLOCKS
    }

    /// Why the file's own index could not be used and the blocks were found by walking the records instead, as far as
    /// they follow each other. `None` for a file whose index is sound at first sight.
    pub fn damage(&self) -> Option<&ArchiveError> {
        self.damage.as_deref()
    }

    /// Whether the records end before the file does, so that blocks may have been lost.
    pub fn is_cut(&self) -> bool {
        self.damage().is_some_and(|damage| damage.place.offset.is_some())
    }

    /// The blocks of which the archive has a record of `component`, as far as the index says.
    pub fn held(&self, component: Component) -> Vec<RangeInclusive<u64>> {
        match &self.index.slots {
            BlockSlots::InFile(_) if self.index.components.has(component) => vec![self.blocks()],
            BlockSlots::InFile(_) => Vec::new(),
            BlockSlots::Rebuilt(blocks) => {
                let numbered = blocks.iter().zip(self.index.start..);
                crate::ranges::of(numbered.filter(|(block, _)| block[component.slot()] != 0).map(|(_, number)| number))
            }
        }
    }

    /// The same archive, reading through one open file: for many reads in a row.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Io`] or [`ArchiveRule::Vanished`].
    pub fn pinned(&self) -> Result<Self, ArchiveError> {
        let pinned = self.source.pinned().map_err(|error| self.place().broken(error))?;
        Ok(Self { source: pinned.map_or_else(|| self.source.clone(), Arc::from), ..self.clone() })
    }

    /// Whether the file is still the one that was opened. Every read checks this by itself.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Vanished`] when it is not, [`ArchiveRule::Io`] when that cannot be told.
    pub fn check_identity(&self) -> Result<(), ArchiveError> {
        self.source.len().map(drop).map_err(|error| self.place().broken(error))
    }

    /// The RLP of a header. Its number is checked, so that a damaged index does not pass off one block for another.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] names what is missing or damaged.
    pub fn header(&self, number: u64) -> Result<Bytes, ArchiveError> {
        Ok(self.decoded_header(number)?.rlp().clone())
    }

    /// A header with its fields and hash.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`].
    pub fn decoded_header(&self, number: u64) -> Result<DecodedHeader, ArchiveError> {
        self.read(number, Component::Header, |records, at| {
            let header = content::decode_header(content::read(records, at, Component::Header)?)?;
            if header.number() != number {
                return Err(ArchiveRule::Number(Mismatch::new(number, header.number())));
            }
            Ok(header)
        })
    }

    /// A body as RLP `[transactions, ommers]`, with withdrawals as a third item from Shanghai on.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`].
    pub fn body(&self, number: u64) -> Result<Bytes, ArchiveError> {
        self.content(number, Component::Body)
    }

    /// A block's receipts, or `None` where the archive's profile has none.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`].
    pub fn receipts(&self, number: u64) -> Result<Option<Receipts>, ArchiveError> {
        if !self.has(Component::Receipts) {
            return Ok(None);
        }
        let bytes = self.content(number, Component::Receipts)?;
        Ok(Some(Receipts { encoding: receipts_encoding(self.format()), bytes }))
    }

    /// The proof of a header that the archive itself holds, or `None` where its profile has none.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`].
    pub fn proof(&self, number: u64) -> Result<Option<HeaderProof>, ArchiveError> {
        if !self.has(Component::Proof) {
            return Ok(None);
        }
        self.read(number, Component::Proof, |records, at| {
            proof_record::decode(&content::read(records, at, Component::Proof)?)
        })
        .map(Some)
    }

    /// The total difficulty up to and including a block, or `None` where the archive holds none.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`].
    pub fn total_difficulty(&self, number: u64) -> Result<Option<U256>, ArchiveError> {
        if !self.has(Component::TotalDifficulty) {
            return Ok(None);
        }
        self.read(number, Component::TotalDifficulty, content::read_total_difficulty).map(Some)
    }

    /// The root in the archive's accumulator record, if it has one.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] when the record cannot be read.
    pub fn accumulator_root(&self) -> Result<Option<B256>, ArchiveError> {
        let Some(offset) = self.index.accumulator else { return Ok(None) };
        content::read_accumulator(self.records(), offset)
            .map(Some)
            .map_err(|rule| self.place().record(RecordType::ACCUMULATOR).offset(offset).broken(rule))
    }

    /// A component's data as it lies in its record: compressed, but for a total difficulty. What is in it is not looked
    /// at, so that whoever passes it on need not compress it again. `None` where the archive's profile lacks the
    /// component.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`]; [`ArchiveRule::TooLong`] for data over [`Component::stored_limit`].
    pub fn stored(&self, number: u64, component: Component) -> Result<Option<Bytes>, ArchiveError> {
        if !self.has(component) {
            return Ok(None);
        }
        self.read(number, component, |records, at| Ok(content::stored(records, at, component)?.into())).map(Some)
    }

    /// Length of a component's content in bytes as its record claims it, told without decompressing. `None` where the
    /// archive's profile lacks the component.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`].
    pub fn component_len(&self, number: u64, component: Component) -> Result<Option<u64>, ArchiveError> {
        if !self.has(component) {
            return Ok(None);
        }
        self.read(number, component, |records, at| content::claimed_len(records, at, component)).map(Some)
    }

    /// A header with its proof: the one in the archive, or else, before the merge, one built from the epoch's headers.
    ///
    /// # Errors
    ///
    /// As [`Archive::header`]; [`ArchiveRule::Missing`] with [`Component::Proof`] where the archive has no proof and none can
    /// be built: after the merge, and for an archive that does not hold the epoch from its first block on.
    pub fn header_with_proof(&self, number: u64) -> Result<HeaderWithProof, ArchiveError> {
        let header = self.decoded_header(number)?;
        if let Some(proof) = self.proof(number)? {
            return Ok(HeaderWithProof { header, proof });
        }
        let proof = self.epoch_tree()?.prove((number - self.index.start) as usize);
        match proof {
            Some(proof) => Ok(HeaderWithProof { header, proof: HeaderProof::HistoricalHashes(proof) }),
            None => {
                Err(self.place().record(RecordType::PROOF).block(number).broken(ArchiveRule::Missing(Component::Proof)))
            }
        }
    }

    /// Whether a header's proof takes the tree of its epoch, and that has to be built: all headers of the archive are read for
    /// that.
    pub fn needs_tree(&self) -> bool {
        !self.has(Component::Proof) && !self.epoch.cache.has(self.epoch.key)
    }

    /// The tree over the archive's headers from before the merge, from the cache or built now by reading them all. What is
    /// damaged is made good from its neighbours where that can be done.
    ///
    /// # Errors
    ///
    /// As [`Archive::header_with_proof`]; [`ArchiveRule::Accumulator`] when the archive has an accumulator record that is not
    /// the tree's root.
    pub fn epoch_tree(&self) -> Result<Arc<EpochTree>, ArchiveError> {
        self.epoch.cell().get_or_build(|| self.build_epoch_tree())
    }

    fn build_epoch_tree(&self) -> Result<EpochTree, ArchiveError> {
        let no_proof = || self.place().record(RecordType::PROOF).broken(ArchiveRule::Missing(Component::Proof));
        let knows_difficulty = self.has(Component::TotalDifficulty) || self.index.start == 0;
        if !self.index.start.is_multiple_of(MAX_BLOCKS) || !knows_difficulty {
            return Err(no_proof());
        }
        let archive = self.pinned()?;
        let mut links = Vec::new();
        let mut damage = None;
        for number in self.blocks() {
            let link = archive.link(number, &mut damage)?;
            if link.header.is_some_and(|header| header.difficulty.is_zero()) {
                break;
            }
            links.push(link);
        }
        // Whoever lost the end of a file has proofs of another tree.
        let is_to_its_end = links.len() as u64 == MAX_BLOCKS || (links.len() as u64) < self.index.count;
        if self.is_cut() && !is_to_its_end && self.index.accumulator.is_none() {
            return Err(no_proof());
        }
        let before = (self.index.start == 0).then_some(U256::ZERO);
        let Some(headers) = lineage::records(&links, before) else { return Err(damage.unwrap_or_else(no_proof)) };
        let tree = EpochRecord::new(headers).map_err(|_| no_proof())?.into_tree();
        match self.accumulator_root()? {
            Some(root) if root != tree.root() => {
                let place = self.place().record(RecordType::ACCUMULATOR);
                Err(place.broken(ArchiveRule::Accumulator(Mismatch::new(tree.root(), root))))
            }
            _ => Ok(tree),
        }
    }

    /// What a block's records say for the epoch's tree. What is damaged is left out, and noted if it is the first.
    fn link(&self, number: u64, damage: &mut Option<ArchiveError>) -> Result<Link, ArchiveError> {
        fn spare<T>(error: ArchiveError, damage: &mut Option<ArchiveError>) -> Result<Option<T>, ArchiveError> {
            if matches!(error.rule, ArchiveRule::Io(_) | ArchiveRule::Vanished) {
                return Err(error);
            }
            damage.get_or_insert(error);
            Ok(None)
        }
        let header = self.decoded_header(number).map(Some).or_else(|error| spare(error, damage))?;
        let total_difficulty = self.total_difficulty(number).or_else(|error| spare(error, damage))?;
        let header = header.map(|header| LinkedHeader {
            hash: header.hash(),
            parent_hash: header.header().parent_hash,
            difficulty: header.header().difficulty,
        });
        Ok(Link { header, total_difficulty })
    }

    fn has(&self, component: Component) -> bool {
        self.index.components.has(component)
    }

    fn content(&self, number: u64, component: Component) -> Result<Bytes, ArchiveError> {
        self.read(number, component, |records, at| Ok(content::read(records, at, component)?.into()))
    }

    fn read<T>(
        &self,
        number: u64,
        component: Component,
        read: impl FnOnce(Records<'_>, Located) -> Result<T, ArchiveRule>,
    ) -> Result<T, ArchiveError> {
        let place = self.place().record(component.record_type(self.format())).block(number);
        let at = match self.locate(number, component) {
            Ok(at) => at,
            Err(rule) => return Err(place.broken(rule)),
        };
        read(self.records(), at).map_err(|rule| place.offset(at.offset).broken(rule))
    }

    pub(crate) fn locate(&self, number: u64, component: Component) -> Result<Located, ArchiveRule> {
        if !self.blocks().contains(&number) {
            return Err(ArchiveRule::OutOfRange(self.blocks()));
        }
        self.index.locate(self.records(), number, component)
    }

    pub(crate) fn records(&self) -> Records<'_> {
        Records::new(self.source.as_ref(), self.len)
    }

    pub(crate) fn index(&self) -> &ArchiveIndex {
        &self.index
    }

    pub(crate) fn place(&self) -> ArchivePlace {
        ArchivePlace::archive(&self.name)
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("name", &self.name).field("blocks", &self.blocks()).finish_non_exhaustive()
    }
}

/// The encoding of receipts in files of `format`.
pub(crate) fn receipts_encoding(format: Format) -> ReceiptsEncoding {
    match format {
        Format::Era1 => ReceiptsEncoding::Rlp,
        Format::Ere => ReceiptsEncoding::Slim,
    }
}
