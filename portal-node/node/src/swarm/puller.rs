//! A storage peer that fills itself: what lies within its radius is fetched from whoever holds it, for as long as the node runs.
//! [`Pull`] says what comes next; here that is fetched, some runs at a time, and looked at again when the peers, the radius or
//! the time have changed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_archive::MAX_BLOCKS;
use cairn_swarm::geometry::{RUN_BLOCKS, RunSet};
use cairn_swarm::quic::{Held, Session, SessionView};
use content_types::{BlockId, SubNetwork};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::library::NodeLibrary;
use super::peers::{DialPlan, KnownPeers};
use super::progress::PullStatus;
use super::pull::{Claimant, NextBatch, Pull, PullCounts, PullView};
use super::pull_batch::{Batch, BatchEnd};
use super::run_bits::MAX_RUNS;
use super::standing::Standings;
use crate::headers::HeaderSource;
use crate::pipeline::Pipeline;
use crate::seeding::Archives;
use crate::workers::{Stopping, Workers, result_of};

/// Batches of runs that are fetched at once: while the last of one trickles in, the next is under way.
const BATCHES: usize = 2;
/// How often it is looked whether anything has changed.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is decided anew though nothing has.
const DECIDE_INTERVAL: Duration = Duration::from_secs(30);
/// Pause after something could not be stored.
const PAUSE: Duration = Duration::from_secs(30);
/// One more of them may be under way beside one that has lasted for longer than this.
const LONG: Duration = Duration::from_secs(120);
/// As long as fewer connected peers have delivered lately, others are dialled as fast as that goes.
const DELIVERING_PEERS: usize = 8;
/// But not when so many are connected that were dialled.
const DIALLED_PEERS: usize = 32;
/// Even then so many at a time while something is missing: those that are connected may be the wrong ones, whatever they say. Who
/// moves nothing makes room for them in time.
const DIALS_ANYWAY: usize = 2;
/// How often peers are sought. The node does so for as long as it runs.
const SEEK_INTERVAL: Duration = Duration::from_secs(3);

/// What fills a node's store.
pub(crate) struct Puller {
    pub(crate) peers: KnownPeers,
    pub(crate) pipeline: Pipeline,
    pub(crate) library: Arc<NodeLibrary>,
    pub(crate) headers: Arc<HeaderSource>,
    pub(crate) archives: Arc<Archives>,
    pub(crate) workers: Workers,
    /// Room for what the History network keeps, in bytes.
    pub(crate) budget: u64,
    /// Where it tells how far it is.
    pub(crate) status: watch::Sender<PullStatus>,
}

/// How a pull's peers do, for who dials others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PullPeers {
    /// Connected peers that have delivered lately.
    delivering: usize,
    is_complete: bool,
}

impl Puller {
    /// Fetches until it is stopped.
    pub(crate) async fn keep_pulling(self, stop: CancellationToken) {
        if self.budget == 0 || stop.run_until_cancelled(self.archives.wait_until_scanned()).await.is_none() {
            return;
        }
        let (status, swarm) = (self.status.subscribe(), self.peers.swarm.clone());
        let standings = Arc::new(Mutex::new(Standings::default()));
        let of_dialler = Arc::clone(&standings);
        let peers = move || {
            let (now, standings, sessions) = (Instant::now(), of_dialler.lock(), swarm.sessions());
            let is_delivering = |session: &&Arc<Session>| standings.has_delivered_lately(now, &session.node_id());
            let delivering = sessions.iter().filter(|session| !session.is_closed()).filter(is_delivering).count();
            let status = status.borrow();
            PullPeers { delivering, is_complete: status.held >= status.wanted }
        };
        let dialling = DialPlan { interval: SEEK_INTERVAL, may_dial: move |dialled| may_dial(peers(), dialled) };
        let dialler = tokio::spawn(self.peers.clone().keep_dialling_by(dialling, stop.clone()));
        let mut batches = JoinSet::new();
        // When the node stops.
        let Err(Stopping) = self.pull(&mut batches, &standings, &stop).await;
        // What was on its way to the store arrives there.
        while batches.join_next().await.is_some() {}
        let _ = dialler.await;
    }

