//! Lookups of providers: those that wait, those under way, and what each has found.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::channel::mpsc;
use libp2p_kad::QueryId;

use crate::{PublicKey, TrackerLimits};

/// So long a lookup waits for a first peer, as just after the start. Then it makes do with this node's own records.
const MAX_WAIT_FOR_PEERS: Duration = Duration::from_secs(10);

/// Who says to hold an archive of an era.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its key; the node ID follows from it.
    pub public_key: PublicKey,
    /// Where its tracker was last reached, at most three; empty when that is not known.
    pub addresses: Vec<SocketAddr>,
}

/// A lookup that was asked for: the era, and where the providers go.
#[derive(Debug)]
pub(crate) struct LookupRequest {
    pub era: u64,
    pub providers: mpsc::Sender<Provider>,
}

/// A lookup that is under way, and whom it has found.
#[derive(Debug)]
struct RunningLookup {
    providers: mpsc::Sender<Provider>,
    found: BTreeSet<PublicKey>,
}

/// All lookups. One ends by dropping its sender.
#[derive(Debug)]
pub(crate) struct Lookups {
    waiting: VecDeque<(Instant, LookupRequest)>,
    running: HashMap<QueryId, RunningLookup>,
    max_waiting: usize,
    max_running: usize,
    max_providers: usize,
}

impl Lookups {
    pub(crate) fn new(limits: &TrackerLimits) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: HashMap::new(),
            max_waiting: limits.waiting_lookups,
            max_running: limits.lookups,
            max_providers: limits.providers,
        }
    }

    /// A lookup more. If too many wait already, it is over at once.
    pub(crate) fn push(&mut self, request: LookupRequest, now: Instant) {
        self.waiting.retain(|(_, request)| !request.providers.is_closed());
        if self.waiting.len() < self.max_waiting {
            self.waiting.push_back((now, request));
        }
    }

    /// The next lookup to start.
    pub(crate) fn next(&mut self, has_peers: bool, now: Instant) -> Option<LookupRequest> {
        if self.running.len() >= self.max_running {
            return None;
        }
        while let Some((since, request)) = self.waiting.front() {
            if request.providers.is_closed() {
                self.waiting.pop_front();
            } else if has_peers || now.duration_since(*since) >= MAX_WAIT_FOR_PEERS {
                return self.waiting.pop_front().map(|(_, request)| request);
            } else {
                break;
            }
        }
        None
    }

    /// When a lookup starts even if no peer is known by then.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let has_place = self.running.len() < self.max_running;
        self.waiting.front().filter(|_| has_place).map(|(since, _)| *since + MAX_WAIT_FOR_PEERS)
    }

    /// A lookup is under way as this query.
    pub(crate) fn start(&mut self, query: QueryId, request: LookupRequest) {
        let running = RunningLookup { providers: request.providers, found: BTreeSet::new() };
        self.running.insert(query, running);
    }

    /// Whether any is under way.
    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// A provider was found. False: the query can end, since there are enough, or nobody waits for more.
    pub(crate) fn found(&mut self, query: &QueryId, provider: Provider) -> bool {
        let Some(running) = self.running.get_mut(query) else { return false };
        if running.found.len() < self.max_providers && running.found.insert(provider.public_key) {
            // There is room for as many as may be found.
            let _ = running.providers.try_send(provider);
        }
        running.found.len() < self.max_providers && !running.providers.is_closed()
    }

    /// A query is over.
    pub(crate) fn finish(&mut self, query: &QueryId) {
        self.running.remove(query);
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn lookups(waiting: usize, running: usize, providers: usize) -> Lookups {
        Lookups::new(&TrackerLimits {
            waiting_lookups: waiting,
            lookups: running,
            providers,
            ..TrackerLimits::default()
        })
    }

    fn request(era: u64) -> (LookupRequest, mpsc::Receiver<Provider>) {
        let (providers, receiver) = mpsc::channel(8);
        (LookupRequest { era, providers }, receiver)
    }

    #[tokio::test]
    async fn one_too_many_ends_at_once() {
        let now = Instant::now();
        let mut lookups = lookups(2, 8, 8);
        let mut streams: Vec<_> = (0..3)
            .map(|era| {
                let (request, stream) = request(era);
                lookups.push(request, now);
                stream
            })
            .collect();
        assert_eq!(streams.remove(2).next().await, None);
        assert_eq!(lookups.next(true, now).map(|request| request.era), Some(0));
        assert_eq!(lookups.next(true, now).map(|request| request.era), Some(1));
    }

    #[test]
    fn a_lookup_waits_for_peers_but_not_for_ever() {
        let now = Instant::now();
        let mut lookups = lookups(2, 8, 8);
        let (request, _stream) = request(1);
        lookups.push(request, now);
        assert!(lookups.next(false, now).is_none());
        assert_eq!(lookups.next_due(), Some(now + MAX_WAIT_FOR_PEERS));
        assert!(lookups.next(false, now + MAX_WAIT_FOR_PEERS).is_some());
    }

    #[test]
    fn nobody_looks_for_whoever_went_away() {
        let now = Instant::now();
        let mut lookups = lookups(1, 8, 8);
        let (first, stream) = request(1);
        lookups.push(first, now);
        drop(stream);
        let (second, _stream) = request(2);
        lookups.push(second, now);
        assert_eq!(lookups.next(true, now).map(|request| request.era), Some(2));
    }
}
