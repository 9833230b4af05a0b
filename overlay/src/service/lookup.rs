//! Drives the lookups of nodes and of content.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use cairn_proto::lookup::{
    ContentLookup, ContentOutput, LookupConfig, NodeLookup, NodeOutput, Outcome, PeerFailure, Trace,
};
use cairn_proto::record::{self, Enr};
use cairn_proto::routing::{K, RoutingTable, Subnet};
use cairn_proto::wire::{Content, WireError};
use content_types::{Form, NodeId};
use futures::FutureExt as _;
use futures::future::{AbortHandle, BoxFuture, abortable};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use super::client::AskedContent;
use super::inner::RunningOverlay;
use super::{
    ContentSource, FoundContent, LookupError, LookupOutcome, LookupTrace, NotFound, Reader, Rejection, RequestError,
    Unverifiable,
};
use crate::transfer::Room;
use crate::transport::{Contact, TalkError};

impl RunningOverlay {
    /// The nodes nearest to `target` that answered, nearest first.
    pub(super) async fn lookup_nodes(self: &Arc<Self>, target: NodeId) -> Vec<Arc<Enr>> {
        let started = Instant::now();
        let seeds = {
            let mut table = self.table.lock();
            table.handle_lookup(&target, started.into_std());
            nearest(&table, target, K)
        };
        let mut lookup = NodeLookup::new(self.local_id, target, self.lookup_config(), seeds, started.into_std());
        let mut queries = FuturesUnordered::new();
        loop {
            match lookup.poll_output(Instant::now().into_std()) {
                NodeOutput::Query { peer, distances } => {
                    let id = record::node_id(&peer);
                    queries.push(async move { (id, self.find_nodes(&peer, distances).await) });
                }
                NodeOutput::Timeout(until) => {
                    let answer = tokio::time::timeout_at(until.into(), next(&mut queries)).await;
                    let now = Instant::now().into_std();
                    match answer {
                        Ok((id, Ok(enrs))) => lookup.handle_nodes(now, &id, self.speakable(enrs)),
                        Ok((id, Err(error))) => lookup.handle_failure(now, &id, failure(&error)),
                        Err(_) => {}
                    }
                }
                NodeOutput::Finished => break,
            }
        }
        let result = lookup.into_result();
        self.observer.node_lookup(&outcome(&result.trace, !result.closest.is_empty(), started));
        result.closest
    }

    /// Content from this node or, verified, from the network.
    pub(super) async fn lookup_content(self: &Arc<Self>, key: Bytes) -> Result<FoundContent, LookupError> {
        let id = self.handler.content_id(&key).ok_or(LookupError::Key)?;
        if let Ok(Some(value)) = self.handler.get(key.clone(), Reader::Own).await {
            let trace = LookupTrace::local(self.local_id, id, SystemTime::now());
            return Ok(FoundContent { value, from: self.local_id, utp: false, lacking: Vec::new(), trace });
        }
        self.search_content(key).await
    }

    /// Content, verified, from the network alone; then offered to those on the way that lack it.
    pub(super) async fn search_content(self: &Arc<Self>, key: Bytes) -> Result<FoundContent, LookupError> {
        let id = self.handler.content_id(&key).ok_or(LookupError::Key)?;
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let (seeds, interested) = {
            let table = self.table.lock();
            let interested: Vec<_> = table.interested(&id).map(|peer| peer.enr().clone()).collect();
            // With those who are the last resort: a peer that is farther than others is named to nobody by them.
            let LookupConfig { k, last_resort, .. } = self.lookup_config();
            (nearest(&table, id, k.saturating_add(last_resort)), interested)
        };
        let lookup = ContentLookup::new(self.local_id, id, self.lookup_config(), seeds, interested, started.into_std());
        let mut search = ContentSearch {
            inner: self.clone(),
            key: key.clone(),
            lookup,
            work: FuturesUnordered::new(),
            announced: Announced { inner: self.clone(), streams: HashMap::new() },
            streams: HashMap::new(),
            admitted: None,
            rejections: Vec::new(),
        };
        search.run().await;
        let (lookup, admitted, rejections) = search.end();
        let result = lookup.into_result();
        self.observer.content_lookup(&outcome(&result.trace, admitted.is_some(), started));
        let trace = LookupTrace::new(result.trace, started_at, &rejections);
        match (result.outcome, admitted) {
            (Outcome::Found { from, streamed }, Some(value)) => {
                if self.config.pokes {
                    self.poke(id, key, value.clone(), &result.lacking);
                }
                let from = record::node_id(&from);
                Ok(FoundContent { value, from, utp: streamed, lacking: result.lacking, trace })
            }
            (Outcome::Unverifiable, _) => {
                let reason = rejections.iter().rev().find_map(|(_, rejection)| match rejection {
                    Rejection::Unverifiable(reason) => Some(reason.clone()),
                    _ => None,
                });
                Err(match reason {
                    Some(reason) => Unverifiable { reason, trace }.into(),
                    None => NotFound { trace }.into(),
                })
            }
            _ => Err(NotFound { trace }.into()),
        }
    }

