//! Transfer slots: how many streams may be open, in each direction, with one peer and in all.

use std::sync::Arc;
use std::time::Duration;

use cairn_proto::limits::{Direction, TransferCounts, TransferLimits};
use content_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::transport::Contact;

/// The slots of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Slots {
    shared: Arc<Shared>,
}

struct Shared {
    counts: Mutex<TransferCounts>,
    freed: Notify,
}

/// A slot that is taken until this is dropped.
pub struct Slot {
    shared: Arc<Shared>,
    direction: Direction,
    peer: NodeId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.counts.lock().finish(self.direction, &self.peer);
        self.shared.freed.notify_waiters();
    }
}

impl Slots {
    pub(super) fn new(limits: TransferLimits) -> Self {
        Self { shared: Arc::new(Shared { counts: Mutex::new(TransferCounts::new(limits)), freed: Notify::new() }) }
    }

    /// Takes a slot, waiting until one is free.
    pub(super) async fn take(&self, direction: Direction, peer: &Contact) -> Slot {
        loop {
            // Made before the attempt: what is freed in between wakes it.
            let freed = self.shared.freed.notified();
            if self.shared.counts.lock().start(direction, peer.node_id(), peer.address().ip()).is_ok() {
                return self.hold(direction, peer.node_id());
            }
            freed.await;
        }
    }

    /// Takes a slot if one is free within `patience`.
    pub(super) async fn take_within(&self, direction: Direction, peer: &Contact, patience: Duration) -> Option<Slot> {
        tokio::time::timeout(patience, self.take(direction, peer)).await.ok()
    }

    /// Waits until a slot could be taken, for `patience` at most; whether one could.
    pub(super) async fn is_free_within(&self, direction: Direction, peer: &Contact, patience: Duration) -> bool {
        let free = async {
            loop {
                let freed = self.shared.freed.notified();
                if self.shared.counts.lock().check(direction, &peer.node_id(), peer.address().ip()).is_ok() {
                    return;
                }
                freed.await;
            }
        };
        tokio::time::timeout(patience, free).await.is_ok()
    }

    /// Lets `decide` take a slot itself; `holds` says from what it returned whether it did.
    pub(crate) fn decide<T>(
        &self,
        direction: Direction,
        peer: NodeId,
        decide: impl FnOnce(&mut TransferCounts) -> T,
        holds: impl FnOnce(&T) -> bool,
    ) -> (T, Option<Slot>) {
        let decision = decide(&mut self.shared.counts.lock());
        let slot = holds(&decision).then(|| self.hold(direction, peer));
        (decision, slot)
    }

    pub(super) fn running(&self, direction: Direction) -> usize {
        self.shared.counts.lock().running(direction)
    }

    fn hold(&self, direction: Direction, peer: NodeId) -> Slot {
        Slot { shared: self.shared.clone(), direction, peer }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use enr::CombinedKey;

    use super::*;
    use crate::transport::Enr;

    const LIMITS: TransferLimits = TransferLimits {
        inbound: 2,
        inbound_per_peer: 1,
        fetches: 1,
        fetches_per_peer: 1,
        outbound: 1,
        outbound_per_peer: 1,
    };

    fn contact(port: u16) -> Contact {
        let enr = Enr::builder().build(&CombinedKey::generate_secp256k1()).unwrap();
        Contact::new(enr, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_again_when_its_holder_is_gone() {
        let slots = Slots::new(LIMITS);
        let [a, b] = [1, 2].map(contact);
        let first = slots.take(Direction::Inbound, &a).await;
        let patience = Duration::from_secs(1);
        assert!(slots.take_within(Direction::Inbound, &a, patience).await.is_none(), "one for each peer");
        let _second = slots.take(Direction::Inbound, &b).await;
        let third = slots.take_within(Direction::Inbound, &a, patience);
        let release = async {
            tokio::time::sleep(patience / 2).await;
            drop(first);
        };
        let (third, ()) = tokio::join!(third, release);
        assert!(third.is_some());
        assert!(!slots.is_free_within(Direction::Inbound, &a, patience).await);
        drop(third);
        assert!(slots.is_free_within(Direction::Inbound, &a, patience).await, "asking takes none");
        let _third = slots.take(Direction::Inbound, &a).await;
        assert_eq!(slots.running(Direction::Inbound), 2);
    }

    #[test]
    fn a_decision_takes_the_slot_along() {
        let slots = Slots::new(LIMITS);
        let peer = NodeId::from([1; 32]);
        let start = |counts: &mut TransferCounts| counts.start(Direction::Outbound, peer, Ipv4Addr::LOCALHOST.into());
        let (decided, slot) = slots.decide(Direction::Outbound, peer, start, Result::is_ok);
        assert!(decided.is_ok() && slot.is_some());
        let (decided, none) = slots.decide(Direction::Outbound, peer, start, Result::is_ok);
        assert!(decided.is_err() && none.is_none());
        drop(slot);
        assert_eq!(slots.running(Direction::Outbound), 0);
    }
}
