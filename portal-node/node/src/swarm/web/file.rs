//! One file of a mirror: what is missing is read of it, and put where it belongs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::{Component as Record, Components, Format, proof_record};
use cairn_swarm::geometry::{Component, RUN_BLOCKS};
use cairn_swarm::quic::{Outside, PutError, Sink, Swarm};
use cairn_web_seed::{Reading, Record as WebRecord, WebArchive};
use content_types::block::{ReceiptsEncoding, transcode};
use content_types::header::{DecodedHeader, EpochRecord, HeaderRecord};
use content_types::{HeaderProof, HeaderWithProof};
use futures::{TryStreamExt, stream};

use super::trouble::TroubleKind;
use crate::swarm::sink::ArchiveSink;
use crate::workers::blocking;

/// Runs of one file that are read at once.
const RUNS: usize = 3;

/// Why a file is not read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileDropped {
    #[error(transparent)]
    Web(#[from] cairn_web_seed::Error),
    #[error("{url}: block {number}, {component:?}: {why}")]
    Wrong { url: Box<str>, number: u64, component: Component, why: String },
    #[error("{url}: block {number}: {why}")]
    Doubtful { url: Box<str>, number: u64, why: String },
    #[error(
        "{url}: there are no proofs in it, and the headers of blocks {} to {} cannot be proved without: bodies and receipts \
         of it are of use once headers come from elsewhere",
        .blocks.start(), .blocks.end()
    )]
    Unproved { url: Box<str>, blocks: RangeInclusive<u64> },
    #[error("nothing can be kept")]
    SinkClosed,
}

impl FileDropped {
    /// Whether it lies with the file, so that there is no use in reading it again soon.
    pub(super) fn is_of_file(&self) -> bool {
        match self {
            Self::Web(error) => error.is_of_file(),
            Self::Wrong { .. } => true,
            Self::Doubtful { .. } | Self::Unproved { .. } | Self::SinkClosed => false,
        }
    }

    /// What it says of the mirror; nothing if it lies with where it was to go.
    pub(super) fn trouble(&self) -> Option<TroubleKind> {
        match self {
            Self::Web(error) => Some(TroubleKind::of(error)),
            Self::Wrong { .. } => Some(TroubleKind::Damaged),
            Self::Doubtful { .. } | Self::Unproved { .. } => Some(TroubleKind::Unproved),
            Self::SinkClosed => None,
        }
    }
}

/// One file of a mirror, and where it goes.
pub(super) struct Filling {
    pub(super) archive: Arc<WebArchive>,
    pub(super) sink: Arc<ArchiveSink>,
    pub(super) outside: Outside,
    /// Whose limit on downloads it shares.
    pub(super) swarm: Swarm,
}

impl Filling {
    /// Takes what is missing: headers that can be proved first, then what belongs to headers that are proved, whoever they
    /// came from.
    pub(super) async fn run(self) -> Result<(), FileDropped> {
        self.headers().await?;
        self.contents().await?;
        let unproved = self.missing(&[Component::Headers]);
        match unproved.first().zip(unproved.last()) {
            Some((first, last)) if !self.archive.archive().components().has(Record::Proof) => {
                Err(FileDropped::Unproved { url: self.archive.url().into(), blocks: *first.start()..=*last.end() })
            }
            _ => Ok(()),
        }
    }

    /// The missing blocks of some components that the file has, by run. Without its header nothing else of a block can be
    /// checked.
    fn missing(&self, components: &[Component]) -> Vec<RangeInclusive<u64>> {
        let held = self.archive.archive().blocks();
        let mut runs = BTreeMap::<u64, (u64, u64)>::new();
        for (component, blocks) in self.sink.wanted() {
            let (first, end) = (blocks.start.max(*held.start()), blocks.end.min(held.end().saturating_add(1)));
            let can_be_put = |number: &u64| component == Component::Headers || self.sink.has_header(*number);
            for number in (first..end).filter(|_| components.contains(&component)).filter(can_be_put) {
                let run = runs.entry(number / RUN_BLOCKS).or_insert((number, number));
                *run = (run.0.min(number), run.1.max(number));
            }
        }
        runs.into_values().map(|(first, last)| first..=last).collect()
    }

    async fn headers(&self) -> Result<(), FileDropped> {
        let missing = self.missing(&[Component::Headers]);
        if missing.is_empty() {
            return Ok(());
        }
        if !self.archive.archive().components().has(Record::Proof) {
            return self.headers_of_an_epoch(&missing).await;
        }
        for blocks in missing {
            let mut reading = self.read(components([Record::Header, Record::Proof]), blocks).await?;
            let mut headers = BTreeMap::new();
            while let Some(record) = reading.next().await? {
                let (number, content) = (record.number, record.content()?);
                if record.component == Record::Header {
                    headers.insert(number, content);
                } else if let Some(header) = headers.remove(&number) {
                    let proof = proof_record::decode(&content).map_err(|rule| self.wrong(number, &rule))?;
                    self.put_header(number, header, proof).await?;
                }
            }
        }
        Ok(())
    }