    async fn pull(
        &self,
        batches: &mut JoinSet<(u64, BatchEnd)>,
        standings: &Arc<Mutex<Standings>>,
        stop: &CancellationToken,
    ) -> Result<Infallible, Stopping> {
        let holdings = self.library.holdings();
        let mut pull = Pull::new(Instant::now(), holdings.node_id());
        let mut changes = self.peers.swarm.changes();
        let received = Arc::new(AtomicU64::new(0));
        let mut meter = RateMeter::default();
        let (mut is_due, mut decided, mut resume) = (true, Instant::now(), Instant::now());
        let mut radius = holdings.radius(SubNetwork::History);
        // When each batch that is under way began.
        let mut begun = BTreeMap::new();
        let mut numbers = 0_u64..;
        loop {
            tokio::select! {
                Some(ended) = batches.join_next() => {
                    let (number, BatchEnd { runs, is_refused }) = result_of(ended)?;
                    let now = Instant::now();
                    begun.remove(&number);
                    runs.into_iter().for_each(|(run, end)| pull.handle_ended(now, run, end));
                    if is_refused {
                        resume = now + PAUSE;
                    }
                    is_due = true;
                }
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return Err(Stopping),
            }
            let now = Instant::now();
            self.tell(|status| status.rate = meter.rate(now, received.load(Ordering::Relaxed)));
            let radius_now = holdings.radius(SubNetwork::History);
            is_due |=
                changes.has_changed().unwrap_or(false) || radius_now != radius || now >= decided + DECIDE_INTERVAL;
            if !is_due {
                continue;
            }
            (is_due, decided, radius) = (false, now, radius_now);
            changes.mark_unchanged();
            let may_fetch = now >= resume && holdings.store().refusal().is_none();
            loop {
                let may_fetch = may_fetch && begun.len() < places(now, begun.values());
                let (after, counts, next) = self.decide(pull, standings, may_fetch).await?;
                pull = after;
                self.tell(|status| {
                    (status.wanted, status.held, status.peers) = (counts.wanted, counts.held, counts.useful);
                });
                let Some(number) = numbers.next().filter(|_| !next.runs.is_empty()) else { break };
                tracing::debug!(runs = next.runs.len(), wanted = counts.wanted, held = counts.held, "runs are fetched");
                let batch = Batch {
                    swarm: self.peers.swarm.clone(),
                    pipeline: self.pipeline.clone(),
                    library: Arc::clone(&self.library),
                    headers: Arc::clone(&self.headers),
                    standings: Arc::clone(standings),
                    received: Arc::clone(&received),
                    next,
                };
                begun.insert(number, now);
                let stop = stop.child_token();
                batches.spawn(async move { (number, batch.fetch(stop).await) });
            }
        }
    }

    /// Whoever watches is told of what is new only.
    fn tell(&self, change: impl FnOnce(&mut PullStatus)) {
        self.status.send_if_modified(|status| {
            let before = *status;
            change(status);
            *status != before
        });
    }

    /// Asks what comes next, on a thread for that: what there is to be gone through are all runs of a chain.
    async fn decide(
        &self,
        mut pull: Pull,
        standings: &Arc<Mutex<Standings>>,
        may_fetch: bool,
    ) -> Result<(Pull, PullCounts, NextBatch), Stopping> {
        let sessions = self.peers.swarm.sessions();
        let (library, headers, standings) =
            (Arc::clone(&self.library), Arc::clone(&self.headers), Arc::clone(standings));
        let radius = self.library.holdings().radius(SubNetwork::History);
        let (room, told) = (self.room(), self.peers.swarm.held());
        let decision = move || {
            let now = Instant::now();
            let claimant = |session: &Arc<Session>| {
                let SessionView { held, serves_us, .. } = session.view();
                Claimant { held, trust: standings.lock().trust(now, &session.node_id(), serves_us) }
            };
            let peers: Vec<_> = sessions.iter().filter(|session| !session.is_closed()).map(claimant).collect();
            let provable = provable(&headers, peers.iter().map(|peer| &peer.held).chain([&told]));
            let own = library.whole();
            let view = PullView { own: &own, radius, room, provable: &provable, peers: &peers };
            let (counts, next) = pull.next(now, &view, may_fetch);
            (pull, counts, next)
        };
        self.workers.cpu(decision).await
    }

