//! The book as all networks of a node share it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use content_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::book::{Book, Who};
use crate::offence::Offence;

/// A book. Cheap to clone: all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct PeerBook {
    shared: Arc<SharedBook>,
}

/// The book behind all clones of a [`PeerBook`].
#[derive(Debug, Default)]
struct SharedBook {
    book: Mutex<Book>,
    /// Counts the bars that were put on peers.
    bars: watch::Sender<u64>,
}

impl PeerBook {
    /// A book with what is known from before.
    pub fn new(book: Book) -> Self {
        Self { shared: Arc::new(SharedBook { book: Mutex::new(book), bars: watch::Sender::default() }) }
    }

    /// Charges a peer with something. If that was too much, for how long it is barred from now on.
    pub fn charge(&self, now: Instant, who: &Who, offence: Offence) -> Option<Duration> {
        let bar = self.shared.book.lock().handle_offence(now, who, offence);
        if bar.is_some() {
            self.shared.bars.send_modify(|bars| *bars += 1);
        }
        bar
    }

    /// Credits a peer with bytes that were checked.
    pub fn credit(&self, now: Instant, peer: &NodeId, bytes: u64) {
        self.shared.book.lock().handle_verified(now, peer, bytes);
    }

    /// For how long nobody with this node ID, or at this address, is spoken to.
    pub fn barred_for(&self, now: Instant, peer: &NodeId, ip: Option<IpAddr>) -> Option<Duration> {
        self.shared.book.lock().barred_for(now, peer, ip)
    }

    /// A peer's points: see [`Book::points`].
    pub fn points(&self, peer: &NodeId) -> i32 {
        self.shared.book.lock().points(peer)
    }

    /// A number that changes whenever somebody is barred, so that connections with it can be ended.
    pub fn bars(&self) -> watch::Receiver<u64> {
        self.shared.bars.subscribe()
    }

    /// Looks at the book as it is.
    pub fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.shared.book.lock())
    }
}
