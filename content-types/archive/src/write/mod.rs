//! Writes era1 and ere files.
//!
//! Blocks come component by component, in any order and from any number of sources. What comes is compressed; a record
//! whose place in the file is known is written to it, and the others wait in a spool until all in front of them are there.
//! So what comes in the order of the file costs least: an ere file has all headers before all bodies, an era1 file has
//! block after block. Memory stays at about two megabytes for a whole era. The file appears under its final name when it is
//! complete and on the disk, never before; after a kill, what may be left is one hidden file `.cairn-*.tmp` without any
//! meaning.
//!
//! A writer that was made by [`ArchiveWriter::resume`] keeps what it has under hidden names that follow from the plan:
//! `.cairn-{network}-{era}-{first}-{last}-{format}{components}`, and `.tmp` for the file as far as it is written, `.spool`,
//! and `.journal` of what lies where. After [`ArchiveWriter::flush`] what was given outlives the process, after
//! [`ArchiveWriter::sync`] a power cut. The next writer of the same plan goes on from there. All are gone once the archive is
//! in its place, or with [`ArchiveWriter::discard`].

mod assemble;
mod file;
mod journal;
mod plan;
mod resume;
mod spool;
mod tail;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use alloy_primitives::{B256, U256};
use bytes::Bytes;
use content_types::HeaderProof;
use content_types::block::transcode;
use content_types::header::DecodedHeader;

use crate::archive::{Receipts, receipts_encoding};
use crate::component::{Component, TOTAL_DIFFICULTY_LEN};
use crate::content;
use crate::e2store::RecordType;
use crate::error::{ArchiveError, ArchivePlace, ArchiveRule, Mismatch};
use crate::proof_record;
use crate::snappy::{self, Encoder};
use journal::Paths;
use spool::Spool;

pub use plan::Plan;

/// Bytes that stand in the folder `dir` of the archive that `plan` describes and that is not whole yet, at the least: what is in
/// its place and what waits for that lie in two files, and much of the one may be in the other too. 0 if nothing was begun that
/// [`ArchiveWriter::resume`] could go on with.
pub fn spooled_bytes(dir: impl AsRef<Path>, plan: &Plan) -> u64 {
    Paths::of(dir.as_ref(), plan).spooled_bytes()
}

/// What is remembered of each block: enough to check that the blocks make up a chain, and for the accumulator.
#[derive(Debug, Clone, Copy, Default)]
struct WrittenFacts {
    hash: B256,
    parent_hash: B256,
    difficulty: U256,
    total_difficulty: U256,
}

impl WrittenFacts {
    fn learn_header(&mut self, header: &DecodedHeader) {
        self.hash = header.hash();
        self.parent_hash = header.header().parent_hash;
        self.difficulty = header.header().difficulty;
    }

    /// Takes what is of interest from a record's data, if it is that of block `number`.
    fn learn(&mut self, component: Component, number: u64, data: &[u8]) -> Result<(), ArchiveRule> {
        match component {
            Component::Header => {
                let header = decode_header_stream(data)?;
                if header.number() != number {
                    return Err(ArchiveRule::Number(Mismatch::new(number, header.number())));
                }
                self.learn_header(&header);
            }
            Component::TotalDifficulty => {
                let bytes: [u8; TOTAL_DIFFICULTY_LEN as usize] = data.try_into().map_err(|_| {
                    ArchiveRule::Length(Mismatch::new(u64::from(TOTAL_DIFFICULTY_LEN), data.len() as u64))
                })?;
                self.total_difficulty = U256::from_le_bytes(bytes);
            }
            Component::Body | Component::Receipts | Component::Proof => {}
        }
        Ok(())
    }
}

fn decode_header_stream(stream: &[u8]) -> Result<DecodedHeader, ArchiveRule> {
    content::decode_header(snappy::decode(stream, Component::Header.limit())?)
}

/// What stands for the file in errors before it has a name.
fn name_of(dir: &Path, plan: &Plan) -> Arc<str> {
    dir.join(format!("{}-{:05}", plan.network, plan.era())).to_string_lossy().into()
}

