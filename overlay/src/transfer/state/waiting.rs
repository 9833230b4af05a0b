//! Streams that have something to send and no room for it: who waits for whose answers.

use std::collections::HashMap;

use super::StreamKey;
use crate::transfer::pace::PacketPace;
use crate::transport::Endpoint;

/// The streams that wait, each in one place.
#[derive(Default)]
pub(super) struct Waiting {
    /// Those that wait for their own peer to answer.
    by_peer: HashMap<Endpoint, Vec<StreamKey>>,
    /// Those that wait for any peer to answer, or any of their peer's subnet.
    pub(super) crowded: Vec<StreamKey>,
}

impl Waiting {
    /// Has a stream wait until there is room for its packets. It is not waiting yet.
    pub(super) fn add(&mut self, key: StreamKey, pace: &PacketPace) {
        if pace.is_full_of(&key.0) {
            self.by_peer.entry(key.0).or_default().push(key);
        } else {
            self.crowded.push(key);
        }
    }

    /// Takes out the streams that have room since a peer answered.
    pub(super) fn take_freed(&mut self, answered: &Endpoint, pace: &PacketPace) -> Vec<StreamKey> {
        let mut freed = self.by_peer.remove(answered).unwrap_or_default();
        freed.extend(self.crowded.extract_if(.., |key| pace.room_to(&key.0) > 0));
        freed
    }

    /// Forgets a stream that is gone.
    pub(super) fn remove(&mut self, key: &StreamKey) {
        self.crowded.retain(|other| other != key);
        if let Some(keys) = self.by_peer.get_mut(&key.0) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_peer.remove(&key.0);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_peer.is_empty() && self.crowded.is_empty()
    }
}
