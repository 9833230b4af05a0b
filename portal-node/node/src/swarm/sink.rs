//! What comes from peers, checked block by block and put into an archive. Nothing that is not proved gets into the file, and
//! nothing that was put is fetched again by whoever goes on after a kill.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::write::{ArchiveWriter, Plan};
use cairn_archive::{ArchiveError, Component as Record, Format, Receipts};
use cairn_swarm::geometry::Component;
use cairn_swarm::quic::{PutError, Received, Sink};
use content_types::block::{BodyEncoding, ReceiptsEncoding};
use content_types::header::DecodedHeader;
use content_types::verify::{self, Fault, Unverified};
use content_types::{BlockId, HeaderProof, HeaderVerifier, HeaderWithProof};
use parking_lot::{Mutex, RwLock};

use super::streams::Streams;
use crate::parts::record_of;

/// What a kill may lose of what was put, in bytes.
const FLUSH_BYTES: usize = 128 << 10;

/// An archive that is being put together.
pub(crate) struct ArchiveSink {
    verifier: HeaderVerifier,
    format: Format,
    blocks: RangeInclusive<u64>,
    /// Headers that were proved and put.
    headers: RwLock<BTreeMap<u64, Arc<DecodedHeader>>>,
    /// Compressing is done outside of the lock of the writer.
    streams: Streams,
    assembly: Mutex<Assembly>,
}

struct Assembly {
    /// `None` once the file is written.
    writer: Option<ArchiveWriter>,
    unflushed: usize,
}

impl ArchiveSink {
    /// Begins the archive, or goes on with it where a process before was killed or stopped.
    ///
    /// # Errors
    /// As [`ArchiveWriter::resume`].
    pub(crate) fn resume(verifier: HeaderVerifier, folder: &Path, plan: Plan) -> Result<Self, ArchiveError> {
        let (format, blocks) = (plan.format(), plan.blocks());
        let writer = ArchiveWriter::resume(folder, plan)?;
        let mut headers = BTreeMap::new();
        for number in writer.plan().blocks() {
            // Proof and total difficulty were put before the header, and all were proved before they were put.
            if let Some(rlp) = writer.header(number)?
                && let Ok(header) = DecodedHeader::decode(rlp)
            {
                headers.insert(number, Arc::new(header));
            }
        }
        Ok(Self {
            verifier,
            format,
            blocks,
            headers: RwLock::new(headers),
            streams: Streams::default(),
            assembly: Mutex::new(Assembly { writer: Some(writer), unflushed: 0 }),
        })
    }

    /// What is missing of each component that the archive holds.
    pub(crate) fn wanted(&self) -> Vec<(Component, Range<u64>)> {
        let assembly = self.assembly.lock();
        let Some(writer) = &assembly.writer else { return Vec::new() };
        let kinds = Component::ALL.map(|component| (component, record_of(component)));
        let held = kinds.into_iter().filter(|(_, record)| writer.plan().components().has(*record));
        held.flat_map(|(component, record)| {
            writer
                .missing(record)
                .into_iter()
                .map(move |blocks| (component, *blocks.start()..blocks.end().saturating_add(1)))
        })
        .collect()
    }

    /// How many items the archive has.
    pub(crate) fn items(&self) -> u64 {
        let assembly = self.assembly.lock();
        let Some(writer) = &assembly.writer else { return 0 };
        let parts = Component::ALL.iter().filter(|part| writer.plan().components().has(record_of(**part))).count();
        (self.blocks.end() - self.blocks.start()).saturating_add(1).saturating_mul(parts as u64)
    }

    /// The archive's blocks.
    pub(crate) const fn plan_blocks(&self) -> &RangeInclusive<u64> {
        &self.blocks
    }

    /// The chain's name.
    pub(crate) fn network(&self) -> &str {
        self.verifier.chain().name()
    }

    /// Whether a block's header was proved and put, without which nothing else of it can be checked.
    pub(crate) fn has_header(&self, number: u64) -> bool {
        self.headers.read().contains_key(&number)
    }

    /// Whether an item belongs into the archive, and is missing.
    pub(crate) fn wants(&self, component: Component, number: u64) -> bool {
        let record = record_of(component);
        let assembly = self.assembly.lock();
        let is_missing = |writer: &ArchiveWriter| {
            writer.plan().components().has(record) && self.blocks.contains(&number) && !writer.holds(number, record)
        };
        assembly.writer.as_ref().is_some_and(is_missing)
    }

    /// The blocks whose headers are here.
    pub(crate) fn known(&self) -> Vec<Range<u64>> {
        self.headers.read().keys().map(|number| *number..number.saturating_add(1)).collect()
    }

    /// Writes the file when everything was put, and returns its path; `None` if that was done before.
    ///
    /// # Errors
    /// As [`ArchiveWriter::finish`].
    pub(crate) fn finish(&self, name: Option<&str>) -> Result<Option<PathBuf>, ArchiveError> {
        let Some(mut writer) = self.assembly.lock().writer.take() else { return Ok(None) };
        let plan = writer.plan().clone();
        if plan.components().has(Record::TotalDifficulty) {
            let mut last = U256::ZERO;
            for number in plan.blocks() {
                match writer.total_difficulty(number) {
                    Some(told) => last = told,
                    // After the merge it stays what it was.
                    None => writer.put_total_difficulty(number, last)?,
                }
            }
        }
        match name {
            Some(name) => writer.finish_as(name),
            None => writer.finish(),
        }
        .map(Some)
    }