/// Assembles one archive file.
pub struct ArchiveWriter {
    name: Arc<str>,
    plan: Plan,
    facts: Vec<WrittenFacts>,
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
    /// [`ArchiveRule::Unwritable`] when the blocks lie in more than one era, [`ArchiveRule::Io`].
    pub fn create(dir: impl AsRef<Path>, plan: Plan) -> Result<Self, ArchiveError> {
        let dir = dir.as_ref();
        let name = name_of(dir, &plan);
        let place = ArchivePlace::archive(&name);
        let count = plan.count().map_err(|rule| place.clone().broken(rule))?;
        let spool = Spool::create(dir, &plan, count).map_err(|error| place.broken(error))?;
        let facts = vec![WrittenFacts::default(); count];
        Ok(Self { name, plan, facts, spool, encoder: Encoder::new(), stream: Vec::new() })
    }

    /// Starts the file that `plan` describes in the folder `dir`, or goes on with it where another writer of the same plan
    /// left off. What is there is read once and checked; what a kill or a power cut tore is missing again.
    ///
    /// The spools of other plans in the folder are left alone. One of this plan in another version's layout, or whose
    /// journal cannot be told from that, is replaced.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::create`]; [`ArchiveRule::InUse`] when another writer of the same plan is at work.
    pub fn resume(dir: impl AsRef<Path>, plan: Plan) -> Result<Self, ArchiveError> {
        let dir = dir.as_ref();
        let name = name_of(dir, &plan);
        let place = ArchivePlace::archive(&name);
        let count = plan.count().map_err(|rule| place.clone().broken(rule))?;
        let mut facts = vec![WrittenFacts::default(); count];
        let start = *plan.blocks.start();
        let spool = Spool::resume(dir, &plan, count, |nth, component, data| {
            let known = facts.get_mut(nth).map(|facts| facts.learn(component, start + nth as u64, data));
            known.is_some_and(|known| known.is_ok())
        });
        let spool = spool.map_err(|error| place.clone().broken(error))?;
        let spool = spool.ok_or_else(|| place.broken(ArchiveRule::InUse))?;
        Ok(Self { name, plan, facts, spool, encoder: Encoder::new(), stream: Vec::new() })
    }

    /// What is being written.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Adds a header's RLP, which tells its number.
    ///
    /// # Errors
    ///
    /// As every method that adds something: [`ArchiveRule::OutOfRange`] for a block outside the plan, [`ArchiveRule::Unwritable`] for
    /// a component outside the plan or given before, [`ArchiveRule::TooLong`], [`ArchiveRule::Io`]; here also [`ArchiveRule::Header`].
    pub fn put_header(&mut self, rlp: &[u8]) -> Result<(), ArchiveError> {
        let place = self.place().record(RecordType::HEADER);
        let header = content::decode_header(rlp.to_vec()).map_err(|rule| place.broken(rule))?;
        let nth = self.compress(header.number(), Component::Header, rlp)?;
        self.facts[nth].learn_header(&header);
        Ok(())
    }

    /// Adds a header as it lies in a file: compressed. Unlike other streams it is decoded here, for what the writer has to
    /// know of it.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::put_header`] and [`ArchiveWriter::put_stream`].
    pub fn put_header_stream(&mut self, stream: &[u8]) -> Result<(), ArchiveError> {
        let place = self.place().record(RecordType::HEADER);
        let header = decode_header_stream(stream).map_err(|rule| place.broken(rule))?;
        let nth = self.put_plain(header.number(), Component::Header, stream)?;
        self.facts[nth].learn_header(&header);
        Ok(())
    }

