//! Others that peers are told of, so that who knows one peer soon knows more. Whose records they are is for the node to say, which
//! can read them.

use std::sync::Arc;

use super::Swarm;
use crate::wire::MAX_PEERS;

impl Swarm {
    /// From now on peers are told of the nodes with these records, RLP: of the first [`MAX_PEERS`], when they change, once a minute at
    /// most.
    pub fn tell_of_peers(&self, mut records: Vec<Vec<u8>>) {
        records.truncate(MAX_PEERS);
        self.inner.told_peers.send_if_modified(|told| {
            let is_new = **told != records;
            if is_new {
                *told = Arc::new(records);
            }
            is_new
        });
    }
}