    /// A file without proofs has them in it if it holds a whole epoch from before the merge.
    async fn headers_of_an_epoch(&self, missing: &[RangeInclusive<u64>]) -> Result<(), FileDropped> {
        let held = self.archive.archive().blocks();
        if !self.archive.archive().components().has(Record::TotalDifficulty) {
            return Ok(());
        }
        let mut reading = self.read(components([Record::Header, Record::TotalDifficulty]), held.clone()).await?;
        let (mut headers, mut difficulties) = (BTreeMap::new(), BTreeMap::new());
        while let Some(record) = reading.next().await? {
            let (number, content) = (record.number, record.content()?);
            if record.component == Record::Header {
                let header = DecodedHeader::decode(content).map_err(|error| self.wrong(number, &error))?;
                headers.insert(number, header);
            } else {
                difficulties.insert(number, U256::try_from_le_slice(&content).unwrap_or_default());
            }
        }
        let of_epoch = headers.iter().filter(|(_, header)| !header.header().difficulty.is_zero());
        let records = of_epoch.filter_map(|(number, header)| {
            Some(HeaderRecord { block_hash: header.hash(), total_difficulty: *difficulties.get(number)? })
        });
        let tree = EpochRecord::new(records.collect()).map_err(|error| self.wrong(*held.start(), &error))?.into_tree();
        for number in missing.iter().cloned().flatten() {
            let proof = number.checked_sub(*held.start()).and_then(|at| tree.prove(usize::try_from(at).ok()?));
            if let (Some(header), Some(proof)) = (headers.get(&number), proof) {
                self.put_header(number, header.rlp().clone(), HeaderProof::HistoricalHashes(proof)).await?;
            }
        }
        Ok(())
    }

    async fn read(&self, components: Components, blocks: RangeInclusive<u64>) -> Result<PacedReading, FileDropped> {
        let reading = self.archive.read(components, blocks).await?;
        Ok(PacedReading { reading, swarm: self.swarm.clone() })
    }

    fn wrong(&self, number: u64, why: &dyn std::fmt::Display) -> FileDropped {
        let (url, component) = (self.archive.url().into(), Component::Headers);
        FileDropped::Wrong { url, number, component, why: why.to_string() }
    }

    async fn put_header(&self, number: u64, header: Bytes, proof: HeaderProof) -> Result<(), FileDropped> {
        let header = DecodedHeader::decode(header).map_err(|error| self.wrong(number, &error))?;
        self.put(Component::Headers, number, HeaderWithProof { header, proof }.encode()).await
    }

    async fn contents(&self) -> Result<(), FileDropped> {
        let runs = self.missing(&[Component::Bodies, Component::Receipts]);
        stream::iter(runs.into_iter().map(Ok)).try_for_each_concurrent(RUNS, |blocks| self.content(blocks)).await
    }

    async fn content(&self, blocks: RangeInclusive<u64>) -> Result<(), FileDropped> {
        let held = self.archive.archive().components();
        let wanted = [Record::Body, Record::Receipts].into_iter().filter(|record| held.has(*record));
        let mut reading = self.read(components(wanted), blocks).await?;
        while let Some(record) = reading.next().await? {
            let (number, content) = (record.number, record.content()?);
            match record.component {
                Record::Body => self.put(Component::Bodies, number, content).await?,
                Record::Receipts if self.archive.archive().format() == Format::Era1 => {
                    let slim = transcode::receipts(ReceiptsEncoding::Rlp, ReceiptsEncoding::Slim, &content);
                    let slim = slim.map_err(|error| self.wrong(number, &error))?;
                    self.put(Component::Receipts, number, slim.into()).await?;
                }
                _ => self.put(Component::Receipts, number, content).await?,
            }
        }
        Ok(())
    }

    async fn put(&self, component: Component, number: u64, item: Bytes) -> Result<(), FileDropped> {
        let (sink, bytes) = (Arc::clone(&self.sink), item.len() as u64);
        let can_be_checked = component == Component::Headers || sink.has_header(number);
        if !sink.wants(component, number) || !can_be_checked {
            return Ok(());
        }
        let put = blocking(move || sink.put(component, number, &item.into())).await;
        match put.map_err(|_| FileDropped::SinkClosed)? {
            Ok(()) => {
                self.outside.kept(component, number, bytes);
                Ok(())
            }
            Err(PutError::Invalid(why)) => {
                Err(FileDropped::Wrong { url: self.archive.url().into(), number, component, why: why.to_string() })
            }
            Err(PutError::Doubtful(why)) => {
                Err(FileDropped::Doubtful { url: self.archive.url().into(), number, why: why.to_string() })
            }
            Err(error) => {
                self.outside.failed(component, number, error);
                Err(FileDropped::SinkClosed)
            }
        }
    }
}

/// Records at the pace that the limit on all downloads leaves.
struct PacedReading {
    reading: Reading,
    swarm: Swarm,
}

impl PacedReading {
    async fn next(&mut self) -> Result<Option<WebRecord>, FileDropped> {
        let record = self.reading.next().await;
        // What came, and not what the mirror's index says would: the limit is everybody's. Meanwhile the server is not read from, and
        // so sends no more.
        let received = self.reading.take_received();
        if received > 0 {
            self.swarm.wait_to_download(received).await;
        }
        Ok(record?)
    }
}

fn components(of: impl IntoIterator<Item = Record>) -> Components {
    of.into_iter().collect()
}