    /// Whether a node was seen nowhere else than in the subnet that its record claims. One that was would count for another
    /// subnet than the one that it answers from.
    fn is_where_it_claims(&self, enr: &Enr) -> bool {
        let claims = |contact: Contact| {
            let claimed = record::announced_like(enr, contact.address());
            claimed.is_some_and(|claimed| Subnet::of(claimed.ip()) == Subnet::of(contact.address().ip()))
        };
        self.transport.contact(enr).is_some_and(claims)
    }

    /// Those that are not barred; each is mentioned to the table.
    fn speakable(&self, mut enrs: Vec<Arc<Enr>>) -> Vec<Arc<Enr>> {
        enrs.retain(|enr| !self.is_barred(&record::node_id(enr)) && self.is_where_it_claims(enr));
        enrs.iter().for_each(|enr| self.mention(enr));
        enrs
    }
}

/// A content lookup with what is under way for it.
struct ContentSearch {
    inner: Arc<RunningOverlay>,
    key: Bytes,
    lookup: ContentLookup,
    work: FuturesUnordered<BoxFuture<'static, (NodeId, WorkReport)>>,
    announced: Announced,
    streams: HashMap<NodeId, OpenStream>,
    admitted: Option<Bytes>,
    rejections: Vec<(NodeId, Rejection)>,
}

struct OpenStream {
    received: Arc<AtomicU64>,
    reported: u64,
    abort: AbortHandle,
}

/// What became of one piece of a search's work.
enum WorkReport {
    Answer(Result<AskedContent, RequestError>),
    Value(Result<(Bytes, Room), RequestError>),
    Judged(Bytes, Result<(), Rejection>),
    Aborted,
}

impl ContentSearch {
    async fn run(&mut self) {
        loop {
            self.report_progress();
            match self.lookup.poll_output(Instant::now().into_std()) {
                ContentOutput::Query { peer } => {
                    let (inner, key, id) = (self.inner.clone(), self.key.clone(), record::node_id(&peer));
                    self.work
                        .push(async move { (id, WorkReport::Answer(inner.ask_content(&peer, key).await)) }.boxed());
                }
                ContentOutput::OpenStream { peer, connection_id } => self.open_stream(&peer, connection_id),
                ContentOutput::AbortStream { peer } => {
                    if let Some(stream) = self.streams.remove(&peer) {
                        stream.abort.abort();
                    }
                }
                ContentOutput::Timeout(until) => {
                    if let Ok((peer, report)) = tokio::time::timeout_at(until.into(), next(&mut self.work)).await {
                        self.handle(peer, report);
                    }
                }
                ContentOutput::Finished => return,
            }
        }
    }

    /// Whoever was asked and has not answered yet may still announce a stream: it is told not to wait, and at once, whether or
    /// not others ever answer.
    fn end(self) -> (ContentLookup, Option<Bytes>, Vec<(NodeId, Rejection)>) {
        let Self { inner, lookup, mut work, announced, streams, admitted, rejections, .. } = self;
        streams.into_values().for_each(|stream| stream.abort.abort());
        drop(announced);
        inner.clone().spawn(async move {
            while let Some((_, report)) = work.next().await {
                if let WorkReport::Answer(Ok(AskedContent { contact, content: Content::ConnectionId(id) })) = report {
                    inner.transfers.decline(&contact, id);
                }
            }
        });
        (lookup, admitted, rejections)
    }

    fn open_stream(&mut self, peer: &Arc<Enr>, connection_id: u16) {
        let id = record::node_id(peer);
        let Some((contact, _)) = self.announced.streams.remove(&id) else {
            self.lookup.handle_failure(Instant::now().into_std(), &id, PeerFailure::Unreachable);
            return;
        };
        let (inner, received) = (self.inner.clone(), Arc::<AtomicU64>::default());
        let limit = self.inner.handler.max_value_len(&self.key, Form::Stored);
        let counter = received.clone();
        let (reading, abort) =
            abortable(async move { inner.receive_value(&contact, connection_id, None, limit, &counter).await });
        self.streams.insert(id, OpenStream { received, reported: 0, abort });
        self.work.push(reading.map(move |result| (id, result.map_or(WorkReport::Aborted, WorkReport::Value))).boxed());
    }

    fn report_progress(&mut self) {
        for (peer, stream) in &mut self.streams {
            let received = stream.received.load(Ordering::Relaxed);
            if received > stream.reported {
                stream.reported = received;
                self.lookup.handle_progress(Instant::now().into_std(), peer, received);
            }
        }
    }

