//! Hands each TALKREQ to the queue of its protocol.

use std::collections::HashMap;

use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{AlreadyRegistered, ProtocolId, TalkRequest};

/// The protocols that are spoken here, each with its bounded queue.
#[derive(Default)]
pub(crate) struct Dispatcher {
    queues: RwLock<HashMap<ProtocolId, mpsc::Sender<TalkRequest>>>,
}

/// Why a request reached no queue. It has been answered with an empty TALKRESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undelivered {
    UnknownProtocol,
    QueueFull,
}

impl Dispatcher {
    pub(crate) fn register(
        &self,
        protocol: ProtocolId,
        capacity: usize,
    ) -> Result<mpsc::Receiver<TalkRequest>, AlreadyRegistered> {
        let mut queues = self.queues.write();
        if queues.get(&protocol).is_some_and(|queue| !queue.is_closed()) {
            return Err(AlreadyRegistered(protocol));
        }
        let (sender, receiver) = mpsc::channel(capacity);
        queues.insert(protocol, sender);
        Ok(receiver)
    }

    /// Whether a protocol is spoken here.
    pub(crate) fn speaks(&self, protocol: &[u8]) -> bool {
        self.queues.read().contains_key(protocol)
    }

    /// Never waits: a full queue answers empty, and the peer may ask again.
    pub(crate) fn deliver(&self, protocol: &[u8], request: TalkRequest) -> Result<(), Undelivered> {
        match self.queues.read().get(protocol) {
            None => Err(Undelivered::UnknownProtocol),
            Some(queue) => queue.try_send(request).map_err(|error| match error {
                TrySendError::Full(_) => Undelivered::QueueFull,
                TrySendError::Closed(_) => Undelivered::UnknownProtocol,
            }),
        }
    }

    pub(crate) fn close(&self) {
        self.queues.write().clear();
    }
}
