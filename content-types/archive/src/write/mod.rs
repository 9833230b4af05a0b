//! Writes era1 and ere files.
//!
//! Blocks come component by component, in any order and from any number of sources; an ere file has all headers before
//! all bodies, so whatever comes is compressed into a spool first and copied into its place at the end.
//! Memory stays below two megabytes for a whole era. The file appears under its final name when it is complete and on
//! the disk, never before; after a kill, what may be left is one hidden file `.cairn-*.tmp` without any meaning.

mod file;
mod plan;
mod records;
mod spool;

use std::io::{BufWriter, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{B256, U256};
use content_types::HeaderProof;
use content_types::block::transcode;
use content_types::header::{EpochRecord, HeaderRecord};

use crate::archive::{Receipts, receipts_encoding};
use crate::component::{Component, Format, MAX_BLOCKS};
use crate::content;
use crate::e2store::RecordType;
use crate::error::{ArchiveError, Mismatch, Place, Rule};
use crate::index::Offsets;
use crate::name::ArchiveName;
use crate::proof_record;
use crate::snappy::Encoder;
use file::TemporaryFile;
use records::RecordWriter;
use spool::Spool;

pub use plan::Plan;

/// Bytes collected before they are written.
const BUFFER_LEN: usize = 1 << 18;

/// What is remembered of each block: enough to check that the blocks make up a chain, and for the accumulator.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    hash: B256,
    parent_hash: B256,
    difficulty: U256,
    total_difficulty: U256,
}

/// Assembles one archive file.
pub struct ArchiveWriter {
    dir: PathBuf,
    name: Arc<str>,
    plan: Plan,
    facts: Vec<Facts>,
    spool: Spool,
    encoder: Encoder,
    stream: Vec<u8>,
}

impl ArchiveWriter {
    /// Starts the file that `plan` describes, in the folder `dir`, which has to exist and to have room for the file
    /// twice.
    ///
    /// # Errors
    ///
    /// [`Rule::Unwritable`] when the blocks lie in more than one era, [`Rule::Io`].
    pub fn create(dir: impl AsRef<Path>, plan: Plan) -> Result<Self, ArchiveError> {
        let dir = dir.as_ref().to_owned();
        let name: Arc<str> = dir.join(format!("{}-{:05}", plan.network, plan.era())).to_string_lossy().into();
        let place = Place::archive(&name);
        let count = plan.count().map_err(|rule| place.clone().broken(rule))?;
        let spool = Spool::create(&dir, count).map_err(|error| place.broken(error))?;
        let facts = vec![Facts::default(); count];
        Ok(Self { dir, name, plan, facts, spool, encoder: Encoder::new(), stream: Vec::new() })
    }

    /// What is being written.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Adds a header's RLP, which tells its number.
    ///
    /// # Errors
    ///
    /// As every method that adds something: [`Rule::OutOfRange`] for a block outside the plan, [`Rule::Unwritable`] for
    /// a component outside the plan or given before, [`Rule::TooLong`], [`Rule::Io`]; here also [`Rule::Header`].
    pub fn put_header(&mut self, rlp: &[u8]) -> Result<(), ArchiveError> {
        let place = self.place().record(RecordType::HEADER);
        let header = content::decode_header(rlp.to_vec()).map_err(|rule| place.broken(rule))?;
        let nth = self.compress(header.number(), Component::Header, rlp)?;
        let facts = &mut self.facts[nth];
        facts.hash = header.hash();
        facts.parent_hash = header.header().parent_hash;
        facts.difficulty = header.header().difficulty;
        Ok(())
    }

    /// Adds a body, RLP `[transactions, ommers, (withdrawals)]`.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::put_header`].
    pub fn put_body(&mut self, number: u64, rlp: &[u8]) -> Result<(), ArchiveError> {
        self.compress(number, Component::Body, rlp).map(drop)
    }

    /// Adds receipts, in any encoding.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::put_header`]; [`Rule::Malformed`] when they have to be written in another encoding and break
    /// the rules of their own.
    pub fn put_receipts(&mut self, number: u64, receipts: &Receipts) -> Result<(), ArchiveError> {
        let encoding = receipts_encoding(self.plan.format);
        if receipts.encoding == encoding {
            return self.compress(number, Component::Receipts, &receipts.bytes).map(drop);
        }
        let bytes = transcode::receipts(receipts.encoding, encoding, &receipts.bytes)
            .map_err(|error| self.place_of(number, Component::Receipts).broken(error))?;
        self.compress(number, Component::Receipts, &bytes).map(drop)
    }