    fn handle(&mut self, peer: NodeId, report: WorkReport) {
        let now = Instant::now().into_std();
        match report {
            WorkReport::Answer(Ok(asked)) => match asked.content {
                Content::ConnectionId(id) => {
                    // One that was asked again, its first stream having grown too old.
                    if let Some((contact, old)) = self.announced.streams.insert(peer, (asked.contact, id)) {
                        self.inner.transfers.decline(&contact, old);
                    }
                    self.lookup.handle_connection_id(now, &peer, id);
                }
                Content::Enrs(encoded) => {
                    let mut enrs = self.inner.valid_records(&encoded);
                    let is_busy = enrs.iter().any(|enr| record::node_id(enr) == peer);
                    enrs.retain(|enr| record::node_id(enr) != peer);
                    let named = self.inner.speakable(enrs);
                    if is_busy {
                        self.lookup.handle_busy(now, &peer, named);
                    } else {
                        self.lookup.handle_nodes(now, &peer, named);
                    }
                }
                Content::Inline(value) => self.judge(peer, value, Room::default()),
            },
            WorkReport::Answer(Err(error)) => self.lookup.handle_failure(now, &peer, failure(&error)),
            WorkReport::Value(Ok((value, room))) => {
                self.streams.remove(&peer);
                self.judge(peer, value, room);
            }
            WorkReport::Value(Err(error)) => {
                self.streams.remove(&peer);
                self.lookup.handle_failure(now, &peer, failure(&error));
            }
            WorkReport::Judged(value, Ok(())) => {
                self.admitted = Some(value);
                self.lookup.handle_content_valid(&peer);
            }
            WorkReport::Judged(_, Err(rejection)) => {
                match &rejection {
                    Rejection::Invalid(_) => {
                        self.inner.punish(peer);
                        self.lookup.handle_content_invalid(now, &peer);
                    }
                    Rejection::Doubtful(_) => self.lookup.handle_content_invalid(now, &peer),
                    // What is valid and not stored has been let through by `judge`.
                    Rejection::Unverifiable(_) | Rejection::Storage(_) => {
                        self.lookup.handle_content_unverifiable(now, &peer);
                    }
                }
                self.rejections.push((peer, rejection));
            }
            WorkReport::Aborted => {}
        }
    }

    /// Has the handler verify a value.
    fn judge(&mut self, peer: NodeId, value: Bytes, room: Room) {
        if !self.lookup.handle_content(Instant::now().into_std(), &peer) {
            return;
        }
        let (inner, key) = (self.inner.clone(), self.key.clone());
        let judging = async move {
            let verdict = inner.handler.admit(key, value.clone(), ContentSource::Lookup(peer)).await;
            drop(room);
            let verdict = match verdict {
                Ok(_) => Ok(()),
                // Valid all the same: whoever asked for it may have it.
                Err(Rejection::Storage(reason)) => {
                    tracing::warn!(%reason, "content found but not stored");
                    Ok(())
                }
                Err(rejection) => Err(rejection),
            };
            (peer, WorkReport::Judged(value, verdict))
        };
        self.work.push(judging.boxed());
    }
}

/// Streams that peers announced and that are not opened yet, each with its connection ID. What is left is declined.
struct Announced {
    inner: Arc<RunningOverlay>,
    streams: HashMap<NodeId, (Contact, u16)>,
}

impl Drop for Announced {
    fn drop(&mut self) {
        for (contact, connection_id) in self.streams.values() {
            self.inner.transfers.decline(contact, *connection_id);
        }
    }
}

/// The next piece of work that ends; waits for ever when there is none.
async fn next<F: Future>(work: &mut FuturesUnordered<F>) -> F::Output {
    match work.next().await {
        Some(output) => output,
        None => std::future::pending().await,
    }
}

fn nearest(table: &RoutingTable, target: impl Into<[u8; 32]>, count: usize) -> Vec<Arc<Enr>> {
    table.closest(target, count, |peer| !peer.is_dead()).into_iter().map(|peer| peer.enr().clone()).collect()
}

fn outcome(trace: &Trace, found: bool, started: Instant) -> LookupOutcome {
    LookupOutcome {
        found,
        hops: trace.source().map_or(0, |source| source.hops),
        asked: trace.asked().count(),
        took: started.elapsed(),
    }
}

fn failure(error: &RequestError) -> PeerFailure {
    match error {
        RequestError::Talk(TalkError::Timeout) => PeerFailure::Timeout,
        RequestError::Talk(_) | RequestError::Incompatible(_) => PeerFailure::Unreachable,
        RequestError::Wire(WireError::Empty) => PeerFailure::Refused,
        RequestError::Transfer(_) | RequestError::Stream(_) => PeerFailure::Stream,
        _ => PeerFailure::Malformed,
    }
}
