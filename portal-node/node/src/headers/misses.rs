//! Blocks that nobody had a header of, remembered for a while, so that an offer of their bodies does not start a search
//! each time.

use std::time::Duration;

use content_types::ProvedHeader;
use hashlink::LruCache;
use overlay::service::{LookupTrace, TracedAnswer};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::BlockId;

/// Blocks that are remembered.
const REMEMBERED: usize = 4096;
/// How long a block is not looked for again.
const LIFETIME: Duration = Duration::from_secs(30);

/// The blocks that nobody had lately.
pub(super) struct Misses(Mutex<LruCache<BlockId, Instant>>);

impl Misses {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }

    /// A search ended without the header of `id`.
    pub(super) fn note(&self, id: BlockId, trace: &LookupTrace, now: Instant) {
        if is_exhausted(trace) {
            self.0.lock().insert(id, now);
        }
    }

    /// The header is there now.
    pub(super) fn forget(&self, header: &ProvedHeader) {
        let mut misses = self.0.lock();
        misses.remove(&BlockId::Number(header.number()));
        misses.remove(&BlockId::Hash(header.hash()));
    }

    /// Whether a search failed so lately that the next one would too.
    pub(super) fn contains(&self, id: &BlockId, now: Instant) -> bool {
        self.0.lock().get(id).is_some_and(|since| now.duration_since(*since) < LIFETIME)
    }
}

/// Whether a lookup says that the network does not have the header. One in which a peer sent an invalid header, or most
/// peers failed, proves nothing.
fn is_exhausted(trace: &LookupTrace) -> bool {
    let is_rejected = |answer: &TracedAnswer| matches!(answer, TracedAnswer::Rejected(_));
    trace.most_answered() && !trace.responses.iter().any(|response| is_rejected(&response.answer))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use content_types::{ContentId, NodeId};
    use overlay::service::TracedResponse;

    use super::*;

    fn trace(answers: Vec<TracedAnswer>) -> LookupTrace {
        let response = |answer| TracedResponse { peer: NodeId::from([1; 32]), after: Duration::ZERO, answer };
        LookupTrace {
            origin: NodeId::from([0; 32]),
            target: ContentId::from([2; 32]),
            started_at: SystemTime::UNIX_EPOCH,
            responses: answers.into_iter().map(response).collect(),
            cancelled: Vec::new(),
            enrs: Vec::new(),
            received_from: None,
            hops: 0,
        }
    }

    fn none() -> TracedAnswer {
        TracedAnswer::Nodes(Vec::new())
    }

    fn failed() -> TracedAnswer {
        TracedAnswer::Failed("no answer in time".to_owned())
    }

    #[test]
    fn only_what_the_network_lacks_is_a_miss_and_only_for_a_while() {
        let id = BlockId::Number(7);
        let rejected = || TracedAnswer::Rejected("not in epoch 0".to_owned());
        for (answers, is_miss) in [
            (vec![none()], true),
            (vec![none(), none(), failed()], true),
            (vec![], false),
            (vec![failed(), none()], false),
            (vec![none(), none(), none(), rejected()], false),
        ] {
            let misses = Misses::new();
            let now = Instant::now();
            misses.note(id, &trace(answers.clone()), now);
            assert_eq!(misses.contains(&id, now), is_miss, "{answers:?}");
            assert!(!misses.contains(&id, now + LIFETIME));
        }
    }
}
