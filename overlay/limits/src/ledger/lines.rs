//! Who waits, each in a line of its own: what a decision costs grows with those who wait, and hardly with how often each asks.

use std::collections::{BTreeMap, HashMap};

use super::WaiterId;
use crate::holder::Holder;

/// A request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) holder: Holder,
    pub(super) amount: u64,
}

/// The lines. None is empty.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<Holder, BTreeMap<WaiterId, u64>>);

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, Waiter { id, holder, amount }: Waiter) {
        self.0.entry(holder).or_default().insert(id, amount);
    }

    pub(super) fn remove(&mut self, holder: &Holder, id: WaiterId) {
        if let Some(line) = self.0.get_mut(holder) {
            line.remove(&id);
            if line.is_empty() {
                self.0.remove(holder);
            }
        }
    }

    /// Of each line the first that wants no more than `room` says that its holder has left of its own, and true; or, if there is
    /// none, the first and false.
    pub(super) fn firsts(&self, room: impl Fn(&Holder) -> u64) -> impl Iterator<Item = (Waiter, bool)> {
        self.0.iter().filter_map(move |(holder, line)| {
            let room = room(holder);
            let fitting = line.iter().find(|(_, amount)| **amount <= room);
            let (id, amount) = fitting.or_else(|| line.first_key_value())?;
            Some((Waiter { id: *id, holder: *holder, amount: *amount }, fitting.is_some()))
        })
    }
}
