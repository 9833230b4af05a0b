//! What no peer serves, from mirrors of archive files over HTTP and from buckets. They come after peers, and what they give is
//! checked block by block like anybody's.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::{Component as Record, Components, Format, proof_record};
use cairn_swarm::geometry::{Component, RUN_BLOCKS};
use cairn_swarm::quic::{FetchProgress, Outside, PutError, Sink};
use cairn_web_seed::{Options, WebArchive, WebSeed};
use content_types::block::{ReceiptsEncoding, transcode};
use content_types::header::{DecodedHeader, EpochRecord, HeaderRecord};
use content_types::{HeaderProof, HeaderWithProof};
use futures::future::join_all;
use futures::{TryStreamExt, stream};
use tokio::sync::watch;

use super::sink::ArchiveSink;
use crate::workers::blocking;

/// How long nobody may serve what is missing before mirrors are asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a mirror that failed is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// Runs of one mirror that are read at once.
const RUNS: usize = 3;

/// Why a mirror is not asked for more.
#[derive(Debug, thiserror::Error)]
enum MirrorDropped {
    #[error(transparent)]
    Web(#[from] cairn_web_seed::Error),
    #[error("block {number}, {component:?}: {why}")]
    Wrong { number: u64, component: Component, why: String },
    /// What came cannot be kept; the fetch was told.
    #[error("nothing can be kept")]
    Sink,
}

/// Asks mirrors for what is missing whenever no peer serves it, for as long as this is awaited.
pub(super) async fn keep_filling(
    urls: Vec<String>,
    sink: Arc<ArchiveSink>,
    outside: Outside,
    progress: watch::Receiver<FetchProgress>,
) {
    let fill = |url: String| {
        let (sink, outside, mut progress) = (Arc::clone(&sink), outside.clone(), progress.clone());
        async move {
            loop {
                let is_stuck =
                    |now: &FetchProgress| now.total.missing > 0 && now.total.unreachable == now.total.missing;
                if progress.wait_for(is_stuck).await.is_err() {
                    return;
                }
                tokio::time::sleep(PATIENCE).await;
                if !is_stuck(&progress.borrow()) {
                    continue;
                }
                match fill_from(&url, &sink, &outside).await {
                    Ok(()) => {}
                    Err(MirrorDropped::Sink) => return,
                    Err(error) => tracing::warn!(url, %error, "a mirror is left alone for a while"),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    join_all(urls.into_iter().map(fill)).await;
}

/// Takes from one mirror whatever is missing and in its files.
async fn fill_from(url: &str, sink: &Arc<ArchiveSink>, outside: &Outside) -> Result<(), MirrorDropped> {
    let seed = WebSeed::open(url, Options::default()).await?;
    let wanted = sink.plan_blocks();
    let overlaps = |blocks: RangeInclusive<u64>| blocks.start() <= wanted.end() && wanted.start() <= blocks.end();
    let names: Vec<_> = seed.files().filter(|file| file.blocks().is_none_or(overlaps)).map(|file| file.name).collect();
    for name in names {
        let archive = seed.archive(&name).await?;
        let filling = Filling { archive, sink: Arc::clone(sink), outside: outside.clone() };
        filling.headers().await?;
        filling.contents().await?;
    }
    Ok(())
}

/// One file of a mirror, and where it goes.
struct Filling {
    archive: Arc<WebArchive>,
    sink: Arc<ArchiveSink>,
    outside: Outside,
}

impl Filling {
    /// The missing blocks of some components that the file has, by run.
    fn missing(&self, components: &[Component]) -> Vec<RangeInclusive<u64>> {
        let held = self.archive.archive().blocks();
        let mut runs = BTreeMap::<u64, (u64, u64)>::new();
        for (component, blocks) in self.sink.wanted() {
            let (first, end) = (blocks.start.max(*held.start()), blocks.end.min(held.end().saturating_add(1)));
            for number in (first..end).filter(|_| components.contains(&component)) {
                let run = runs.entry(number / RUN_BLOCKS).or_insert((number, number));
                *run = (run.0.min(number), run.1.max(number));
            }
        }
        runs.into_values().map(|(first, last)| first..=last).collect()
    }

    async fn headers(&self) -> Result<(), MirrorDropped> {
        let missing = self.missing(&[Component::Headers]);
        if missing.is_empty() {
            return Ok(());
        }
        if !self.archive.archive().components().has(Record::Proof) {
            return self.headers_of_an_epoch(&missing).await;
        }
        for blocks in missing {
            let mut reading = self.archive.read(components([Record::Header, Record::Proof]), blocks).await?;
            let mut headers = BTreeMap::new();
            while let Some(record) = reading.next().await? {
                let (number, content) = (record.number, record.content()?);
                if record.component == Record::Header {
                    headers.insert(number, content);
                } else if let Some(header) = headers.remove(&number) {
                    let proof = proof_record::decode(&content).map_err(|rule| wrong(number, &rule))?;
                    self.put_header(number, header, proof).await?;
                }
            }
        }
        Ok(())
    }

    /// A file without proofs has them in it if it holds a whole epoch from before the merge.
    async fn headers_of_an_epoch(&self, missing: &[RangeInclusive<u64>]) -> Result<(), MirrorDropped> {
        let held = self.archive.archive().blocks();
        if !self.archive.archive().components().has(Record::TotalDifficulty) {
            return Ok(());
        }
        let mut reading =
            self.archive.read(components([Record::Header, Record::TotalDifficulty]), held.clone()).await?;
        let (mut headers, mut difficulties) = (BTreeMap::new(), BTreeMap::new());
        while let Some(record) = reading.next().await? {
            let (number, content) = (record.number, record.content()?);
            if record.component == Record::Header {
                let header = DecodedHeader::decode(content).map_err(|error| wrong(number, &error))?;
                headers.insert(number, header);
            } else {
                difficulties.insert(number, U256::try_from_le_slice(&content).unwrap_or_default());
            }
        }
        let of_epoch = headers.iter().filter(|(_, header)| !header.header().difficulty.is_zero());
        let records = of_epoch.filter_map(|(number, header)| {
            Some(HeaderRecord { block_hash: header.hash(), total_difficulty: *difficulties.get(number)? })
        });
        let tree = EpochRecord::new(records.collect()).map_err(|error| wrong(*held.start(), &error))?.into_tree();
        for number in missing.iter().cloned().flatten() {
            let proof = number.checked_sub(*held.start()).and_then(|at| tree.prove(usize::try_from(at).ok()?));
            if let (Some(header), Some(proof)) = (headers.get(&number), proof) {
                self.put_header(number, header.rlp().clone(), HeaderProof::HistoricalHashes(proof)).await?;
            }
        }
        Ok(())
    }

    async fn put_header(&self, number: u64, header: Bytes, proof: HeaderProof) -> Result<(), MirrorDropped> {
        let header = DecodedHeader::decode(header).map_err(|error| wrong(number, &error))?;
        self.put(Component::Headers, number, HeaderWithProof { header, proof }.encode()).await
    }

    async fn contents(&self) -> Result<(), MirrorDropped> {
        let runs = self.missing(&[Component::Bodies, Component::Receipts]);
        stream::iter(runs.into_iter().map(Ok)).try_for_each_concurrent(RUNS, |blocks| self.run(blocks)).await
    }

    async fn run(&self, blocks: RangeInclusive<u64>) -> Result<(), MirrorDropped> {
        let held = self.archive.archive().components();
        let wanted = [Record::Body, Record::Receipts].into_iter().filter(|record| held.has(*record));
        let mut reading = self.archive.read(components(wanted), blocks).await?;
        while let Some(record) = reading.next().await? {
            let (number, content) = (record.number, record.content()?);
            match record.component {
                Record::Body => self.put(Component::Bodies, number, content).await?,
                Record::Receipts if self.archive.archive().format() == Format::Era1 => {
                    let slim = transcode::receipts(ReceiptsEncoding::Rlp, ReceiptsEncoding::Slim, &content);
                    let slim = slim.map_err(|error| wrong(number, &error))?;
                    self.put(Component::Receipts, number, slim.into()).await?;
                }
                _ => self.put(Component::Receipts, number, content).await?,
            }
        }
        Ok(())
    }

    async fn put(&self, component: Component, number: u64, item: Bytes) -> Result<(), MirrorDropped> {
        let (sink, bytes) = (Arc::clone(&self.sink), item.len() as u64);
        if !sink.wants(component, number) {
            return Ok(());
        }
        let put = blocking(move || sink.put(component, number, &item)).await;
        match put.map_err(|_| MirrorDropped::Sink)? {
            Ok(()) => {
                self.outside.kept(component, number, bytes);
                Ok(())
            }
            Err(PutError::Invalid(why) | PutError::Doubtful(why)) => {
                Err(MirrorDropped::Wrong { number, component, why: why.to_string() })
            }
            Err(error) => {
                self.outside.failed(component, number, error);
                Err(MirrorDropped::Sink)
            }
        }
    }
}

fn components(of: impl IntoIterator<Item = Record>) -> Components {
    of.into_iter().collect()
}

fn wrong(number: u64, why: &dyn std::fmt::Display) -> MirrorDropped {
    MirrorDropped::Wrong { number, component: Component::Headers, why: why.to_string() }
}
