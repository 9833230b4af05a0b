//! A range of blocks as an archive, out of lookups.
//!
//! Headers, bodies and receipts are those that were fetched and proved, wherever they came from. Two things that an
//! archive may have beside them lie on the Legacy History network alone, a header's proof and what it tells, the total
//! difficulty. A proof is therefore looked up first: the header that comes with it is proved and at hand from there on,
//! so that nobody is asked for it twice. Total difficulties follow from each other, so that one proof is enough for them.

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_archive::write::{ArchiveWriter, Plan};
use cairn_archive::{Component, Receipts};
use content_types::block::ReceiptsEncoding;
use content_types::{HeaderProof, HeaderWithProof, Key as _, ProvedHeader, legacy_history};
use overlay::service::LookupError;
use tokio::sync::{mpsc, watch};

use super::{Pace, RangeError, RangeProgress, RangeSource, in_order};
use crate::again::until_settled;
use crate::headers::BlockId;
use crate::not_found::NotFoundCause;
use crate::swarm::WantedArchive;

/// Fetches the blocks and writes the archive; returns its path.
pub(super) async fn write(
    source: &RangeSource,
    wanted: WantedArchive,
    pace: Pace,
    progress: &watch::Sender<RangeProgress>,
) -> Result<PathBuf, RangeError> {
    let (plan, mut done) = (wanted.plan.clone(), 0);
    progress.send_replace(RangeProgress::LookedUp { done });
    let sent = || {
        done += 1;
        progress.send_replace(RangeProgress::LookedUp { done });
    };
    let fetch = |number| wanted_block(source, &plan, number, pace.limit);
    in_order(plan.blocks(), pace, fetch, move |blocks| write_archive(wanted, blocks), sent).await
}

/// A block, with what of it the archive is to have.
struct WantedBlock {
    header: ProvedHeader,
    proof: Option<HeaderProof>,
    body: Bytes,
    receipts: Option<Bytes>,
}

async fn wanted_block(
    source: &RangeSource,
    plan: &Plan,
    block: u64,
    patience: Duration,
) -> Result<WantedBlock, RangeError> {
    let proof =
        if needs_proof(plan, block) { Some(header_with_proof(source, plan, block, patience).await?) } else { None };
    let (id, fetcher) = (BlockId::Number(block), source.fetcher.clone().with_patience(patience));
    let (header, body, receipts) = if plan.components().has(Component::Receipts) {
        let block = fetcher.block(id).await?;
        (block.header, block.body, Some(block.receipts))
    } else {
        let (header, body) = fetcher.body(id).await?;
        (header, body, None)
    };
    let proof = match proof {
        Some(found) if found.header.hash() != header.hash() => return Err(RangeError::OtherProof { block }),
        found => found.map(|found| found.proof),
    };
    Ok(WantedBlock { header, proof, body, receipts })
}

/// Whether the archive takes the proof of this block's header, or its total difficulties begin with what that tells.
fn needs_proof(plan: &Plan, number: u64) -> bool {
    let begins = number == *plan.blocks().start() && number != 0;
    plan.components().has(Component::Proof) || (begins && plan.components().has(Component::TotalDifficulty))
}

/// A header with its proof: what a lookup returns was proved on its way in.
async fn header_with_proof(
    source: &RangeSource,
    plan: &Plan,
    block: u64,
    patience: Duration,
) -> Result<HeaderWithProof, RangeError> {
    let network = source.header_network.as_ref().ok_or(RangeError::NoLegacyHistory)?;
    let key = legacy_history::ContentKey::HeaderByNumber(block);
    let look_up = || network.overlay().lookup_content(key.encode());
    let is_settled = |error: &LookupError| match error {
        LookupError::NotFound(missing) => missing.trace.most_answered(),
        LookupError::Unverifiable(_) | LookupError::Key => true,
    };
    let is_within_trust = source.fetcher.is_within_trust(block);
    let found = until_settled(patience, look_up, is_settled).await.map_err(|source| {
        let is_kept = plan.components().has(Component::Proof);
        let cause = match source.trace() {
            _ if !is_within_trust => NotFoundCause::BeyondTrust,
            trace => NotFoundCause::of_lookups(trace),
        };
        RangeError::NoProof { block, is_kept, cause, source: Box::new(source) }
    })?;
    HeaderWithProof::decode(&found.value, source.verifier.chain()).map_err(|source| RangeError::Proof { block, source })
}

/// Writes what arrives; the file gets its name when it is whole.
fn write_archive(wanted: WantedArchive, mut blocks: mpsc::Receiver<WantedBlock>) -> Result<PathBuf, RangeError> {
    let WantedArchive { folder, name, plan, .. } = wanted;
    let components = plan.components();
    let mut writer = ArchiveWriter::create(&folder, plan)?;
    let mut difficulty_before = None;
    while let Some(WantedBlock { header, proof, body, receipts }) = blocks.blocking_recv() {
        let number = header.number();
        writer.put_header(header.rlp())?;
        writer.put_body(number, &body)?;
        if let Some(bytes) = receipts {
            writer.put_receipts(number, &Receipts { encoding: ReceiptsEncoding::Slim, bytes })?;
        }
        if components.has(Component::TotalDifficulty) {
            let difficulty = total_difficulty(difficulty_before, &header, proof.as_ref())?;
            writer.put_total_difficulty(number, difficulty)?;
            difficulty_before = Some(difficulty);
        }
        if let Some(proof) = proof.filter(|_| components.has(Component::Proof)) {
            writer.put_proof(number, &proof)?;
        }
    }
    // One that lacks blocks, because fetching ended, does not get its name.
    Ok(match name {
        Some(name) => writer.finish_as(&name)?,
        None => writer.finish()?,
    })
}

/// The total difficulty up to and with a block: from that of the block before it; of the first one as its proof tells it,
/// for it is the header's sibling in the accumulator's tree.
fn total_difficulty(
    before: Option<U256>,
    header: &ProvedHeader,
    proof: Option<&HeaderProof>,
) -> Result<U256, RangeError> {
    let (own, block) = (header.header().difficulty, header.number());
    let told = match (before, block, proof) {
        (Some(before), _, _) => Some(before.wrapping_add(own)),
        (None, 0, _) => Some(own),
        (None, _, Some(HeaderProof::HistoricalHashes(branch))) => {
            branch.as_slice().first().map(|leaf| U256::from_le_bytes(leaf.0))
        }
        _ => None,
    };
    told.ok_or(RangeError::NoTotalDifficulty { block })
}