    /// Leaves nothing behind if nothing was put; what was put stays for the next time.
    pub(crate) fn abandon(&self) {
        let is_empty = self.headers.read().is_empty();
        let Some(writer) = self.assembly.lock().writer.take().filter(|_| is_empty) else { return };
        if let Err(error) = writer.discard() {
            tracing::debug!(%error, "hidden files of an archive that was not begun are left");
        }
    }

    fn header(&self, number: u64) -> Result<Arc<DecodedHeader>, PutError> {
        let header = self.headers.read().get(&number).cloned();
        header.ok_or_else(|| PutError::Failed(format!("block {number}: its header is not here").into()))
    }

    fn write(
        &self,
        bytes: usize,
        put: impl FnOnce(&mut ArchiveWriter) -> Result<(), ArchiveError>,
    ) -> Result<(), PutError> {
        let mut assembly = self.assembly.lock();
        let Assembly { writer: Some(writer), unflushed } = &mut *assembly else {
            return Err(PutError::Failed("the archive is written already".into()));
        };
        let put = put(writer).and_then(|()| {
            *unflushed += bytes;
            if *unflushed >= FLUSH_BYTES {
                writer.flush()?;
                *unflushed = 0;
            }
            Ok(())
        });
        put.map_err(|error| PutError::Failed(error.into()))
    }

    /// Puts a record that is stored compressed.
    fn write_compressed(
        &self,
        number: u64,
        record: Record,
        content: &[u8],
        came: Option<&Bytes>,
    ) -> Result<(), PutError> {
        let stream = self.streams.of(number, record, content, came)?;
        self.write(stream.len(), |writer| match writer.holds(number, record) {
            true => Ok(()),
            false => writer.put_stream(number, record, &stream),
        })
    }

    /// What is wrong with a header that was refused. Where the lists end is told by time, and what time a header claims was
    /// written by whoever made it: one of a block below another that was proved here claims a time that cannot be its own.
    fn refused(&self, number: u64, unverified: Unverified) -> PutError {
        let is_covered = self.headers.read().last_key_value().is_some_and(|(last, _)| number < *last);
        match unverified.fault() {
            Fault::Lists if is_covered => PutError::Invalid(unverified.into()),
            _ => unverified.into(),
        }
    }

    fn put_header(&self, number: u64, item: &Bytes) -> Result<(), PutError> {
        verify::header(&self.verifier, &BlockId::Number(number), item)
            .map_err(|unverified| self.refused(number, unverified))?;
        let HeaderWithProof { header, proof } =
            HeaderWithProof::decode(item, self.verifier.chain()).map_err(Unverified::from)?;
        self.write(item.len(), |writer| {
            let (components, holds) =
                (writer.plan().components(), |writer: &ArchiveWriter, of| writer.holds(number, of));
            if components.has(Record::Proof) && !holds(writer, Record::Proof) {
                writer.put_proof(number, &proof)?;
            }
            if components.has(Record::TotalDifficulty)
                && !holds(writer, Record::TotalDifficulty)
                && let Some(told) = told_difficulty(&proof)
            {
                writer.put_total_difficulty(number, told)?;
            }
            // Last, so that whoever finds a header finds what belongs to it.
            if holds(writer, Record::Header) { Ok(()) } else { writer.put_header(header.rlp()) }
        })?;
        self.headers.write().insert(number, Arc::new(header));
        Ok(())
    }
}

/// A header's sibling in the accumulator's tree is its total difficulty.
fn told_difficulty(proof: &HeaderProof) -> Option<U256> {
    let HeaderProof::HistoricalHashes(branch) = proof else { return None };
    branch.as_slice().first().map(|leaf| U256::from_le_bytes(leaf.0))
}

impl Sink for ArchiveSink {
    fn put(&self, component: Component, number: u64, received: &Received) -> Result<(), PutError> {
        let Received { item, stream } = received;
        match component {
            Component::Headers => self.put_header(number, item),
            Component::Bodies => {
                let header = self.header(number)?;
                let body = verify::body(header.header(), BodyEncoding::Rlp, item.clone())?;
                self.write_compressed(number, Record::Body, body.bytes(), stream.as_ref())
            }
            Component::Receipts => {
                let header = self.header(number)?;
                let receipts = verify::receipts(header.header(), ReceiptsEncoding::Slim, item.clone())?;
                if self.format == Format::Ere {
                    return self.write_compressed(number, Record::Receipts, receipts.bytes(), stream.as_ref());
                }
                let receipts = Receipts { encoding: ReceiptsEncoding::Slim, bytes: receipts.bytes().clone() };
                self.write(item.len(), |writer| match writer.holds(number, Record::Receipts) {
                    true => Ok(()),
                    false => writer.put_receipts(number, &receipts),
                })
            }
        }
    }
}
