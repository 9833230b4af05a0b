//! One archive that is served in place. Each piece is checked against the chain when it is read for the first time, at
//! the speed of hashing; that it was good is remembered in a bit.

use std::{
    ops::{Range, RangeInclusive},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_primitives::B256;
use bytes::Bytes;
use cairn_archive::{Archive, ArchiveError, ArchiveRule, Component, Format};
use content_types::{
    HeaderProof, HeaderWithProof, ProvedHeader,
    block::{BodyEncoding, ReceiptsEncoding, transcode},
    header::DecodedHeader,
    room::BlockPart,
    verify,
};

use super::proof::{HeaderProver, Unproved};

/// Why a piece is not served.
#[derive(Debug)]
pub(super) enum SeedRefusal {
    /// The file is gone or is another one.
    Gone(String),
    /// The piece is not what the chain says, or cannot be read. Not tried again.
    Corrupt(String),
    /// It may be served another time.
    NotNow(String),
}

impl From<ArchiveError> for SeedRefusal {
    fn from(error: ArchiveError) -> Self {
        match error.rule {
            ArchiveRule::Vanished => Self::Gone(error.to_string()),
            ArchiveRule::Io(_) => Self::NotNow(error.to_string()),
            _ => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<Unproved> for SeedRefusal {
    fn from(error: Unproved) -> Self {
        match error {
            Unproved::NotYet(reason) => Self::NotNow(reason),
            Unproved::Wrong(reason) => Self::Corrupt(reason),
        }
    }
}

/// An open archive and what is known of its pieces.
pub(super) struct Seed {
    pub(super) path: PathBuf,
    archive: Archive,
    prover: Arc<dyn HeaderProver>,
    headers: Bits,
    bodies: Bits,
    receipts: Bits,
    bad_headers: Bits,
    bad_bodies: Bits,
    bad_receipts: Bits,
}

impl Seed {
    pub(super) fn new(path: PathBuf, archive: Archive, prover: Arc<dyn HeaderProver>) -> Self {
        let bits = || Bits::new(archive.blocks().count());
        Self {
            headers: bits(),
            bodies: bits(),
            receipts: bits(),
            bad_headers: bits(),
            bad_bodies: bits(),
            bad_receipts: bits(),
            path,
            archive,
            prover,
        }
    }

    pub(super) fn blocks(&self) -> RangeInclusive<u64> {
        self.archive.blocks()
    }

    /// Whether the file is still the one that was opened; otherwise what became of it.
    pub(super) fn check_identity(&self) -> Result<(), String> {
        self.archive.check_identity().map_err(|error| error.to_string())
    }

    /// Tells this file and this state of it from others: its length and its last block's hash.
    pub(super) fn fingerprint(&self) -> Result<Vec<u8>, ArchiveError> {
        let last = self.archive.decoded_header(*self.blocks().end())?;
        Ok([&self.archive.file_len().to_le_bytes()[..], last.hash().as_slice()].concat())
    }

    /// The hash of a header, as the file has it.
    pub(super) fn hash(&self, number: u64) -> Result<B256, ArchiveError> {
        Ok(self.archive.decoded_header(number)?.hash())
    }

    /// Whether the archive has a piece, as far as is known without reading it.
    pub(super) fn has(&self, number: u64, component: Component) -> bool {
        self.archive.components().has(component)
            && self.prover.vouches_for(number, component)
            && self.place(number).is_some_and(|place| !self.bits(component).1.get(place))
    }

    /// Whether reading a piece takes the tree of an epoch that has to be built before.
    pub(super) fn needs_tree(&self, number: u64, piece: BlockPart) -> bool {
        let is_good = self.place(number).is_some_and(|place| self.bits(piece.into()).0.get(place));
        // What is known to be good needs no proof, unless the proof is what is asked for.
        (piece == BlockPart::Header || !is_good) && self.archive.needs_tree()
    }

    /// A piece in the encoding that is asked for. With `hash`, the block's header must have it.
    pub(super) fn read(&self, number: u64, piece: BlockPart, hash: Option<&B256>) -> Result<Bytes, SeedRefusal> {
        self.read_from(&self.archive, number, piece, hash)
    }

    /// Pieces of consecutive blocks in the encoding that is asked for, from the first block on: as many as come to
    /// `max_bytes`, and one at least. The file is opened once for all of them.
    pub(super) fn plain(
        &self,
        piece: BlockPart,
        blocks: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, SeedRefusal> {
        let archive = self.archive.pinned()?;
        collect(blocks, max_bytes, |number| self.read_from(&archive, number, piece, None))
    }

    fn read_from(
        &self,
        archive: &Archive,
        number: u64,
        piece: BlockPart,
        hash: Option<&B256>,
    ) -> Result<Bytes, SeedRefusal> {
        let component = piece.into();
        let place = self.place(number).ok_or_else(|| SeedRefusal::NotNow("another era".into()))?;
        let (good, bad) = self.bits(component);
        if bad.get(place) {
            return Err(SeedRefusal::NotNow("it was found corrupt before".into()));
        }
        let found = self.read_checked(archive, number, piece, hash, good.get(place));
        match &found {
            Ok(_) => good.set(place),
            Err(SeedRefusal::Corrupt(_)) => bad.set(place),
            Err(_) => {}
        }
        found
    }

    /// Pieces of consecutive blocks as the file has them, compressed, from the first block on: as many as come to
    /// `max_bytes`, and one at least. There may be fewer where pieces that are known to be good are followed by others.
    pub(super) fn compressed(
        &self,
        piece: BlockPart,
        blocks: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, SeedRefusal> {
        let is_stored_so = match piece {
            BlockPart::Header => false,
            BlockPart::Body(encoding) => encoding == BodyEncoding::Rlp,
            BlockPart::Receipts(encoding) => encoding == ReceiptsEncoding::Slim && self.archive.format() == Format::Ere,
        };
        if !is_stored_so {
            return Err(SeedRefusal::NotNow("the archive stores it in another encoding".into()));
        }
        let archive = self.archive.pinned()?;
        // What was found good before is read in one go, as far as it reaches.
        let known = self.known_good(piece.into(), &blocks);
        if !known.is_empty() {
            let run = archive.stored_run(piece.into(), known, max_bytes)?;
            if !run.is_empty() {
                return Ok(run);
            }
        }
        collect(blocks, max_bytes, |number| self.compressed_piece(&archive, number, piece))
    }

    /// The first blocks of some whose pieces were found good before.
    fn known_good(&self, component: Component, blocks: &Range<u64>) -> Range<u64> {
        let (good, _) = self.bits(component);
        let is_good = |number: &u64| self.place(*number).is_some_and(|place| good.get(place));
        let count = blocks.clone().take_while(is_good).count();
        blocks.start..blocks.start + count as u64
    }

    fn compressed_piece(&self, pinned: &Archive, number: u64, piece: BlockPart) -> Result<Bytes, SeedRefusal> {
        let place = self.place(number).ok_or_else(|| SeedRefusal::NotNow("another era".into()))?;
        if !self.bits(piece.into()).0.get(place) {
            self.read_from(pinned, number, piece, None)?;
        }
        let stored = pinned.stored(number, piece.into())?;
        stored.ok_or_else(|| SeedRefusal::NotNow("the archive has none".into()))
    }

    fn read_checked(
        &self,
        archive: &Archive,
        number: u64,
        piece: BlockPart,
        hash: Option<&B256>,
        is_good: bool,
    ) -> Result<Bytes, SeedRefusal> {
        if let Some(hash) = hash
            && archive.decoded_header(number)?.hash() != *hash
        {
            return Err(SeedRefusal::NotNow("the block with this number has another hash".into()));
        }
        match piece {
            BlockPart::Header => {
                let (header, proof) = header_and_proof(archive, number)?;
                let proof =
                    proof.ok_or_else(|| SeedRefusal::NotNow("the archive has no proof of the header".into()))?;
                if !is_good {
                    self.prover.prove(header.clone(), Some(&proof))?;
                }
                Ok(HeaderWithProof { header, proof }.encode())
            }
            BlockPart::Body(encoding) => {
                let body = archive.body(number)?;
                if !is_good {
                    let header = self.proved_header(archive, number)?;
                    verify::body(header.header(), BodyEncoding::Rlp, body.clone()).map_err(corrupt)?;
                }
                match encoding {
                    BodyEncoding::Rlp => Ok(body),
                    encoding => Ok(transcode::body(BodyEncoding::Rlp, encoding, &body).map_err(corrupt)?.into()),
                }
            }
            BlockPart::Receipts(encoding) => {
                let Some(receipts) = archive.receipts(number)? else {
                    return Err(SeedRefusal::NotNow("the archive has no receipts".into()));
                };
                if !is_good {
                    let header = self.proved_header(archive, number)?;
                    verify::receipts(header.header(), receipts.encoding, receipts.bytes.clone()).map_err(corrupt)?;
                }
                if receipts.encoding == encoding {
                    return Ok(receipts.bytes);
                }
                let transcoded = transcode::receipts(receipts.encoding, encoding, &receipts.bytes);
                Ok(transcoded.map_err(corrupt)?.into())
            }
        }
    }

    fn proved_header(&self, archive: &Archive, number: u64) -> Result<ProvedHeader, SeedRefusal> {
        let (header, proof) = header_and_proof(archive, number)?;
        Ok(self.prover.prove(header, proof.as_ref())?)
    }

    fn place(&self, number: u64) -> Option<usize> {
        let blocks = self.blocks();
        blocks.contains(&number).then(|| (number - blocks.start()) as usize)
    }

    /// Which pieces are known to be good, and which to be bad.
    fn bits(&self, component: Component) -> (&Bits, &Bits) {
        match component {
            Component::Body => (&self.bodies, &self.bad_bodies),
            Component::Receipts => (&self.receipts, &self.bad_receipts),
            Component::Header | Component::Proof | Component::TotalDifficulty => (&self.headers, &self.bad_headers),
        }
    }
}

/// A header with its proof, or without one where none is in the archive and none can be built from it. Damage elsewhere
/// in the epoch, of which the tree is built, is not this header's.
fn header_and_proof(archive: &Archive, number: u64) -> Result<(DecodedHeader, Option<HeaderProof>), ArchiveError> {
    match archive.header_with_proof(number) {
        Ok(HeaderWithProof { header, proof }) => Ok((header, Some(proof))),
        Err(error) if matches!(error.rule, ArchiveRule::Io(_) | ArchiveRule::Vanished) => Err(error),
        Err(_) => Ok((archive.decoded_header(number)?, None)),
    }
}

/// What `read` gives for consecutive blocks, from the first on: as many pieces as come to `max_bytes`, and one at least.
fn collect(
    blocks: Range<u64>,
    max_bytes: usize,
    mut read: impl FnMut(u64) -> Result<Bytes, SeedRefusal>,
) -> Result<Vec<Bytes>, SeedRefusal> {
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    for number in blocks {
        match read(number) {
            Ok(piece) => {
                bytes += piece.len();
                pieces.push(piece);
            }
            // It is met again by whoever asks for this one first.
            Err(_) if !pieces.is_empty() => break,
            Err(refusal) => return Err(refusal),
        }
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(pieces)
}

fn corrupt(error: impl std::fmt::Display) -> SeedRefusal {
    SeedRefusal::Corrupt(error.to_string())
}

/// A bit for each block of an archive.
struct Bits(Vec<AtomicU64>);

impl Bits {
    fn new(count: usize) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn get(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (place % 64) & 1 == 1)
    }

    fn set(&self, place: usize) {
        if let Some(word) = self.0.get(place / 64) {
            word.fetch_or(1 << (place % 64), Ordering::Relaxed);
        }
    }
}
