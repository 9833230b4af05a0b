//! `cairn fetch --out FILE.era1` and `FILE.ere`: a range of blocks as an archive.
//!
//! Headers, bodies and receipts are those that were fetched and proved, wherever they came from. Two things that an
//! archive may have beside them lie on the Legacy History network alone, a header's proof and what it tells, the total
//! difficulty. A proof is therefore looked up first: the header that comes with it is proved and at hand from there on,
//! so that nobody is asked for it twice. Total difficulties follow from each other, so that one proof is enough for them.

use std::path::{Path, PathBuf};

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::{
    ArchiveError, Component, Components, Format, MAX_BLOCKS, Receipts,
    write::{ArchiveWriter, Plan},
};
use cairn_node::{BlockId, Node};
use content_types::{
    ChainSpec, HeaderProof, HeaderWithProof, Key as _, ProvedHeader, SubNetwork, block::ReceiptsEncoding,
    legacy_history,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{bar, hand_over, missing, tell};
use crate::{
    cli::{BlockRange, FetchArgs, Profile, What},
    failure::Failure,
    output,
    settings::Settings,
};

/// The archive that is asked for.
pub(super) struct ArchiveFile {
    pub(super) folder: PathBuf,
    pub(super) name: String,
    pub(super) plan: Plan,
}

impl ArchiveFile {
    /// The archive that `path` names, which is for its ending to say; `None` if it names none.
    ///
    /// # Errors
    /// When the flags ask for what no archive is, or for blocks that the format does not take.
    pub(super) fn of(settings: &Settings, args: &FetchArgs, path: &Path) -> Result<Option<Self>, Failure> {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("era1") => Format::Era1,
            Some("ere" | "erae") => Format::Ere,
            _ => return Ok(None),
        };
        let wrong = |why: String| Err(Failure::Configuration(why));
        if args.what != What::Block {
            return wrong("an archive holds whole blocks: leave out --what".into());
        }
        if args.format.is_some() {
            let path = path.display();
            return wrong(format!("{path} is an archive by its ending: leave out --format, or give another ending"));
        }
        if args.range().count() > MAX_BLOCKS {
            let count = args.range().count();
            return wrong(format!("an archive holds {MAX_BLOCKS} blocks at most, the range has {count}"));
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return wrong(format!("{}: name a file, in UTF-8", path.display()));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let plan = plan(&*settings.chain()?, format, args.range(), args.profile)?;
        Ok(Some(Self { folder: folder.to_owned(), name: name.to_owned(), plan }))
    }
}

pub(super) fn plan(chain: &ChainSpec, format: Format, range: BlockRange, profile: Profile) -> Result<Plan, Failure> {
    let blocks = range.first..=range.last;
    match format {
        Format::Era1 if !chain.is_pre_merge(range.last) => {
            Err(Failure::Configuration("an era1 file holds blocks before the merge only: write an .ere file".into()))
        }
        Format::Era1 => {
            profile.check_era1()?;
            Ok(Plan::era1(chain.name(), blocks))
        }
        Format::Ere => {
            let parts = [
                (Component::Proof, !profile.no_proofs),
                (Component::Receipts, !profile.no_receipts),
                (Component::TotalDifficulty, chain.is_pre_merge(range.first)),
            ];
            let components: Components = parts.into_iter().filter(|(_, is_in)| *is_in).map(|(part, _)| part).collect();
            Ok(Plan::ere(chain.name(), blocks, components))
        }
    }
}

/// Fetches the blocks and writes the archive.
pub(super) async fn write(
    node: &Node,
    settings: &Settings,
    args: &FetchArgs,
    file: ArchiveFile,
) -> Result<(), Failure> {
    let plan = file.plan.clone();
    let fetch = |number| entry(node, &plan, number);
    let made = hand_over(args, &bar(args.range()), fetch, move |entries| write_archive(file, entries)).await?;
    if settings.json { output::json(&json!({ "to": made })) } else { output::line(made.display()) }
}

/// A block, with what of it the archive is to have.
struct Entry {
    header: ProvedHeader,
    proof: Option<HeaderProof>,
    body: Bytes,
    receipts: Option<Bytes>,
}

async fn entry(node: &Node, plan: &Plan, number: u64) -> Result<Entry, Failure> {
    let proof = if needs_proof(plan, number) { Some(header_with_proof(node, plan, number).await?) } else { None };
    let (id, fetcher) = (BlockId::Number(number), node.fetch());
    let (header, body, receipts) = if plan.components().has(Component::Receipts) {
        let block = fetcher.block(id).await.map_err(missing)?;
        (block.header, block.body, Some(block.receipts))
    } else {
        let (header, body) = fetcher.body(id).await.map_err(missing)?;
        (header, body, None)
    };
    let proof = match proof {
        Some(found) if found.header.hash() != header.hash() => {
            return Err(Failure::Invalid(format!("block {number}: the proof that was found is another header's")));
        }
        found => found.map(|found| found.proof),
    };
    Ok(Entry { header, proof, body, receipts })
}

/// Whether the archive takes the proof of this block's header, or its total difficulties begin with what that tells.
fn needs_proof(plan: &Plan, number: u64) -> bool {
    let begins = number == *plan.blocks().start() && number != 0;
    plan.components().has(Component::Proof) || (begins && plan.components().has(Component::TotalDifficulty))
}

/// A header with its proof: what a lookup returns was proved on its way in.
async fn header_with_proof(node: &Node, plan: &Plan, number: u64) -> Result<HeaderWithProof, Failure> {
    let overlay = node
        .overlay(SubNetwork::LegacyHistory)
        .ok_or_else(|| Failure::Internal("the peer does not speak the legacy history network".into()))?;
    let key = legacy_history::ContentKey::HeaderByNumber(number);
    let found = overlay.lookup_content(key.encode()).await.map_err(|error| {
        tell(error.trace());
        let instead = if plan.components().has(Component::Proof) {
            "an .ere file does without proofs if you give --no-proofs"
        } else {
            "total difficulties begin with what it tells, except in a range that begins with block 0"
        };
        Failure::NotFound(format!(
            "the proof of block {number}'s header, which only the legacy history network has: {error}; {instead}"
        ))
    })?;
    HeaderWithProof::decode(&found.value, node.chain())
        .map_err(|error| Failure::Invalid(format!("block {number}: {error}")))
}

/// Writes what arrives; the file gets its name when it is whole.
fn write_archive(file: ArchiveFile, mut entries: mpsc::Receiver<Entry>) -> Result<PathBuf, Failure> {
    let wrong = |error: ArchiveError| Failure::archive(&error);
    let (components, blocks) = (file.plan.components(), file.plan.blocks());
    let mut writer = ArchiveWriter::create(&file.folder, file.plan).map_err(wrong)?;
    let (mut last, mut difficulty_before) = (None, None);
    while let Some(Entry { header, proof, body, receipts }) = entries.blocking_recv() {
        let number = header.number();
        writer.put_header(header.rlp()).map_err(wrong)?;
        writer.put_body(number, &body).map_err(wrong)?;
        if let Some(bytes) = receipts {
            let receipts = Receipts { encoding: ReceiptsEncoding::Slim, bytes };
            writer.put_receipts(number, &receipts).map_err(wrong)?;
        }
        if components.has(Component::TotalDifficulty) {
            let difficulty = total_difficulty(difficulty_before, &header, proof.as_ref())?;
            writer.put_total_difficulty(number, difficulty).map_err(wrong)?;
            difficulty_before = Some(difficulty);
        }
        if let Some(proof) = proof.filter(|_| components.has(Component::Proof)) {
            writer.put_proof(number, &proof).map_err(wrong)?;
        }
        last = Some(number);
    }
    if last != Some(*blocks.end()) {
        return Err(Failure::NotFound("the range is not complete; no archive was written".into()));
    }
    writer.finish_as(&file.name).map_err(wrong)
}

/// The total difficulty up to and with a block: from that of the block before it; of the first one as its proof tells it,
/// for it is the header's sibling in the accumulator's tree.
fn total_difficulty(before: Option<U256>, header: &ProvedHeader, proof: Option<&HeaderProof>) -> Result<U256, Failure> {
    let own = header.header().difficulty;
    let told = match (before, header.number(), proof) {
        (Some(before), _, _) => Some(before.wrapping_add(own)),
        (None, 0, _) => Some(own),
        (None, _, Some(HeaderProof::HistoricalHashes(branch))) => {
            branch.as_slice().first().map(|leaf| U256::from_le_bytes(leaf.0))
        }
        _ => None,
    };
    told.ok_or_else(|| Failure::Invalid(format!("block {}: its proof tells no total difficulty", header.number())))
}
