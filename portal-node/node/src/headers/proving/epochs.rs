//! Epochs that are fetched from the execution client: each once for all who ask, in a task that outlives them. Who cannot
//! wait any longer loses nothing: the next one finds the epoch, or the fetch still under way.

use std::future::Future;
use std::sync::Arc;

use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::headers::Asker;

/// How a fetch ended, the same for all who waited for it. `None` when it was broken off.
type Outcome<T, E> = Option<Result<Arc<T>, Arc<E>>>;

/// Epochs that were fetched lately. At most one fetch runs for users and one for what peers offered: it takes minutes,
/// and none of a peer keeps a user waiting.
pub(super) struct Epochs<T, E> {
    state: Arc<Mutex<State<T, E>>>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

struct State<T, E> {
    kept: LruCache<u64, Arc<T>>,
    for_users: Option<Fetch<T, E>>,
    for_peers: Option<Fetch<T, E>>,
}

/// A fetch, which is over when the sender of its outcome is gone.
struct Fetch<T, E> {
    epoch: u64,
    outcome: watch::Receiver<Outcome<T, E>>,
}

impl<T, E> Fetch<T, E> {
    fn is_running(&self) -> bool {
        self.outcome.has_changed().is_ok()
    }

    async fn end(mut self) -> Outcome<T, E> {
        while self.outcome.changed().await.is_ok() {}
        self.outcome.borrow().clone()
    }
}

impl<T, E> Clone for Fetch<T, E> {
    fn clone(&self) -> Self {
        Self { epoch: self.epoch, outcome: self.outcome.clone() }
    }
}

impl<T: Send + Sync + 'static, E: Send + Sync + 'static> Epochs<T, E> {
    /// Keeps `capacity` epochs.
    pub(super) fn new(capacity: usize) -> Self {
        let stop = CancellationToken::new();
        let state = State { kept: LruCache::new(capacity), for_users: None, for_peers: None };
        Self { state: Arc::new(Mutex::new(state)), _stop_on_drop: stop.clone().drop_guard(), stop }
    }

    /// An epoch that is kept, or that a fetch under way brings, or one that is started as soon as those like `asker` have
    /// none under way. A fetch ends by itself or when `self` is dropped; `None` is what those who wait get then.
    pub(super) async fn get<F>(&self, asker: Asker, epoch: u64, fetch: impl Fn() -> F) -> Outcome<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        loop {
            let under_way = {
                let mut state = self.state.lock();
                if let Some(kept) = state.kept.get(&epoch) {
                    return Some(Ok(Arc::clone(kept)));
                }
                match state.awaited_by(asker, epoch) {
                    Some(under_way) => under_way,
                    None => {
                        let started = self.start(epoch, fetch());
                        *state.place_of(asker) = Some(started.clone());
                        started
                    }
                }
            };
            let is_wanted = under_way.epoch == epoch;
            let outcome = under_way.end().await;
            if is_wanted {
                return outcome;
            }
        }
    }

    fn start(&self, epoch: u64, fetch: impl Future<Output = Result<T, E>> + Send + 'static) -> Fetch<T, E> {
        let (sender, outcome) = watch::channel(None);
        let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
        tokio::spawn(async move {
            let Some(fetched) = stop.run_until_cancelled(fetch).await else { return };
            let fetched = fetched.map(Arc::new).map_err(Arc::new);
            if let Ok(value) = &fetched {
                state.lock().kept.insert(epoch, Arc::clone(value));
            }
            sender.send_replace(Some(fetched));
        });
        Fetch { epoch, outcome }
    }
}

impl<T, E> State<T, E> {
    /// The fetch of this epoch, whoever it is for, or else the one that takes the asker's place.
    fn awaited_by(&mut self, asker: Asker, epoch: u64) -> Option<Fetch<T, E>> {
        let mut running = [&self.for_users, &self.for_peers].into_iter().flatten().filter(|fetch| fetch.is_running());
        let same = running.find(|fetch| fetch.epoch == epoch).cloned();
        drop(running);
        same.or_else(|| self.place_of(asker).clone().filter(Fetch::is_running))
    }

    fn place_of(&mut self, asker: Asker) -> &mut Option<Fetch<T, E>> {
        match asker {
            Asker::User => &mut self.for_users,
            Asker::Peer(_) => &mut self.for_peers,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    type Answer = oneshot::Sender<Result<u64, &'static str>>;

    /// A client that is asked for epochs, and answers when told to.
    struct Client {
        asks: mpsc::Sender<(u64, Answer)>,
        asked: mpsc::Receiver<(u64, Answer)>,
        epochs: Arc<Epochs<u64, &'static str>>,
    }

    impl Client {
        fn new() -> Self {
            let (asks, asked) = mpsc::channel(16);
            Self { asks, asked, epochs: Arc::new(Epochs::new(2)) }
        }

        fn get(&self, asker: Asker, epoch: u64) -> impl Future<Output = Outcome<u64, &'static str>> + 'static {
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
        Asker::Peer([number; 32].into())
    }

    #[tokio::test]
    async fn a_kept_epoch_waits_for_no_fetch() {
        let mut client = Client::new();
        let mut first = pin!(client.get(Asker::User, 1));
        assert!(poll!(&mut first).is_pending());
        client.question().unwrap().1.send(Ok(10)).unwrap();
        assert_eq!(first.await, Some(Ok(Arc::new(10))));
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
        assert_eq!(last.await, Some(Ok(Arc::new(10))));
        assert!(client.question().is_none(), "one fetch for all");

        assert!(poll!(pin!(client.get(Asker::User, 2))).is_pending());
        let (_, mut answer) = client.question().unwrap();
        client.epochs = Arc::new(Epochs::new(1));
        answer.closed().await;
    }

    #[tokio::test]
    async fn all_who_wait_get_the_error_and_the_next_one_tries_again() {
        let mut client = Client::new();
        let (mut first, mut second) = (pin!(client.get(Asker::User, 1)), pin!(client.get(peer(1), 1)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        client.question().unwrap().1.send(Err("pruned")).unwrap();
        assert_eq!(first.await, Some(Err(Arc::new("pruned"))));
        assert_eq!(second.await, Some(Err(Arc::new("pruned"))));
        let mut third = pin!(client.get(Asker::User, 1));
        assert!(poll!(&mut third).is_pending());
        client.question().unwrap().1.send(Ok(10)).unwrap();
        assert_eq!(third.await, Some(Ok(Arc::new(10))));
    }

    #[tokio::test]
    async fn one_fetch_runs_for_peers_and_one_for_users() {
        let mut client = Client::new();
        let (mut first, mut second) = (pin!(client.get(peer(1), 1)), pin!(client.get(peer(2), 2)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        let (epoch, answer) = client.question().unwrap();
        assert_eq!(epoch, 1);
        assert!(client.question().is_none(), "another peer has to wait");
        let mut user = pin!(client.get(Asker::User, 3));
        assert!(poll!(&mut user).is_pending());
        assert_eq!(client.question().map(|(epoch, _)| epoch), Some(3), "a user need not");
        answer.send(Err("pruned")).unwrap();
        first.await;
        assert!(poll!(&mut second).is_pending());
        let (epoch, answer) = client.question().unwrap();
        answer.send(Ok(20)).unwrap();
        assert_eq!((epoch, second.await), (2, Some(Ok(Arc::new(20)))));
    }
}
