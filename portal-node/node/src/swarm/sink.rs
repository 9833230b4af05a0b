//! What comes from peers, checked block by block and put into an archive. Nothing that is not proved gets into the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::write::ArchiveWriter;
use cairn_archive::{ArchiveError, Component as Record, Receipts};
use cairn_swarm::geometry::Component;
use cairn_swarm::quic::{PutError, Sink};
use cairn_swarm::wire::Encoding;
use content_types::block::{BodyEncoding, ReceiptsEncoding, validate};
use content_types::{HeaderError, HeaderProof, HeaderVerifier, HeaderWithProof, ProvedHeader};
use parking_lot::{Mutex, RwLock};

/// An archive that is being put together.
pub(crate) struct ArchiveSink {
    verifier: HeaderVerifier,
    headers: RwLock<BTreeMap<u64, Arc<ProvedHeader>>>,
    /// Total difficulties that proofs told.
    difficulties: Mutex<BTreeMap<u64, U256>>,
    writer: Mutex<Option<ArchiveWriter>>,
}

impl ArchiveSink {
    pub(crate) fn new(verifier: HeaderVerifier, writer: ArchiveWriter) -> Self {
        Self { verifier, headers: RwLock::default(), difficulties: Mutex::default(), writer: Mutex::new(Some(writer)) }
    }

    /// Writes the file when everything was put, and returns its path.
    ///
    /// # Errors
    /// As [`ArchiveWriter::finish`].
    pub(crate) fn finish(&self, name: Option<&str>) -> Result<Option<PathBuf>, ArchiveError> {
        let Some(mut writer) = self.writer.lock().take() else { return Ok(None) };
        let plan = writer.plan().clone();
        if plan.components().has(Record::TotalDifficulty) {
            let told = self.difficulties.lock();
            let mut last = U256::ZERO;
            for number in plan.blocks() {
                // After the merge it stays what it was.
                last = told.get(&number).copied().unwrap_or(last);
                writer.put_total_difficulty(number, last)?;
            }
        }
        match name {
            Some(name) => writer.finish_as(name),
            None => writer.finish(),
        }
        .map(Some)
    }

    fn header(&self, number: u64) -> Result<Arc<ProvedHeader>, PutError> {
        let header = self.headers.read().get(&number).cloned();
        header.ok_or_else(|| PutError::Failed(format!("block {number}: its header is not here").into()))
    }

    fn write(&self, put: impl FnOnce(&mut ArchiveWriter) -> Result<(), ArchiveError>) -> Result<(), PutError> {
        match self.writer.lock().as_mut() {
            Some(writer) => put(writer).map_err(|error| PutError::Failed(error.into())),
            None => Err(PutError::Failed("the archive is written already".into())),
        }
    }

    fn put_header(&self, number: u64, item: &Bytes) -> Result<(), PutError> {
        let proved = self.verifier.verify(item).map_err(|error| match error {
            // What cannot be judged here is nobody's lie.
            HeaderError::ListMissing { .. } | HeaderError::BeyondList { .. } => PutError::Failed(error.into()),
            error => PutError::Invalid(error.to_string()),
        })?;
        if proved.number() != number {
            return Err(PutError::Invalid(format!("the header of block {} in its place", proved.number())));
        }
        let proof = HeaderWithProof::decode(item, self.verifier.chain());
        let proof = proof.map_err(|error| PutError::Invalid(error.to_string()))?.proof;
        self.write(|writer| {
            writer.put_header(proved.rlp())?;
            if writer.plan().components().has(Record::Proof) {
                writer.put_proof(number, &proof)?;
            }
            Ok(())
        })?;
        if let HeaderProof::HistoricalHashes(branch) = &proof
            && let Some(leaf) = branch.as_slice().first()
        {
            // A header's sibling in the accumulator's tree is its total difficulty.
            self.difficulties.lock().insert(number, U256::from_le_bytes(leaf.0));
        }
        self.headers.write().insert(number, Arc::new(proved));
        Ok(())
    }
}

impl Sink for ArchiveSink {
    fn put(&self, component: Component, number: u64, _: Encoding, item: &Bytes) -> Result<(), PutError> {
        match component {
            Component::Headers => self.put_header(number, item),
            Component::Bodies => {
                validate::body(self.header(number)?.header(), BodyEncoding::Rlp, item)
                    .map_err(|error| PutError::Invalid(error.to_string()))?;
                self.write(|writer| writer.put_body(number, item))
            }
            Component::Receipts => {
                validate::receipts(self.header(number)?.header(), ReceiptsEncoding::Slim, item)
                    .map_err(|error| PutError::Invalid(error.to_string()))?;
                let receipts = Receipts { encoding: ReceiptsEncoding::Slim, bytes: item.clone() };
                self.write(|writer| writer.put_receipts(number, &receipts))
            }
        }
    }
}
