//! Whom this node serves, and how much it moves: the choker and the limits, as sessions and requests ask them.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

use cairn_limits::TokenBucket;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    choker::{Choker, ChokerConfig, Output},
    geometry::Component,
};

/// Items are read and sent in steps of this, in bytes, or less under a low limit, so that something goes out all the time.
pub(super) const STEP_BYTES: usize = 512 << 10;

/// The least step, in bytes.
const MIN_STEP: usize = 16 << 10;

/// Steps a second under a limit.
const STEPS_A_SECOND: u64 = 8;

/// Limits that can be changed while running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second of answers to others, all together; `None` for no limit.
    pub upload: Option<u64>,
    /// Bytes a second of answers from others, and of what comes from elsewhere in their stead, all together; `None` for no limit.
    pub download: Option<u64>,
    /// Connections at once. Those that there are stay.
    pub max_peers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { upload: None, download: None, max_peers: 128 }
    }
}

/// A rate that many tasks share.
#[derive(Debug)]
pub(super) struct SharedRate {
    bucket: Mutex<TokenBucket>,
    moved: [AtomicU64; Component::COUNT],
    changed: Notify,
}

impl SharedRate {
    fn new(rate: Option<u64>) -> Self {
        Self {
            bucket: Mutex::new(TokenBucket::new(Instant::now(), rate)),
            moved: Default::default(),
            changed: Notify::new(),
        }
    }

    fn set(&self, rate: Option<u64>) {
        self.bucket.lock().set_rate(Instant::now(), rate);
        self.changed.notify_waiters();
    }

    pub(super) fn get(&self) -> Option<u64> {
        self.bucket.lock().rate()
    }

    /// Bytes that were moved in all, by [`Component::index`].
    pub(super) fn moved(&self) -> [u64; Component::COUNT] {
        std::array::from_fn(|of| self.moved[of].load(Ordering::Relaxed))
    }

    /// Waits until so many bytes of a component may be moved.
    pub(super) async fn wait(&self, component: Component, bytes: u64) {
        self.moved[component.index()].fetch_add(bytes, Ordering::Relaxed);
        self.wait_for(bytes).await;
    }

    /// Waits until so many bytes may be moved that are none of this swarm's.
    pub(super) async fn wait_for(&self, bytes: u64) {
        loop {
            let changed = self.changed.notified();
            let until = match self.bucket.lock().take(Instant::now(), bytes) {
                Ok(()) => return,
                Err(until) => until,
            };
            match until {
                Some(until) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                },
                None => changed.await,
            }
        }
    }
}

/// Choker and limits.
#[derive(Debug)]
pub(super) struct Uploads {
    pub(super) upload: SharedRate,
    pub(super) download: SharedRate,
    max_peers: AtomicUsize,
    choker: Mutex<Choker<u64>>,
    /// Raised when somebody is choked or unchoked.
    pub(super) decided: Notify,
}

impl Uploads {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            upload: SharedRate::new(limits.upload),
            download: SharedRate::new(limits.download),
            max_peers: AtomicUsize::new(limits.max_peers),
            choker: Mutex::new(Choker::new(Instant::now(), ChokerConfig::default())),
            decided: Notify::new(),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { upload: self.upload.get(), download: self.download.get(), max_peers: self.max_peers() }
    }

    pub(super) fn set_limits(&self, limits: Limits) {
        self.upload.set(limits.upload);
        self.download.set(limits.download);
        self.max_peers.store(limits.max_peers, Ordering::Relaxed);
    }

    pub(super) fn max_peers(&self) -> usize {
        self.max_peers.load(Ordering::Relaxed)
    }

    /// Bytes of items that are read and sent at once.
    pub(super) fn step_bytes(&self) -> usize {
        let of_rate = |rate: u64| usize::try_from(rate / STEPS_A_SECOND).unwrap_or(STEP_BYTES);
        self.upload.get().map_or(STEP_BYTES, |rate| of_rate(rate).clamp(MIN_STEP, STEP_BYTES))
    }

    /// Tells the choker of something, and acts on what it decides. Returns when it wants to be asked again.
    pub(super) fn update(&self, event: impl FnOnce(&mut Choker<u64>)) -> Instant {
        let mut choker = self.choker.lock();
        event(&mut choker);
        let (now, mut is_news) = (Instant::now(), false);
        let next = loop {
            match choker.poll_output(now) {
                // Each session looks for itself whether it is served.
                Output::Choke(_) | Output::Unchoke(_) => is_news = true,
                Output::Timeout(at) => break at,
            }
        };
        drop(choker);
        if is_news {
            self.decided.notify_waiters();
        }
        next
    }

    /// How many are served, and how many wait for that.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.choker.lock().counts()
    }

    pub(super) fn is_served(&self, session: u64) -> bool {
        self.choker.lock().is_served(&session)
    }

    /// Lets peers take turns, for as long as this is awaited. `slots` says how many are served at a time.
    pub(super) async fn take_turns(&self, slots: impl Fn() -> usize) {
        let mut next = self.update(|_| {});
        loop {
            tokio::time::sleep_until(next.into()).await;
            let slots = slots();
            next = self.update(|choker| choker.set_slots(slots));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn what_came_from_elsewhere_is_waited_for_by_what_comes_from_peers() {
        let limits = Limits { download: Some(1), ..Limits::default() };
        let uploads = Uploads::new(limits);
        // More than there is may be taken once; years pass until there is something again.
        uploads.download.wait_for(1 << 40).await;
        let mut peers = pin!(uploads.download.wait(Component::Bodies, 1));
        assert!(poll!(&mut peers).is_pending());
        uploads.set_limits(Limits { download: None, ..limits });
        peers.await;
        assert_eq!(uploads.download.moved()[Component::Bodies.index()], 1);
        assert_eq!(uploads.download.moved().iter().sum::<u64>(), 1, "a mirror's bytes are none of the swarm's");
    }
}