    /// Adds the total difficulty up to and including a block; after the merge, that of the last block before it.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::put_header`].
    pub fn put_total_difficulty(&mut self, number: u64, value: U256) -> Result<(), ArchiveError> {
        let nth = self.put(number, Component::TotalDifficulty, &value.to_le_bytes::<32>())?;
        self.facts[nth].total_difficulty = value;
        Ok(())
    }

    /// Adds a header's proof.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::put_header`].
    pub fn put_proof(&mut self, number: u64, proof: &HeaderProof) -> Result<(), ArchiveError> {
        self.compress(number, Component::Proof, &proof_record::encode(proof)).map(drop)
    }

    /// The blocks of which `component` has not been given yet.
    pub fn missing(&self, component: Component) -> Vec<RangeInclusive<u64>> {
        let numbers = (0..).zip(self.plan.blocks()).filter(|(nth, _)| !self.spool.holds(*nth, component));
        crate::ranges::of(numbers.map(|(_, number)| number))
    }

    /// Writes the file, and returns its path. Its name follows from its content; a file of that name is replaced.
    ///
    /// # Errors
    ///
    /// [`Rule::Missing`] when a component of a block has not been given, [`Rule::ParentHash`] and
    /// [`Rule::TotalDifficulty`] when the blocks do not make up a chain, [`Rule::Unwritable`] when the format does not
    /// allow the blocks, [`Rule::Io`].
    pub fn finish(self) -> Result<PathBuf, ArchiveError> {
        self.finish_with(|_, _| {})
    }

    /// [`ArchiveWriter::finish`], telling now and then how many bytes of how many are written.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::finish`].
    pub fn finish_with(mut self, mut progress: impl FnMut(u64, u64)) -> Result<PathBuf, ArchiveError> {
        self.write(None, &mut progress)
    }

    /// [`ArchiveWriter::finish`] under a name of the caller's, in the same folder: no other file there is touched.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::finish`].
    pub fn finish_as(mut self, name: &str) -> Result<PathBuf, ArchiveError> {
        self.write(Some(name), &mut |_, _| {})
    }

    fn write(&mut self, name: Option<&str>, progress: &mut dyn FnMut(u64, u64)) -> Result<PathBuf, ArchiveError> {
        self.check_complete()?;
        self.check_chain()?;
        let accumulator = self.accumulator()?;
        let name = name.map_or_else(|| self.file_name(accumulator).to_string(), str::to_owned);
        let place = self.place();
        self.write_file(accumulator, &name, progress).map_err(|error| place.broken(error))
    }

    fn check_complete(&self) -> Result<(), ArchiveError> {
        for component in self.plan.components.iter() {
            if let Some(range) = self.missing(component).first() {
                return Err(self.place_of(*range.start(), component).broken(Rule::Missing(component)));
            }
        }
        Ok(())
    }

    fn check_chain(&self) -> Result<(), ArchiveError> {
        for ((number, facts), next) in self.plan.blocks().zip(&self.facts).zip(self.facts.iter().skip(1)) {
            if next.parent_hash != facts.hash {
                let rule = Rule::ParentHash(Mismatch::new(facts.hash, next.parent_hash));
                return Err(self.place_of(number, Component::Header).broken(rule));
            }
            let expected = facts.total_difficulty.wrapping_add(next.difficulty);
            if self.plan.components.has(Component::TotalDifficulty) && next.total_difficulty != expected {
                let rule = Rule::TotalDifficulty(Mismatch::new(expected, next.total_difficulty));
                return Err(self.place_of(number + 1, Component::TotalDifficulty).broken(rule));
            }
        }
        Ok(())
    }

    /// The root over the blocks before the merge: always in an era1 file, in an ere file if it can be told and is that
    /// of the epoch.
    fn accumulator(&self) -> Result<Option<B256>, ArchiveError> {
        let unwritable = |reason| self.place().broken(Rule::Unwritable(reason));
        let before_merge = self.facts.iter().take_while(|facts| !facts.difficulty.is_zero());
        let records: Vec<HeaderRecord> = before_merge
            .map(|facts| HeaderRecord { block_hash: facts.hash, total_difficulty: facts.total_difficulty })
            .collect();
        let has_difficulty = self.plan.components.has(Component::TotalDifficulty);
        if has_difficulty && records.is_empty() {
            return Err(unwritable("total difficulty belongs into files that start before the merge"));
        }
        let (start, end) = (*self.plan.blocks.start(), *self.plan.blocks.end());
        let ends_epoch = records.len() < self.facts.len() || (end + 1).is_multiple_of(MAX_BLOCKS);
        match self.plan.format {
            Format::Era1 if records.len() < self.facts.len() => {
                return Err(unwritable("an era1 file holds blocks before the merge only"));
            }
            Format::Ere if !(has_difficulty && start.is_multiple_of(MAX_BLOCKS) && ends_epoch) => return Ok(None),
            _ => {}
        }
        let record = EpochRecord::new(records).map_err(|_| unwritable("it holds more than 8192 blocks"))?;
        Ok(Some(record.into_tree().root()))
    }

