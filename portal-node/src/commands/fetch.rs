//! `cairn fetch`: verified history from the network, printed or written into a file.

use std::{path::PathBuf, time::Duration};

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::{
    Component, Components, Format, Receipts,
    write::{ArchiveWriter, Plan},
};
use cairn_node::{BlockId, Node};
use content_types::{HeaderProof, HeaderWithProof, SubNetwork, block::ReceiptsEncoding, legacy_history};
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::{blocking, peer};
use crate::{
    cli::{BlockRange, FetchArgs, FetchFormat, What},
    failure::Failure,
    files, output, present, progress,
    settings::Settings,
};

/// Blocks that wait to be written while the next ones arrive.
const BLOCKS_AHEAD: usize = 16;

pub(crate) async fn fetch(settings: &Settings, args: FetchArgs) -> Result<(), Failure> {
    let target = Target::of(&args)?;
    let (node, _scratch) = peer::start_fetcher(settings, args.network.clone()).await?;
    let outcome = fetch_with(&node, settings, &args, target).await;
    node.shutdown().await;
    outcome
}

async fn fetch_with(node: &Node, settings: &Settings, args: &FetchArgs, target: Target) -> Result<(), Failure> {
    node.archives().wait_until_scanned().await;
    if node.trust().status().iter().all(|list| list.entries.is_none()) {
        node.fetch_trust_from_peers().await;
    }
    match target {
        Target::Output => print(node, args).await,
        Target::File(path) => {
            let pieces = collect(node, args).await?;
            blocking(move || files::write_whole(&path, &pieces)).await
        }
        Target::Archive(path, format) => archive(node, settings, args, path, format).await,
    }
}

/// Where the result goes.
enum Target {
    Output,
    File(PathBuf),
    Archive(PathBuf, Format),
}

impl Target {
    fn of(args: &FetchArgs) -> Result<Self, Failure> {
        let Some(path) = &args.out else { return Ok(Self::Output) };
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("era1") => Format::Era1,
            Some("ere" | "erae") => Format::Ere,
            _ => return Ok(Self::File(path.clone())),
        };
        if args.what != What::Block {
            return Err(Failure::Configuration("an archive holds whole blocks: leave out --what".into()));
        }
        if args.blocks.count() > cairn_archive::MAX_BLOCKS {
            return Err(Failure::Configuration(format!(
                "an archive holds {} blocks at most, the range has {}",
                cairn_archive::MAX_BLOCKS,
                args.blocks.count()
            )));
        }
        Ok(Self::Archive(path.clone(), format))
    }
}

async fn print(node: &Node, args: &FetchArgs) -> Result<(), Failure> {
    let bar = bar(args.blocks);
    let mut pieces = Box::pin(pieces(node, args));
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        bar.inc(1);
        bar.suspend(|| match args.format {
            FetchFormat::Json => output::line(String::from_utf8_lossy(&piece)),
            FetchFormat::Rlp => output::raw(&piece),
        })?;
    }
    bar.finish_and_clear();
    Ok(())
}