    /// How many runs there is room for if others are as large as those that are here; `None` before there is a whole one.
    fn room(&self) -> Option<u64> {
        let usage = self.library.holdings().store().usage(SubNetwork::History);
        let items = u128::from(usage.items / RUN_BLOCKS * RUN_BLOCKS);
        let runs = (u128::from(self.budget) * items).checked_div(u128::from(usage.bytes) * u128::from(RUN_BLOCKS))?;
        (items > 0).then(|| u64::try_from(runs).unwrap_or(u64::MAX))
    }
}

/// How many batches may be under way beside those that began then: whoever brings little holds up one of them, and not the rest.
fn places<'a>(now: Instant, mut begun: impl Iterator<Item = &'a Instant>) -> usize {
    BATCHES + usize::from(begun.any(|begun| now.saturating_duration_since(*begun) > LONG))
}

/// How many peers may be dialled at once while so many are connected that were dialled.
const fn may_dial(peers: PullPeers, dialled: usize) -> usize {
    let left = DIALLED_PEERS.saturating_sub(dialled);
    let anyway = if peers.is_complete && left < DIALS_ANYWAY { left } else { DIALS_ANYWAY };
    if peers.delivering >= DELIVERING_PEERS || left < anyway { anyway } else { left }
}

/// The runs up to the last that anybody holds whose headers could be proved, in whole eras.
fn provable<'a>(headers: &HeaderSource, held: impl Iterator<Item = &'a Arc<Held>>) -> RunSet {
    const ERA_RUNS: u64 = MAX_BLOCKS / RUN_BLOCKS;
    let last = held.flat_map(|held| held.iter()).filter_map(|runs| runs.last_before(MAX_RUNS)).max();
    let mut provable = RunSet::default();
    for era in 0..last.map_or(0, |last| last / ERA_RUNS + 1) {
        if headers.is_within_trust(&BlockId::Number(era * MAX_BLOCKS)) {
            provable.insert(era * ERA_RUNS..(era + 1) * ERA_RUNS);
        }
    }
    provable
}

/// How fast something grows.
#[derive(Default)]
struct RateMeter {
    before: Option<(Instant, u64)>,
    rate: u64,
}

impl RateMeter {
    /// Units a second, of which half is from the time before.
    fn rate(&mut self, now: Instant, total: u64) -> u64 {
        let (then, before) = *self.before.get_or_insert((now, total));
        let millis = now.saturating_duration_since(then).as_millis();
        // Batches may end one right after the other.
        if millis >= LOOK.as_millis() / 2 {
            let grown = u128::from(total.saturating_sub(before)) * 1000 / millis;
            self.rate = (self.rate / 2).saturating_add(u64::try_from(grown).unwrap_or(u64::MAX) / 2);
            self.before = Some((now, total));
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_who_delivers_keeps_others_from_being_dialled() {
        let of = |delivering, is_complete| PullPeers { delivering, is_complete };
        assert_eq!(may_dial(of(0, false), 0), DIALLED_PEERS);
        assert_eq!(may_dial(of(DELIVERING_PEERS - 1, false), 10), DIALLED_PEERS - 10);
        assert_eq!(may_dial(of(DELIVERING_PEERS, false), 10), DIALS_ANYWAY);
        assert_eq!(may_dial(of(0, false), DIALLED_PEERS * 2), DIALS_ANYWAY, "they may be the wrong ones");
        assert_eq!(may_dial(of(0, true), DIALLED_PEERS), 0, "there is nothing to be had");
        assert_eq!(may_dial(of(DELIVERING_PEERS, true), 0), DIALS_ANYWAY);
    }

    #[test]
    fn a_batch_that_lasts_makes_place_for_one_more() {
        let start = Instant::now();
        let places_at = |after| places(start + after, [start, start].iter());
        assert_eq!((places_at(LONG), places_at(LONG + Duration::from_secs(1))), (BATCHES, BATCHES + 1));
    }
}
