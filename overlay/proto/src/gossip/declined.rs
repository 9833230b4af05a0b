//! Who declined which content a moment ago.

use std::time::{Duration, Instant};

use content_types::{ContentId, NodeId};

use crate::{expiring::ExpiringMap, wire::AcceptCode};

/// How long a decline is heeded.
pub const DECLINE_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// Most declines remembered.
pub const MAX_DECLINES: usize = 4096;

/// Declines that will not change soon: the peer has the content, or does not want it. "No room" and "being taken from
/// another" are not remembered: both may end in a second.
#[derive(Debug)]
pub struct DeclinedOffers {
    declines: ExpiringMap<(NodeId, ContentId), ()>,
}

impl Default for DeclinedOffers {
    fn default() -> Self {
        Self { declines: ExpiringMap::new(DECLINE_LIFETIME, MAX_DECLINES) }
    }
}

impl DeclinedOffers {
    /// A peer answered an offer of `content` with `code`.
    pub fn handle_answer(&mut self, peer: NodeId, content: ContentId, code: AcceptCode, now: Instant) {
        match code {
            AcceptCode::AlreadyStored | AcceptCode::OutsideRadius | AcceptCode::NotVerifiable => {
                self.declines.insert((peer, content), (), now);
            }
            AcceptCode::Accepted
            | AcceptCode::Declined
            | AcceptCode::RateLimited
            | AcceptCode::InboundKeyLimited
            | AcceptCode::Unspecified(_) => {}
        }
    }

    /// All of `content` reached the peer: it has it now.
    pub fn handle_delivered(&mut self, peer: NodeId, content: ContentId, now: Instant) {
        self.declines.insert((peer, content), (), now);
    }

    /// Whether an offer of `content` to the peer is worth a message.
    pub fn may_offer(&self, peer: &NodeId, content: &ContentId, now: Instant) -> bool {
        self.declines.get(&(*peer, *content), now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_declines_are_heeded_and_not_for_ever() {
        let now = Instant::now();
        let peer = NodeId::from([1; 32]);
        for byte in 0..=u8::MAX {
            let code = AcceptCode::from(byte);
            let content = ContentId::from([byte; 32]);
            let mut declined = DeclinedOffers::default();
            declined.handle_answer(peer, content, code, now);
            let lasting = [2, 3, 6].contains(&byte);
            assert_eq!(declined.may_offer(&peer, &content, now), !lasting, "{code:?}");
            assert!(declined.may_offer(&NodeId::from([2; 32]), &content, now));
            assert!(declined.may_offer(&peer, &content, now + DECLINE_LIFETIME));
        }
    }
}
