//! `cairn fetch`: verified history from the network, printed or written into a file.

use std::{
    io::Write,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::{
    Component, Components, Format, Receipts,
    write::{ArchiveWriter, Plan},
};
use cairn_node::{BlockId, FetchError, Node};
use content_types::{HeaderProof, HeaderWithProof, SubNetwork, block::ReceiptsEncoding, legacy_history};
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use overlay::service::LookupTrace;
use serde_json::json;
use tokio::sync::mpsc;

use super::{blocking, peer};
use crate::{
    cli::{BlockRange, FetchArgs, FetchFormat, What},
    failure::Failure,
    files, output, present, progress,
    settings::Settings,
};

/// Blocks that wait to be written while the next ones arrive, beside those that are being fetched.
const BLOCKS_AHEAD: usize = 16;
/// Most blocks that are fetched at once, whatever was asked for: of 100 kB each, they take up 100 MB.
const MAX_PARALLEL: usize = 1024;

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
        Target::File(path) => save(node, args, path).await,
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
    let (bar, format) = (bar(args.blocks), args.format);
    let shown = bar.clone();
    let write = move |mut pieces: mpsc::Receiver<Vec<u8>>| {
        while let Some(piece) = pieces.blocking_recv() {
            shown.suspend(|| match format {
                FetchFormat::Json => output::line(String::from_utf8_lossy(&piece)),
                FetchFormat::Rlp => output::raw(&piece),
            })?;
        }
        Ok(())
    };
    hand_over(args, &bar, |number| piece(node, number, args.what, format), write).await
}

async fn save(node: &Node, args: &FetchArgs, path: PathBuf) -> Result<(), Failure> {
    let (blocks, format) = (args.blocks.count(), args.format);
    let write = move |pieces| write_file(&path, blocks, format, pieces);
    hand_over(args, &bar(args.blocks), |number| piece(node, number, args.what, format), write).await
}

/// Writes what arrives; the file gets its name when it is whole.
fn write_file(
    path: &Path,
    blocks: u64,
    format: FetchFormat,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let failed = |error| Failure::io(path, error);
    let mut file = files::Part::create(path).map_err(failed)?;
    let mut written = 0;
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece).map_err(failed)?;
        if format == FetchFormat::Json {
            file.write_all(b"\n").map_err(failed)?;
        }
        written += 1;
    }
    if written < blocks {
        return Err(Failure::NotFound("the range is not complete; no file was written".into()));
    }
    file.finish().map_err(failed)
}

/// Fetches the range and hands it on in order to `write`, which runs on a thread of its own. What is being fetched goes on
/// while that thread is busy: nothing is begun before there is room for it, and so nothing that was fetched has to wait
/// for room, with the others' clocks running.
async fn hand_over<T: Send + 'static, R: Send + 'static, F: Future<Output = Result<T, Failure>>>(
    args: &FetchArgs,
    bar: &ProgressBar,
    fetch: impl Fn(u64) -> F,
    write: impl FnOnce(mpsc::Receiver<T>) -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    let (limit, parallel) = (Duration::from_secs(args.timeout), args.parallel.clamp(1, MAX_PARALLEL));
    let (sender, receiver) = mpsc::channel(parallel.saturating_add(BLOCKS_AHEAD));
    let writing = tokio::spawn(blocking(move || write(receiver)));
    let fetched = send(args.blocks, parallel, sender, |number| within(limit, number, fetch(number)), bar).await;
    // The writer ends with its channel; without a whole range it takes its temporary file away.
    let made = writing.await.map_err(|error| Failure::Internal(error.to_string()))?;
    bar.finish_and_clear();
    fetched?;
    made
}

/// Fetches blocks and sends them in order, until the receiver ends.
async fn send<T, F: Future<Output = Result<T, Failure>>>(
    blocks: BlockRange,
    parallel: usize,
    sender: mpsc::Sender<T>,
    fetch: impl Fn(u64) -> F,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let with_room = stream::iter(blocks.first..=blocks.last).then(|number| {
        let room = sender.clone().reserve_owned();
        async move { (number, room.await) }
    });
    let fetched = with_room.map(|(number, room)| {
        let fetch = fetch(number);
        async move {
            match room {
                Ok(room) => Ok(Some((room, fetch.await?))),
                Err(_) => Ok(None),
            }
        }
    });
    let mut fetched = pin!(fetched.buffered(parallel));
    while let Some(next) = fetched.next().await {
        let Some((room, value)) = next? else { break };
        room.send(value);
        bar.inc(1);
    }
    Ok(())
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
    let write = move |entries| write_archive(plan, path, entries);
    let made = hand_over(args, &bar(args.blocks), |number| entry(node, settings, number), write).await?;
    if settings.json { output::json(&json!({ "to": made })) } else { output::line(made.display()) }
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
    let found = overlay.lookup_content(key.encode()).await.map_err(|error| {
        tell(error.trace());
        Failure::NotFound(error.to_string())
    })?;
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
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name = name.ok_or_else(|| Failure::Configuration(format!("{}: name a file, in UTF-8", path.display())))?;
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
    writer.finish_as(&name).map_err(wrong)
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

/// What was not found. Who was asked, and what each answered, goes before it.
fn missing(error: impl Into<FetchError>) -> Failure {
    let error = error.into();
    tell(error.traces());
    Failure::NotFound(error.to_string())
}

fn tell<'a>(traces: impl IntoIterator<Item = &'a LookupTrace>) {
    traces.into_iter().flat_map(LookupTrace::lines).for_each(output::remark);
}

fn bar(blocks: BlockRange) -> ProgressBar {
    progress::items(blocks.count(), "fetching blocks")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn nothing_is_begun_without_room_for_it() {
        let begun = Cell::new(0);
        let fetch = |number| {
            begun.set(begun.get() + 1);
            async move { Ok(number) }
        };
        let (sender, mut receiver) = mpsc::channel(3);
        let (blocks, bar) = (BlockRange { first: 5, last: 20 }, ProgressBar::hidden());
        let mut sending = pin!(send(blocks, 2, sender, fetch, &bar));
        assert!(poll!(&mut sending).is_pending());
        assert_eq!((begun.get(), receiver.try_recv()), (3, Ok(5)));
        assert!(poll!(&mut sending).is_pending());
        assert_eq!((begun.get(), receiver.try_recv(), receiver.try_recv()), (4, Ok(6), Ok(7)));
        drop(receiver);
        assert!(sending.await.is_ok());
    }
}
