//! Reads of the state that are under way: which way down a trie each is on, so that a peer that is asked for a node can give those
//! behind it in the same answer.
//!
//! A lookup knows a key and nothing else. What is noted here tells it more, and takes what comes beyond what was looked up.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use content_types::NodeId;
use content_types::state::{ContentKey, Way};
use parking_lot::Mutex;

/// Nodes that came from a peer behind the one that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodesBehind {
    pub(crate) from: NodeId,
    /// In the order of the way, each linked to the one before.
    pub(crate) nodes: Vec<Bytes>,
}

/// Each way, and what has come of it, by the node that is looked up.
type WaysByNode = HashMap<ContentKey, (Way, Option<NodesBehind>)>;

/// The ways that are being gone. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrieWays(Arc<Mutex<WaysByNode>>);

/// A way that is noted until this is dropped.
#[derive(Debug)]
pub(crate) struct NotedWay<'a> {
    ways: &'a TrieWays,
    key: ContentKey,
}

impl TrieWays {
    /// Notes a way. `None` if another read looks up the same node: what that one is given leads elsewhere.
    pub(crate) fn note(&self, way: Way) -> Option<NotedWay<'_>> {
        let (mut noted, key) = (self.0.lock(), way.next());
        if noted.contains_key(&key) {
            return None;
        }
        noted.insert(key, (way, None));
        Some(NotedWay { ways: self, key })
    }

    /// The way on which this node is looked up, if it is on one.
    pub(super) fn of(&self, key: &ContentKey) -> Option<Way> {
        self.0.lock().get(key).map(|(way, _)| *way)
    }

    /// Nodes came from a peer, the one that was asked for and those behind it. Returns the first one if it is that, and whether all of
    /// them were what they had to be; what was not is forgotten.
    pub(super) fn handle_nodes(&self, mut way: Way, from: NodeId, nodes: Vec<Bytes>) -> (Option<Bytes>, bool) {
        let (asked, came) = (way, nodes.len());
        let (mut linked, mut goes_on) = (Vec::new(), true);
        for node in nodes {
            match way.handle_node(&node) {
                Ok(next) if goes_on => goes_on = next,
                _ => break,
            }
            linked.push(node);
        }
        let is_right = linked.len() == came;
        (self.keep(asked, from, linked), is_right)
    }

    /// The same of nodes that are linked: returns the first one, and keeps the others for who noted the way.
    pub(super) fn keep(&self, asked: Way, from: NodeId, mut linked: Vec<Bytes>) -> Option<Bytes> {
        if linked.is_empty() {
            return None;
        }
        let (key, behind) = (asked.next(), linked.split_off(1));
        // An answer may be late: by then another read may look up the same node, on its way to somewhere else.
        if let Some((noted, before)) = self.0.lock().get_mut(&key)
            && *noted == asked
            && before.as_ref().map_or(0, |before| before.nodes.len()) < behind.len()
        {
            *before = Some(NodesBehind { from, nodes: behind });
        }
        linked.pop()
    }
}

impl NotedWay<'_> {
    /// What came behind the node, if anything did.
    pub(crate) fn take(&self) -> Option<NodesBehind> {
        self.ways.0.lock().get_mut(&self.key).and_then(|(_, behind)| behind.take())
    }
}

impl Drop for NotedWay<'_> {
    fn drop(&mut self) {
        self.ways.0.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use cairn_synthetic::{SyntheticChain, SyntheticConfig};
    use content_types::state::{Part, StateRead};

    use super::*;

    #[test]
    fn what_is_linked_is_kept_for_who_noted_the_way_and_the_rest_is_nothing() {
        let chain = SyntheticChain::new(SyntheticConfig { accounts: 200, ..SyntheticConfig::small() }).unwrap();
        let state = chain.state(3);
        let address = state.accounts()[0].address;
        let read = StateRead::new(state.root(), &address, Part::Account);
        let way = read.way().unwrap();
        let nodes = state.account_proof(&address);
        assert!(nodes.len() > 2);

        let (ways, peer) = (TrieWays::default(), NodeId::from([7; 32]));
        let noted = ways.note(way).unwrap();
        assert!(ways.note(way).is_none(), "one at a time");
        assert_eq!(ways.of(&way.next()), Some(way));
        let (first, is_right) = ways.handle_nodes(way, peer, nodes.clone());
        assert!(is_right && first.as_ref() == Some(&nodes[0]));
        // Fewer take nothing away, nor does what is none.
        assert_eq!(ways.handle_nodes(way, peer, nodes[..2].to_vec()), (first.clone(), true));
        let wrong = [&nodes[..2], &nodes[..1], &nodes[2..]].concat();
        assert_eq!(ways.handle_nodes(way, peer, wrong), (first, false));
        let beyond = [&nodes[..], &nodes[..1]].concat();
        assert!(!ways.handle_nodes(way, peer, beyond).1, "behind the end there is nothing");
        assert_eq!(ways.handle_nodes(way, peer, nodes[1..].to_vec()), (None, false));
        assert_eq!(ways.handle_nodes(way, peer, Vec::new()), (None, true));
        assert_eq!(noted.take(), Some(NodesBehind { from: peer, nodes: nodes[1..].to_vec() }));
        assert_eq!(noted.take(), None);
        drop(noted);
        // An answer that is late is none to a read of something else that begins at the same node.
        let elsewhere = StateRead::new(state.root(), &state.accounts()[1].address, Part::Account).way().unwrap();
        assert_eq!((elsewhere.next(), elsewhere == way), (way.next(), false));
        let noted = ways.note(elsewhere).unwrap();
        assert_eq!(ways.handle_nodes(way, peer, nodes.clone()), (Some(nodes[0].clone()), true));
        assert_eq!(noted.take(), None);
        drop(noted);
        assert_eq!(ways.of(&way.next()), None);
    }
}
