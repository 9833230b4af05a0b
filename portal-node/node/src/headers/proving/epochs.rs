//! Epochs that are fetched from the execution client: each once for all who ask, in a task that outlives them. Who cannot
//! wait any longer loses nothing: the next one finds the epoch, or the fetch still under way.
//!
//! A fetch is thousands of requests, and a peer has one begun by offering a body. So what peers offer has few fetches
//! begun, and what these bring takes nothing from users.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::headers::Asker;

/// How long no other fetch is begun for peers after one was.
const PAUSE_FOR_PEERS: Duration = Duration::from_secs(600);

/// Why there is no epoch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoEpoch<E> {
    /// The fetch failed, for all who waited for it.
    Failed(Arc<E>),
    /// One was fetched for peers a moment ago, and nothing more is for the time being.
    Paused,
    /// The owner of the epochs is gone.
    Stopping,
}

/// How a fetch ended, the same for all who waited for it. `None` when it was broken off.
type EpochOutcome<T, E> = Option<Result<Arc<T>, Arc<E>>>;

/// How many epochs are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Of those that users asked for.
    pub(super) for_users: usize,
    /// Of those that peers caused to be fetched, and no user asked for yet.
    pub(super) for_peers: usize,
}

/// Epochs that were fetched lately. At most one fetch runs for users and one for what peers offered: it takes minutes,
/// and none of a peer keeps a user waiting.
pub(super) struct Epochs<T, E> {
    shares: Arc<Mutex<Shares<T, E>>>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// What users have and what peers have, each by themselves.
struct Shares<T, E> {
    users: EpochShare<T, E>,
    peers: EpochShare<T, E>,
    /// When the last fetch for peers was begun.
    begun_for_peers: Option<Instant>,
}

/// What users, or peers, have of the epochs: neither takes anything from the other.
struct EpochShare<T, E> {
    kept: LruCache<u64, Arc<T>>,
    fetch: Option<EpochFetch<T, E>>,
}

impl<T, E> EpochShare<T, E> {
    fn new(capacity: usize) -> Self {
        Self { kept: LruCache::new(capacity), fetch: None }
    }

    fn running(&self) -> Option<&EpochFetch<T, E>> {
        self.fetch.as_ref().filter(|fetch| fetch.is_running())
    }
}

/// A fetch, which is over when the sender of its outcome is gone.
struct EpochFetch<T, E> {
    epoch: u64,
    outcome: watch::Receiver<EpochOutcome<T, E>>,
}

impl<T, E> EpochFetch<T, E> {
    fn is_running(&self) -> bool {
        self.outcome.has_changed().is_ok()
    }

    async fn end(mut self) -> EpochOutcome<T, E> {
        while self.outcome.changed().await.is_ok() {}
        self.outcome.borrow().clone()
    }
}

impl<T, E> Clone for EpochFetch<T, E> {
    fn clone(&self) -> Self {
        Self { epoch: self.epoch, outcome: self.outcome.clone() }
    }
}

impl<T: Send + Sync + 'static, E: Send + Sync + 'static> Epochs<T, E> {
    pub(super) fn new(kept: Kept) -> Self {
        let stop = CancellationToken::new();
        let (users, peers) = (EpochShare::new(kept.for_users), EpochShare::new(kept.for_peers));
        let shares = Shares { users, peers, begun_for_peers: None };
        Self { shares: Arc::new(Mutex::new(shares)), _stop_on_drop: stop.clone().drop_guard(), stop }
    }

    /// An epoch that is kept, or that a fetch under way brings, or one that is started. A user waits for that until no
    /// other fetch runs for users. A fetch ends by itself or when `self` is dropped.
    ///
    /// # Errors
    /// [`NoEpoch`] says why there is none.
    pub(super) async fn get<F>(&self, asker: Asker, epoch: u64, fetch: impl Fn() -> F) -> Result<Arc<T>, NoEpoch<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        loop {
            let under_way = {
                let mut shares = self.shares.lock();
                if let Some(kept) = shares.kept(asker, epoch) {
                    return Ok(kept);
                }
                match shares.awaited_by(asker, epoch, Instant::now())? {
                    Some(under_way) => under_way,
                    None => {
                        let started = self.start(asker, epoch, fetch());
                        shares.began(asker, started.clone(), Instant::now());
                        started
                    }
                }
            };
            let is_wanted = under_way.epoch == epoch;
            let outcome = under_way.end().await;
            if !is_wanted {
                continue;
            }
            let fetched = outcome.ok_or(NoEpoch::Stopping)?.map_err(NoEpoch::Failed)?;
            // It may have been fetched for others than this one.
            self.shares.lock().keep(asker, epoch, Arc::clone(&fetched));
            return Ok(fetched);
        }
    }