    /// Adds a component as it lies in a file of the same format: compressed, but for a total difficulty. It is stored as
    /// it is. The caller has checked what is in it.
    ///
    /// A file whose records were compressed by different programs is right, but
    /// [`verify`](crate::verify) finds those that its writer would have compressed to other bytes.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::put_header`]; [`ArchiveRule::Snappy`] and [`ArchiveRule::SkippableChunk`] for what is no stream of data chunks
    /// only, [`ArchiveRule::Number`] for a header of another block.
    pub fn put_stream(&mut self, number: u64, component: Component, stream: &[u8]) -> Result<(), ArchiveError> {
        let mut facts = WrittenFacts::default();
        let learned = facts.learn(component, number, stream);
        learned.map_err(|rule| self.place_of(number, component).broken(rule))?;
        let nth = self.put_plain(number, component, stream)?;
        let known = &mut self.facts[nth];
        match component {
            Component::Header => *known = WrittenFacts { total_difficulty: known.total_difficulty, ..facts },
            Component::TotalDifficulty => known.total_difficulty = facts.total_difficulty,
            _ => {}
        }
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
    /// As [`ArchiveWriter::put_header`]; [`ArchiveRule::Malformed`] when they have to be written in another encoding and break
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

    /// Whether a component of a block was given.
    pub fn holds(&self, number: u64, component: Component) -> bool {
        self.plan.nth(number).is_some_and(|nth| self.spool.holds(nth, component))
    }

    /// The total difficulty that was given of a block.
    pub fn total_difficulty(&self, number: u64) -> Option<U256> {
        let nth = self.plan.nth(number).filter(|nth| self.spool.holds(*nth, Component::TotalDifficulty))?;
        self.facts.get(nth).map(|facts| facts.total_difficulty)
    }

    /// The RLP of a header that was given, to check against it what comes after a resume. `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Io`], or [`ArchiveRule::Snappy`] when the spool was changed behind the writer's back.
    pub fn header(&self, number: u64) -> Result<Option<Bytes>, ArchiveError> {
        let held = self.plan.nth(number).filter(|nth| self.spool.holds(*nth, Component::Header));
        let Some(nth) = held else { return Ok(None) };
        let place = || self.place_of(number, Component::Header);
        let mut stream = Vec::new();
        self.spool.get(nth, Component::Header, &mut stream).map_err(|error| place().broken(error))?;
        let content = snappy::decode(&stream, Component::Header.limit());
        content.map(|content| Some(content.into())).map_err(|error| place().broken(error))
    }

    /// Hands what was given to the operating system, so that it outlives this process if the writer was made by
    /// [`ArchiveWriter::resume`]. It costs little: call it often.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Io`], among them a full disk ([`ArchiveError::is_storage_full`]). Nothing is lost then: once there is room,
    /// call it again.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        self.spool.flush().map_err(|error| self.place().broken(error))
    }

    /// Brings what was given to the disk, so that it outlives a power cut if the writer was made by
    /// [`ArchiveWriter::resume`]. It waits for the disk.
    ///
    /// # Errors
    ///
    /// As [`ArchiveWriter::flush`].
    pub fn sync(&mut self) -> Result<(), ArchiveError> {
        self.spool.sync().map_err(|error| self.place().broken(error))
    }

    /// Ends the work and leaves nothing of it.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Io`] when the hidden files cannot be removed.
    pub fn discard(mut self) -> Result<(), ArchiveError> {
        self.spool.discard().map_err(|error| self.place().broken(error))
    }

    /// The blocks of which `component` has not been given yet.
    pub fn missing(&self, component: Component) -> Vec<RangeInclusive<u64>> {
        let numbers = (0..).zip(self.plan.blocks()).filter(|(nth, _)| !self.spool.holds(*nth, component));
        crate::ranges::of(numbers.map(|(_, number)| number))
    }

    fn compress(&mut self, number: u64, component: Component, content: &[u8]) -> Result<usize, ArchiveError> {
        let (length, limit) = (content.len() as u64, component.limit() as u64);
        if length > limit {
            return Err(self.place_of(number, component).broken(ArchiveRule::TooLong { length, limit }));
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

    /// Adds what is compressed already.
    fn put_plain(&mut self, number: u64, component: Component, stream: &[u8]) -> Result<usize, ArchiveError> {
        let (length, limit) = (stream.len() as u64, component.stored_limit());
        let rule = if length > limit {
            ArchiveRule::TooLong { length, limit }
        } else if component != Component::TotalDifficulty && !snappy::is_plain(stream) {
            ArchiveRule::SkippableChunk
        } else {
            return self.put(number, component, stream);
        };
        Err(self.place_of(number, component).broken(rule))
    }

    fn put(&mut self, number: u64, component: Component, data: &[u8]) -> Result<usize, ArchiveError> {
        let place = self.place_of(number, component);
        if !self.plan.components.has(component) {
            return Err(place.broken(ArchiveRule::Unwritable("the component is not part of the file")));
        }
        let Some(nth) = self.plan.nth(number) else {
            return Err(place.broken(ArchiveRule::OutOfRange(self.plan.blocks())));
        };
        if self.spool.holds(nth, component) {
            return Err(place.broken(ArchiveRule::Unwritable("the component was given before")));
        }
        self.spool.put(nth, component, data).map_err(|error| place.broken(error))?;
        Ok(nth)
    }

    fn place(&self) -> ArchivePlace {
        ArchivePlace::archive(&self.name)
    }

    fn place_of(&self, number: u64, component: Component) -> ArchivePlace {
        self.place().record(component.record_type(self.plan.format)).block(number)
    }
}

impl std::fmt::Debug for ArchiveWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveWriter").field("name", &self.name).field("plan", &self.plan).finish_non_exhaustive()
    }
}
