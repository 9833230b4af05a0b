//! Changes applied to tries: the shape that each has afterwards, with every node on the way to a change in memory and nothing
//! hashed yet.

use alloy_primitives::B256;
use alloy_trie::EMPTY_ROOT_HASH;
use bytes::Bytes;

use super::TrieError;
use super::node::{Branch, Child, Leaf, Reference, WIDTH};
use super::path::{KEY_NIBBLES, TriePath, common_nibbles, nibble};
use super::record::{Record, decode};

/// Which trie is meant: the accounts', or the storage of one of them.
pub type TrieId = u64;

/// Where records of tries are read.
pub(crate) trait Records {
    /// The record that lies at `place`, if one does.
    fn record(&self, trie: TrieId, place: &TriePath) -> Result<Option<Bytes>, TrieError>;
}

/// A key and what it is to have; `None` takes it away.
pub(crate) type Change = (B256, Option<Bytes>);

/// Tries that are being changed.
pub(crate) struct Forest<'a, R> {
    records: &'a R,
    /// Branches that are new or other than before, and whose they are.
    pub(super) changed: Vec<(TrieId, Box<Branch>)>,
    /// Where there may be records without a branch.
    pub(super) left: Vec<(TrieId, TriePath)>,
    /// What each trie is now.
    pub(super) roots: Vec<(TrieId, Root)>,
}

/// What a trie is, seen from above.
#[derive(Debug)]
pub(super) enum Root {
    /// Nothing was changed.
    Same(B256),
    Other(Child),
}

impl<'a, R: Records> Forest<'a, R> {
    pub(crate) fn new(records: &'a R) -> Self {
        Self { records, changed: Vec::new(), left: Vec::new(), roots: Vec::new() }
    }

    /// Changes one trie, which must not have been changed before in this forest. The changes are sorted by their keys, each of
    /// which is there once; no value is empty.
    pub(crate) fn apply(&mut self, trie: TrieId, root: B256, changes: &[Change]) -> Result<(), TrieError> {
        let (child, is_changed) = match self.records.record(trie, &TriePath::ROOT)? {
            None if root != EMPTY_ROOT_HASH => return Err(TrieError::Missing { trie, path: TriePath::ROOT.nibbles() }),
            None => self.change_child(trie, TriePath::ROOT, Child::Empty, changes)?,
            Some(record) => match decode(TriePath::ROOT, record)? {
                Record::Leaf(leaf) => {
                    let changed = self.change_child(trie, TriePath::ROOT, Child::Leaf(leaf), changes)?;
                    if !matches!(changed.0, Child::Leaf(_)) {
                        self.left.push((trie, TriePath::ROOT));
                    }
                    changed
                }
                Record::Branch(branch) => self.change_branch(trie, branch, Some(Reference::Hash(root)), changes)?,
            },
        };
        self.roots.push((trie, if is_changed { Root::Other(child) } else { Root::Same(root) }));
        Ok(())
    }

    /// Changes what lies at `place`, and says whether it is another now.
    fn change_child(
        &mut self,
        trie: TrieId,
        place: TriePath,
        child: Child,
        changes: &[Change],
    ) -> Result<(Child, bool), TrieError> {
        if changes.is_empty() {
            return Ok((child, false));
        }
        match child {
            Child::Empty => {
                let leaves = inserted(changes);
                let is_changed = !leaves.is_empty();
                Ok((self.build(trie, place, leaves), is_changed))
            }
            Child::Leaf(leaf) => {
                let mut leaves = inserted(changes);
                match changes.binary_search_by_key(&leaf.key, |(key, _)| *key) {
                    // The leaf itself is overwritten or goes.
                    Ok(at) if changes[at].1.as_ref() != Some(&leaf.value) => {}
                    own => {
                        if own.is_ok() {
                            leaves.retain(|new| new.key != leaf.key);
                        }
                        if leaves.is_empty() {
                            return Ok((Child::Leaf(leaf), false));
                        }
                        let at = leaves.partition_point(|new| new.key < leaf.key);
                        leaves.insert(at, Leaf { reference: None, ..leaf });
                    }
                }
                Ok((self.build(trie, place, leaves), true))
            }
            Child::Stored(reference) => {
                let branch = self.branch_at(trie, place)?;
                self.change_branch(trie, branch, Some(reference), changes)
            }
            // Each trie is changed once.
            Child::Changed(_) => Err(TrieError::ChangedTwice),
        }
    }