    fn start(
        &self,
        asker: Asker,
        epoch: u64,
        fetch: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> EpochFetch<T, E> {
        let (sender, outcome) = watch::channel(None);
        let (shares, stop) = (Arc::clone(&self.shares), self.stop.clone());
        tokio::spawn(async move {
            let Some(fetched) = stop.run_until_cancelled(fetch).await else { return };
            let fetched = fetched.map(Arc::new).map_err(Arc::new);
            if let Ok(value) = &fetched {
                shares.lock().keep(asker, epoch, Arc::clone(value));
            }
            sender.send_replace(Some(fetched));
        });
        EpochFetch { epoch, outcome }
    }
}

impl<T, E> Shares<T, E> {
    /// An epoch that is here, whoever it was fetched for. What a user uses stays as long as users' do, and no peer's use
    /// makes one of theirs stay.
    fn kept(&mut self, asker: Asker, epoch: u64) -> Option<Arc<T>> {
        match asker {
            Asker::User => {
                if let Some(kept) = self.users.kept.get(&epoch) {
                    return Some(Arc::clone(kept));
                }
                let kept = self.peers.kept.remove(&epoch)?;
                self.keep(asker, epoch, Arc::clone(&kept));
                Some(kept)
            }
            Asker::Peer { .. } => self.users.kept.peek(&epoch).or_else(|| self.peers.kept.get(&epoch)).cloned(),
        }
    }

    fn keep(&mut self, asker: Asker, epoch: u64, value: Arc<T>) {
        if asker == Asker::User {
            self.peers.kept.remove(&epoch);
        } else if self.users.kept.peek(&epoch).is_some() {
            return;
        }
        self.share_of(asker).kept.insert(epoch, value);
    }

    /// The fetch of this epoch, whoever it is for, or else the one that takes a user's place. A peer does not wait for
    /// another epoch: its value would take up memory for minutes.
    fn awaited_by(&self, asker: Asker, epoch: u64, now: Instant) -> Result<Option<EpochFetch<T, E>>, NoEpoch<E>> {
        let (users, peers) = (self.users.running(), self.peers.running());
        if let Some(same) = [users, peers].into_iter().flatten().find(|fetch| fetch.epoch == epoch) {
            return Ok(Some(same.clone()));
        }
        match asker {
            Asker::User => Ok(users.cloned()),
            Asker::Peer { .. } => {
                let is_soon = self.begun_for_peers.is_some_and(|begun| now.duration_since(begun) < PAUSE_FOR_PEERS);
                if peers.is_some() || is_soon { Err(NoEpoch::Paused) } else { Ok(None) }
            }
        }
    }

    fn began(&mut self, asker: Asker, fetch: EpochFetch<T, E>, now: Instant) {
        if asker != Asker::User {
            self.begun_for_peers = Some(now);
        }
        self.share_of(asker).fetch = Some(fetch);
    }