    fn file_name(&self, accumulator: Option<B256>) -> ArchiveName {
        let last_hash = self.facts.last().map(|facts| facts.hash).unwrap_or_default();
        let root = if self.plan.format == Format::Era1 { accumulator.unwrap_or_default() } else { last_hash };
        let [a, b, c, d, ..] = root.0;
        ArchiveName::new(&self.plan.network, self.plan.era(), [a, b, c, d], self.plan.format, self.plan.components)
    }

    fn write_file(
        &mut self,
        accumulator: Option<B256>,
        name: &str,
        progress: &mut dyn FnMut(u64, u64),
    ) -> std::io::Result<PathBuf> {
        let target = TemporaryFile::create(&self.dir)?;
        let mut out = RecordWriter::new(BufWriter::with_capacity(BUFFER_LEN, target.file()));
        out.write(RecordType::VERSION, &[])?;
        let mut offsets = vec![Offsets::default(); self.facts.len()];
        let mut data = Vec::new();
        let mut written = 0;
        for (nth, component) in self.plan.records(self.facts.len()) {
            self.spool.get(nth, component, &mut data)?;
            offsets[nth][component.slot()] = out.write(component.record_type(self.plan.format), &data)?;
            written += data.len() as u64;
            progress(written, self.spool.len());
        }
        if let Some(root) = accumulator {
            out.write(RecordType::ACCUMULATOR, root.as_slice())?;
        }
        let (kind, index) = self.index_record(out.position(), &offsets);
        out.write(kind, &index)?;
        out.into_inner().flush()?;
        target.publish(name)
    }

    /// The index record that lies at `position`.
    fn index_record(&self, position: u64, offsets: &[Offsets]) -> (RecordType, Vec<u8>) {
        let (kind, slots) = match self.plan.format {
            Format::Era1 => (RecordType::BLOCK_INDEX, vec![Component::Header]),
            Format::Ere => (RecordType::DYNAMIC_BLOCK_INDEX, self.plan.components.iter().collect()),
        };
        let mut index = self.plan.blocks.start().to_le_bytes().to_vec();
        for block in offsets {
            for component in &slots {
                // Two's complement makes the difference negative, as the format wants it.
                index.extend_from_slice(&block[component.slot()].wrapping_sub(position).to_le_bytes());
            }
        }
        if self.plan.format == Format::Ere {
            index.extend_from_slice(&(slots.len() as u64).to_le_bytes());
        }
        index.extend_from_slice(&(offsets.len() as u64).to_le_bytes());
        (kind, index)
    }

    fn compress(&mut self, number: u64, component: Component, content: &[u8]) -> Result<usize, ArchiveError> {
        let (length, limit) = (content.len() as u64, component.limit() as u64);
        if length > limit {
            return Err(self.place_of(number, component).broken(Rule::TooLong { length, limit }));
        }
        let mut stream = std::mem::take(&mut self.stream);
        let encoded = self.encoder.encode(content, &mut stream);
        let put = match encoded {
            Ok(_) => self.put(number, component, &stream),
            Err(error) => Err(self.place_of(number, component).broken(std::io::Error::from(error))),
        };
        self.stream = stream;
        put
    }

    fn put(&mut self, number: u64, component: Component, data: &[u8]) -> Result<usize, ArchiveError> {
        let place = self.place_of(number, component);
        if !self.plan.components.has(component) {
            return Err(place.broken(Rule::Unwritable("the component is not part of the file")));
        }
        if !self.plan.blocks.contains(&number) {
            return Err(place.broken(Rule::OutOfRange(self.plan.blocks())));
        }
        let nth = (number - self.plan.blocks.start()) as usize;
        if self.spool.holds(nth, component) {
            return Err(place.broken(Rule::Unwritable("the component was given before")));
        }
        self.spool.put(nth, component, data).map_err(|error| place.broken(error))?;
        Ok(nth)
    }

    fn place(&self) -> Place {
        Place::archive(&self.name)
    }

    fn place_of(&self, number: u64, component: Component) -> Place {
        self.place().record(component.record_type(self.plan.format)).block(number)
    }
}

impl std::fmt::Debug for ArchiveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveWriter").field("name", &self.name).field("plan", &self.plan).finish_non_exhaustive()
    }
}