async fn collect(node: &Node, args: &FetchArgs) -> Result<Vec<u8>, Failure> {
    let bar = bar(args.blocks);
    let mut all = Vec::new();
    let mut pieces = Box::pin(pieces(node, args));
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece?);
        if args.format == FetchFormat::Json {
            all.push(b'\n');
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// What was asked for of each block, in order, as it is printed.
fn pieces(node: &Node, args: &FetchArgs) -> impl Stream<Item = Result<Vec<u8>, Failure>> {
    let (what, format, limit) = (args.what, args.format, Duration::from_secs(args.timeout));
    stream::iter(args.blocks.first..=args.blocks.last)
        .map(move |number| within(limit, number, piece(node, number, what, format)))
        .buffered(args.parallel.max(1))
}

async fn piece(node: &Node, number: u64, what: What, format: FetchFormat) -> Result<Vec<u8>, Failure> {
    let id = BlockId::Number(number);
    let fetcher = node.fetch();
    let parts = match what {
        What::Header => present::Parts::header(fetcher.header(id).await.map_err(missing)?),
        What::Body => fetcher.body(id).await.map(present::Parts::body).map_err(missing)?,
        What::Receipts => fetcher.receipts(id).await.map(present::Parts::receipts).map_err(missing)?,
        What::Block => fetcher.block(id).await.map(present::Parts::block).map_err(missing)?,
    };
    let presented = match format {
        FetchFormat::Json => parts.json(),
        FetchFormat::Rlp => parts.rlp(),
    };
    presented.map_err(|error| Failure::Invalid(format!("block {number}: {error}")))
}

/// A block and what an archive says beside it.
struct Entry {
    number: u64,
    header: HeaderWithProof,
    body: Bytes,
    receipts: Bytes,
}

async fn archive(
    node: &Node,
    settings: &Settings,
    args: &FetchArgs,
    path: PathBuf,
    format: Format,
) -> Result<(), Failure> {
    let blocks = args.blocks.first..=args.blocks.last;
    let chain = settings.chain()?;
    let plan = match format {
        Format::Era1 if !chain.is_pre_merge(args.blocks.last) => {
            return Err(Failure::Configuration(
                "an era1 file holds blocks before the merge only: write an .ere file".into(),
            ));
        }
        Format::Era1 => Plan::era1(chain.name(), blocks),
        Format::Ere => {
            let components = Components::default().with(Component::Proof).with(Component::Receipts);
            let has_difficulty = chain.is_pre_merge(args.blocks.last);
            let components = if has_difficulty { components.with(Component::TotalDifficulty) } else { components };
            Plan::ere(chain.name(), blocks, components)
        }
    };
    let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
    let writing = tokio::spawn(blocking(move || write_archive(plan, path, receiver)));
    let fetched = send_entries(node, settings, args, sender).await;
    // The writer ends with its channel; without a whole range it takes its temporary file away.
    let made = writing.await.map_err(|error| Failure::Internal(error.to_string()))?;
    fetched?;
    let made = made?;
    if settings.json { output::json(&json!({ "to": made })) } else { output::line(made.display()) }
}

/// Fetches the range and hands it on in order, until the receiver ends.
async fn send_entries(
    node: &Node,
    settings: &Settings,
    args: &FetchArgs,
    sender: mpsc::Sender<Entry>,
) -> Result<(), Failure> {
    let bar = bar(args.blocks);
    let limit = Duration::from_secs(args.timeout);
    let mut entries = Box::pin(
        stream::iter(args.blocks.first..=args.blocks.last)
            .map(|number| within(limit, number, entry(node, settings, number)))
            .buffered(args.parallel.max(1)),
    );
    while let Some(entry) = entries.next().await {
        if sender.send(entry?).await.is_err() {
            break;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn entry(node: &Node, settings: &Settings, number: u64) -> Result<Entry, Failure> {
    let id = BlockId::Number(number);
    let block = node.fetch().block(id).await.map_err(missing)?;
    let header = header_with_proof(node, settings, number).await?;
    Ok(Entry { number, header, body: block.body, receipts: block.receipts })
}

/// A header with its proof: what a lookup returns was proved on its way in.
async fn header_with_proof(node: &Node, settings: &Settings, number: u64) -> Result<HeaderWithProof, Failure> {
    let overlay = node
        .overlay(SubNetwork::LegacyHistory)
        .ok_or_else(|| Failure::Internal("the peer does not speak the legacy history network".into()))?;
    let key = legacy_history::ContentKey::HeaderByNumber(number);
    let found = overlay.lookup_content(key.encode()).await.map_err(missing)?;
    HeaderWithProof::decode(&found.value, &*settings.chain()?)
        .map_err(|error| Failure::Invalid(format!("block {number}: {error}")))
}

/// Writes what arrives; the file gets its name when it is whole.
fn write_archive(plan: Plan, path: PathBuf, mut entries: mpsc::Receiver<Entry>) -> Result<PathBuf, Failure> {
    let wrong = |error: cairn_archive::ArchiveError| Failure::archive(&error);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let components = plan.components();
    let expected = plan.blocks();
    let mut writer = ArchiveWriter::create(&folder, plan).map_err(wrong)?;
    let mut last = None;
    while let Some(entry) = entries.blocking_recv() {
        writer.put_header(entry.header.header.rlp()).map_err(wrong)?;
        writer.put_body(entry.number, &entry.body).map_err(wrong)?;
        let receipts = Receipts { encoding: ReceiptsEncoding::Slim, bytes: entry.receipts };
        writer.put_receipts(entry.number, &receipts).map_err(wrong)?;
        if components.has(Component::TotalDifficulty) {
            let difficulty = total_difficulty(&entry.header.proof).ok_or_else(|| {
                Failure::Invalid(format!("block {}: its proof tells no total difficulty", entry.number))
            })?;
            writer.put_total_difficulty(entry.number, difficulty).map_err(wrong)?;
        }
        if components.has(Component::Proof) {
            writer.put_proof(entry.number, &entry.header.proof).map_err(wrong)?;
        }
        last = Some(entry.number);
    }
    if last != Some(*expected.end()) {
        return Err(Failure::NotFound("the range is not complete; no archive was written".into()));
    }
    let made = writer.finish().map_err(wrong)?;
    std::fs::rename(&made, &path).map_err(|error| Failure::io(&path, error))?;
    Ok(path)
}

/// The total difficulty after a block before the merge: the header's sibling in the accumulator's tree.
fn total_difficulty(proof: &HeaderProof) -> Option<U256> {
    match proof {
        HeaderProof::HistoricalHashes(branch) => branch.as_slice().first().map(|leaf| U256::from_le_bytes(leaf.0)),
        _ => None,
    }
}

/// `work`, given up after `limit`.
async fn within<T>(limit: Duration, number: u64, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Failure::NotFound(format!(
            "block {number} was not found within {} s (--timeout gives it longer)",
            limit.as_secs()
        )))
    })
}

/// What was not found; with `--log debug` who was asked, and what each answered.
fn missing(error: impl std::fmt::Display + std::fmt::Debug) -> Failure {
    tracing::debug!(?error, "not found");
    Failure::NotFound(error.to_string())
}

fn bar(blocks: BlockRange) -> indicatif::ProgressBar {
    progress::items(blocks.count(), "fetching blocks")
}