    fn share_of(&mut self, asker: Asker) -> &mut EpochShare<T, E> {
        match asker {
            Asker::User => &mut self.users,
            Asker::Peer { .. } => &mut self.peers,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{FutureExt, poll};
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    const KEPT: Kept = Kept { for_users: 2, for_peers: 1 };

    type Answer = oneshot::Sender<Result<u64, &'static str>>;
    type Got = Result<Arc<u64>, NoEpoch<&'static str>>;

    /// A client that is asked for epochs, and answers when told to.
    struct Client {
        asks: mpsc::Sender<(u64, Answer)>,
        asked: mpsc::Receiver<(u64, Answer)>,
        epochs: Arc<Epochs<u64, &'static str>>,
    }

    impl Client {
        fn new() -> Self {
            let (asks, asked) = mpsc::channel(16);
            Self { asks, asked, epochs: Arc::new(Epochs::new(KEPT)) }
        }

        fn get(&self, asker: Asker, epoch: u64) -> impl Future<Output = Got> + 'static {
            let (asks, epochs) = (self.asks.clone(), Arc::clone(&self.epochs));
            async move {
                let fetch = || {
                    let (sender, answer) = oneshot::channel();
                    asks.try_send((epoch, sender)).unwrap();
                    async move { answer.await.unwrap_or(Err("the client is gone")) }
                };
                epochs.get(asker, epoch, fetch).await
            }
        }

        /// The next question, which has been asked already.
        fn question(&mut self) -> Option<(u64, Answer)> {
            self.asked.try_recv().ok()
        }
    }

    fn peer(number: u8) -> Asker {
        Asker::Peer { id: [number; 32].into(), subnet: None }
    }

    #[tokio::test]
    async fn a_kept_epoch_waits_for_no_fetch() {
        let mut client = Client::new();
        let mut first = pin!(client.get(Asker::User, 1));
        assert!(poll!(&mut first).is_pending());
        client.question().unwrap().1.send(Ok(10)).unwrap();
        assert_eq!(first.await, Ok(Arc::new(10)));
        let mut other = pin!(client.get(Asker::User, 2));
        assert!(poll!(&mut other).is_pending());
        assert!(poll!(pin!(client.get(Asker::User, 1))).is_ready());
    }

    #[tokio::test]
    async fn a_fetch_goes_on_when_nobody_waits_and_ends_with_its_owner() {
        let mut client = Client::new();
        for number in 0..3 {
            // Each of them gives up.
            assert!(poll!(pin!(client.get(peer(number), 1))).is_pending());
        }
        let (_, answer) = client.question().unwrap();
        let mut last = pin!(client.get(Asker::User, 1));
        assert!(poll!(&mut last).is_pending());
        answer.send(Ok(10)).unwrap();
        assert_eq!(last.await, Ok(Arc::new(10)));
        assert!(client.question().is_none(), "one fetch for all");

        assert!(poll!(pin!(client.get(Asker::User, 2))).is_pending());
        let (_, mut answer) = client.question().unwrap();
        client.epochs = Arc::new(Epochs::new(KEPT));
        answer.closed().await;
    }

    #[tokio::test]
    async fn all_who_wait_get_the_error_and_the_next_one_tries_again() {
        let mut client = Client::new();
        let (mut first, mut second) = (pin!(client.get(Asker::User, 1)), pin!(client.get(peer(1), 1)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        client.question().unwrap().1.send(Err("pruned")).unwrap();
        assert_eq!(first.await, Err(NoEpoch::Failed(Arc::new("pruned"))));
        assert_eq!(second.await, Err(NoEpoch::Failed(Arc::new("pruned"))));
        let mut third = pin!(client.get(Asker::User, 1));
        assert!(poll!(&mut third).is_pending());
        client.question().unwrap().1.send(Ok(10)).unwrap();
        assert_eq!(third.await, Ok(Arc::new(10)));
    }

    #[tokio::test]
    async fn one_fetch_runs_for_peers_and_one_for_users() {
        let mut client = Client::new();
        let mut first = pin!(client.get(peer(1), 1));
        assert!(poll!(&mut first).is_pending());
        let (epoch, offered) = client.question().unwrap();
        assert_eq!(epoch, 1);
        let mut users = (pin!(client.get(Asker::User, 2)), pin!(client.get(Asker::User, 3)));
        assert!(poll!(&mut users.0).is_pending() && poll!(&mut users.1).is_pending());
        let (epoch, answer) = client.question().unwrap();
        assert_eq!(epoch, 2, "a user need not wait for a peer");
        assert!(client.question().is_none(), "but for another user");
        answer.send(Ok(20)).unwrap();
        assert_eq!(users.0.await, Ok(Arc::new(20)));
        assert!(poll!(&mut users.1).is_pending());
        assert_eq!(client.question().map(|(epoch, _)| epoch), Some(3));
        offered.send(Ok(10)).unwrap();
        assert_eq!(first.await, Ok(Arc::new(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_peers_offer_has_a_fetch_begun_once_in_a_while() {
        let mut client = Client::new();
        let mut first = pin!(client.get(peer(1), 1));
        assert!(poll!(&mut first).is_pending());
        let (_, answer) = client.question().unwrap();
        let paused = Some(Err(NoEpoch::Paused));
        assert_eq!(client.get(peer(2), 2).now_or_never(), paused, "it runs");
        answer.send(Err("pruned")).unwrap();
        first.await.unwrap_err();
        assert_eq!(client.get(peer(2), 2).now_or_never(), paused, "it ran");
        assert!(client.question().is_none());
        tokio::time::advance(PAUSE_FOR_PEERS).await;
        let mut second = pin!(client.get(peer(2), 2));
        assert!(poll!(&mut second).is_pending());
        tokio::time::advance(PAUSE_FOR_PEERS).await;
        assert_eq!(client.get(peer(3), 3).now_or_never(), paused, "it still runs");
        assert_eq!(client.question().map(|(epoch, _)| epoch), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_peers_have_fetched_costs_users_nothing_that_is_kept() {
        let mut client = Client::new();
        let epochs = Arc::clone(&client.epochs);
        let fetched = async |client: &mut Client, asker, epoch| {
            let mut got = pin!(client.get(asker, epoch));
            assert!(poll!(&mut got).is_pending(), "epoch {epoch} is not here");
            client.question().unwrap().1.send(Ok(epoch)).unwrap();
            got.await.unwrap();
            tokio::time::advance(PAUSE_FOR_PEERS).await;
        };
        let is_kept = |asker, epoch| epochs.shares.lock().kept(asker, epoch).is_some();
        fetched(&mut client, Asker::User, 1).await;
        for epoch in 2..6 {
            fetched(&mut client, peer(1), epoch).await;
        }
        assert!(is_kept(Asker::User, 1) && is_kept(peer(1), 5) && !is_kept(peer(1), 4));
        // Whoever it was fetched for, it serves both; once a user has it, no peer's takes its place.
        assert!(is_kept(peer(1), 1) && is_kept(Asker::User, 5));
        fetched(&mut client, peer(1), 6).await;
        assert!(is_kept(Asker::User, 5) && is_kept(Asker::User, 1));
        // That peers use one of users' does not make it stay.
        assert!(is_kept(peer(1), 5));
        fetched(&mut client, Asker::User, 7).await;
        assert!(!is_kept(Asker::User, 5));
    }
}