    /// Changes a branch, and says whether it is another now. `reference` is how it has stood in its parent so far; without one
    /// it is another in any case.
    fn change_branch(
        &mut self,
        trie: TrieId,
        mut branch: Box<Branch>,
        reference: Option<Reference>,
        changes: &[Change],
    ) -> Result<(Child, bool), TrieError> {
        let end = branch.path.len();
        let inserts = changes.iter().filter(|(_, value)| value.is_some());
        let fork = inserts.map(|(key, _)| common_nibbles(key, branch.path.key())).min().unwrap_or(end);
        if fork < end {
            // A key leaves the extension on the way: there will be a branch above this one.
            let mut above = Box::new(Branch::new(branch.start, TriePath::of(branch.path.key(), fork)));
            let own_nibble = nibble(branch.path.key(), fork);
            branch.start = fork + 1;
            let mut own = Some(branch);
            for (group_nibble, group) in groups(changes, above.path) {
                let place = above.path.child(group_nibble);
                let (child, _) = match own.take_if(|_| group_nibble == own_nibble) {
                    Some(branch) => self.change_branch(trie, branch, None, group)?,
                    None => self.change_child(trie, place, Child::Empty, group)?,
                };
                above.children[usize::from(group_nibble)] = child;
            }
            if let Some(branch) = own {
                above.children[usize::from(own_nibble)] = self.push(trie, branch);
            }
            return Ok((self.close(trie, above)?, true));
        }
        let mut is_changed = reference.is_none();
        for (nibble, group) in groups(changes, branch.path) {
            let child = std::mem::take(&mut branch.children[usize::from(nibble)]);
            let (child, other) = self.change_child(trie, branch.path.child(nibble), child, group)?;
            branch.children[usize::from(nibble)] = child;
            is_changed |= other;
        }
        match reference {
            Some(reference) if !is_changed => Ok((Child::Stored(reference), false)),
            _ => Ok((self.close(trie, branch)?, true)),
        }
    }

    /// What becomes of a branch whose children have changed: with one child left it is none, with none nothing.
    fn close(&mut self, trie: TrieId, mut branch: Box<Branch>) -> Result<Child, TrieError> {
        let mut children = (0..WIDTH as u8).zip(&mut branch.children).filter(|(_, child)| **child != Child::Empty);
        let (first, second) = (children.next(), children.next());
        if second.is_some() {
            return Ok(self.push(trie, branch));
        }
        let only = first.map(|(nibble, child)| (nibble, std::mem::take(child)));
        let place = branch.place();
        let (nibble, child) = match only {
            None => {
                self.left.push((trie, place));
                return Ok(Child::Empty);
            }
            Some(only) => only,
        };
        let below = branch.path.child(nibble);
        match child {
            Child::Empty => Ok(Child::Empty),
            Child::Leaf(leaf) => {
                self.left.push((trie, place));
                Ok(Child::Leaf(Leaf { reference: None, ..leaf }))
            }
            // The branch below takes this one's place, with a longer extension.
            Child::Stored(_) => {
                let mut child = self.branch_at(trie, below)?;
                self.left.push((trie, below));
                child.start = branch.start;
                Ok(self.push(trie, child))
            }
            Child::Changed(at) => {
                self.left.push((trie, below));
                if let Some((_, child)) = self.changed.get_mut(at) {
                    child.start = branch.start;
                }
                Ok(Child::Changed(at))
            }
        }
    }

    /// What these leaves are when nothing else lies at `place`. They are sorted by their keys.
    fn build(&mut self, trie: TrieId, place: TriePath, mut leaves: Vec<Leaf>) -> Child {
        let (Some(first), Some(last)) = (leaves.first(), leaves.last()) else { return Child::Empty };
        if leaves.len() == 1 {
            return leaves.pop().map_or(Child::Empty, Child::Leaf);
        }
        // Keys differ, so that this is less than their length.
        let fork = common_nibbles(&first.key, &last.key).min(KEY_NIBBLES - 1);
        let mut branch = Box::new(Branch::new(place.len(), TriePath::of(&first.key, fork)));
        while let Some(last) = leaves.last() {
            let own_nibble = nibble(&last.key, fork);
            let from = leaves.partition_point(|leaf| nibble(&leaf.key, fork) < own_nibble);
            let group = leaves.split_off(from);
            branch.children[usize::from(own_nibble)] = self.build(trie, branch.path.child(own_nibble), group);
        }
        self.push(trie, branch)
    }

    fn push(&mut self, trie: TrieId, branch: Box<Branch>) -> Child {
        self.changed.push((trie, branch));
        Child::Changed(self.changed.len() - 1)
    }

    fn branch_at(&self, trie: TrieId, place: TriePath) -> Result<Box<Branch>, TrieError> {
        match self.records.record(trie, &place)?.map(|record| decode(place, record)).transpose()? {
            Some(Record::Branch(branch)) => Ok(branch),
            Some(Record::Leaf(_)) | None => Err(TrieError::Missing { trie, path: place.nibbles() }),
        }
    }
}

/// The leaves that changes bring, where nothing else is.
fn inserted(changes: &[Change]) -> Vec<Leaf> {
    let mut leaves = Vec::with_capacity(changes.len() + 1);
    leaves.extend(
        changes.iter().filter_map(|(key, value)| Some(Leaf { key: *key, value: value.clone()?, reference: None })),
    );
    leaves
}

/// The changes below `path`, by the nibble that follows on it.
fn groups(changes: &[Change], path: TriePath) -> impl Iterator<Item = (u8, &[Change])> {
    let len = path.len();
    // What a key elsewhere is to lose is not there.
    let from = changes.partition_point(|(key, _)| TriePath::of(key, len) < path);
    let below = &changes[from..];
    let below = &below[..below.partition_point(|(key, _)| TriePath::of(key, len) == path)];
    below.chunk_by(move |(a, _), (b, _)| nibble(a, len) == nibble(b, len)).filter_map(move |group| {
        let (key, _) = group.first()?;
        Some((nibble(key, len), group))
    })
}
