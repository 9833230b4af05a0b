//! The threads of a fetch that check what came, and hand it to the sink.

use cairn_peer_book::Who;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    fetch_request::Arrived,
    sink::{PutError, Received, Sink},
};
use crate::{download::PeerKey, geometry::Component, wire::Encoding};

/// Items that a thread takes at once to check them, at most.
const MAX_BATCH: usize = 8;

/// What a checking thread tells.
#[derive(Debug)]
pub(super) struct CheckerReport {
    /// `None` if it came from elsewhere.
    pub(super) peer: Option<(PeerKey, Who)>,
    pub(super) component: Component,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) outcome: Result<(), PutError>,
}

/// An item on its way to be checked.
pub(super) struct ToCheck {
    pub(super) peer: (PeerKey, Who),
    pub(super) component: Component,
    pub(super) item: Arrived,
}

/// Checks items until there are no more: some at a time, so that the threads wake one another less often than there are items, and no
/// more than this thread's share of those that wait.
pub(super) fn check(
    sink: &dyn Sink,
    threads: usize,
    items: &Mutex<mpsc::UnboundedReceiver<ToCheck>>,
    report: &mpsc::UnboundedSender<Vec<CheckerReport>>,
) {
    loop {
        let batch = {
            let mut items = items.lock();
            let Some(first) = items.blocking_recv() else { return };
            let share = (items.len() / threads).min(MAX_BATCH - 1);
            let more = (0..share).map_while(|_| items.try_recv().ok());
            std::iter::once(first).chain(more).collect::<Vec<_>>()
        };
        let checked = batch.into_iter().map(|item| check_one(sink, item)).collect();
        if report.send(checked).is_err() {
            return;
        }
    }
}

fn check_one(sink: &dyn Sink, ToCheck { peer, component, item }: ToCheck) -> CheckerReport {
    let outcome = match item.encoding.decode(component, &item.bytes) {
        Ok(plain) => {
            let stream = (item.encoding == Encoding::Snappy).then(|| item.bytes.clone());
            sink.put(component, item.number, &Received { item: plain, stream })
        }
        Err(error) => Err(PutError::Invalid(error.into())),
    };
    CheckerReport { peer: Some(peer), component, number: item.number, bytes: item.bytes.len() as u64, outcome }
}
