//! A random sample of a chain's history, fetched through one peer: what was found, proved, how fast, from how far.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_node::{BlockId, Node};
use content_types::{
    ContentKey, HeaderVerifier, NodeId, block, history::ContentKey as HistoryKey,
    legacy_history::ContentKey as LegacyKey, verify,
};
use futures::{StreamExt, stream};
use overlay::service::{LookupError, LookupTrace, TracedAnswer};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// A part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SamplePart {
    /// The header with its proof.
    Header,
    /// The body.
    Body,
    /// The receipts.
    Receipts,
}

impl SamplePart {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Header, Self::Body, Self::Receipts];

    /// The part's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "headers",
            Self::Body => "bodies",
            Self::Receipts => "receipts",
        }
    }
}

/// A piece of history that can be fetched by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The block.
    pub number: u64,
    /// Which part of it.
    pub part: SamplePart,
}

impl Piece {
    /// The content key by which it is looked up.
    pub fn key(self) -> ContentKey {
        match self.part {
            SamplePart::Header => LegacyKey::HeaderByNumber(self.number).into(),
            SamplePart::Body => HistoryKey::BlockBody { number: self.number }.into(),
            SamplePart::Receipts => HistoryKey::BlockReceipts { number: self.number }.into(),
        }
    }
}

/// `count` random pieces of these blocks, the same for the same seed.
pub fn random_pieces(blocks: &[u64], count: usize, seed: u64) -> Vec<Piece> {
    let mut random = StdRng::seed_from_u64(seed);
    let piece = |random: &mut StdRng| {
        let number = *blocks.choose(random)?;
        let part = *SamplePart::ALL.get(random.random_range(0..SamplePart::ALL.len()))?;
        Some(Piece { number, part })
    };
    (0..count).map_while(|_| piece(&mut random)).collect()
}

/// How a fetch went.
#[derive(Debug, Clone)]
pub struct SampleOutcome {
    /// What was fetched.
    pub piece: Piece,
    /// From asking to having it verified.
    pub took: Duration,
    /// What came of it.
    pub result: Result<Found, String>,
}

/// A piece that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Bytes of the value.
    pub bytes: usize,
    /// Peers from the first one asked to the one that had it; 0 when the fetching peer held it itself.
    pub hops: usize,
    /// Who had it.
    pub from: NodeId,
    /// Whether this crate's own check, beside the peer's, holds.
    pub proved: bool,
}

/// Fetches pieces through `node`, `parallel` at once, and checks each with `verifier` once more.
pub async fn fetch(node: &Node, verifier: &HeaderVerifier, pieces: &[Piece], parallel: usize) -> Vec<SampleOutcome> {
    fetch_telling(node, verifier, pieces, parallel, |_| {}).await
}

/// [`fetch`], telling after each piece how many are done.
pub async fn fetch_telling(
    node: &Node,
    verifier: &HeaderVerifier,
    pieces: &[Piece],
    parallel: usize,
    mut tell: impl FnMut(usize),
) -> Vec<SampleOutcome> {
    let outcomes =
        stream::iter(pieces.iter().copied()).map(|piece| fetch_one(node, verifier, piece)).buffered(parallel.max(1));
    let told = outcomes.enumerate().map(|(before, outcome)| {
        tell(before + 1);
        outcome
    });
    told.collect().await
}

async fn fetch_one(node: &Node, verifier: &HeaderVerifier, piece: Piece) -> SampleOutcome {
    let started = Instant::now();
    let key = piece.key();
    let Some(overlay) = node.overlay(key.sub_network()) else {
        let result = Err(format!("the peer does not speak {}", key.sub_network()));
        return SampleOutcome { piece, took: started.elapsed(), result };
    };
    let answer = overlay.lookup_content(key.encode()).await;
    let took = started.elapsed();
    let result = match answer {
        Ok(found) => Ok(Found {
            bytes: found.value.len(),
            hops: hops(&found.trace),
            from: found.from,
            proved: is_proved(node, verifier, piece, &found.value).await,
        }),
        Err(LookupError::NotFound(missing)) => Err(format!("{missing}; {}", answers(&missing.trace))),
        Err(error) => Err(error.to_string()),
    };
    SampleOutcome { piece, took, result }
}

async fn is_proved(node: &Node, verifier: &HeaderVerifier, piece: Piece, value: &Bytes) -> bool {
    if piece.part == SamplePart::Header {
        return verifier.verify(value).is_ok_and(|header| header.number() == piece.number);
    }
    let Ok(header) = node.fetch().header(BlockId::Number(piece.number)).await else { return false };
    match piece.part {
        SamplePart::Body => verify::body(header.header(), block::BodyEncoding::Rlp, value.clone()).is_ok(),
        _ => verify::receipts(header.header(), block::ReceiptsEncoding::Slim, value.clone()).is_ok(),
    }
}

/// The length of the chain of answers that led to the peer that had it.
fn hops(trace: &LookupTrace) -> usize {
    let mut named_by: HashMap<NodeId, NodeId> = HashMap::new();
    for response in &trace.responses {
        if let TracedAnswer::Nodes(nodes) = &response.answer {
            for node in nodes {
                named_by.entry(*node).or_insert(response.peer);
            }
        }
    }
    let asked_first = trace.responses.first().map(|response| response.peer);
    let mut hops = 0;
    let mut at = trace.received_from.filter(|from| *from != trace.origin);
    // A chain is no longer than there are peers; a liar could make it a circle.
    while let Some(peer) = at.filter(|_| hops <= trace.responses.len()) {
        hops += 1;
        at = if Some(peer) == asked_first { None } else { named_by.get(&peer).copied() };
    }
    hops
}

fn answers(trace: &LookupTrace) -> String {
    let all: Vec<_> = trace
        .responses
        .iter()
        .map(|response| match &response.answer {
            TracedAnswer::Nodes(nodes) => format!("{}: {} nodes", response.peer, nodes.len()),
            TracedAnswer::Content => format!("{}: content", response.peer),
            TracedAnswer::Rejected(why) => format!("{}: rejected, {why}", response.peer),
            TracedAnswer::Failed(why) => format!("{}: {why}", response.peer),
        })
        .collect();
    all.join("; ")
}

/// The middle and the 99th percentile of durations.
pub fn median_and_p99(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    (at(0.5), at(0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_members() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(median_and_p99(times), (Duration::from_millis(101), Duration::from_millis(199)));
        assert_eq!(median_and_p99(Vec::new()), Default::default());
    }

    #[test]
    fn the_same_seed_gives_the_same_sample() {
        let blocks: Vec<u64> = (0..50).collect();
        assert_eq!(random_pieces(&blocks, 20, 7), random_pieces(&blocks, 20, 7));
        assert_ne!(random_pieces(&blocks, 20, 7), random_pieces(&blocks, 20, 8));
        assert!(random_pieces(&[], 20, 7).is_empty());
    }
}
