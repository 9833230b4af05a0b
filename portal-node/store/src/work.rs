//! What is to be committed, what became of it, and who waits for that.

use std::sync::Arc;

use content_types::{ContentId, SubNetwork};
use parking_lot::Mutex;

use crate::{
    error::StoreError,
    index::RecordLocation,
    record::{Item, Place},
};

/// What became of an item that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// It is stored, and safe from a crash.
    Stored,
    /// The same value was there before.
    AlreadyStored,
    /// It lies outside the radius, or just fell out of it because the budget is used up by what is nearer.
    OutsideRadius,
    /// It alone is larger than the sub-network's budget.
    OverBudget,
}

/// What is to be committed together.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) puts: Vec<Item>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) moves: Vec<Move>,
    /// Dead records that have to be declared dead again, because the record that did so is about to be deleted.
    pub(crate) dead_again: Vec<Place>,
    /// Whether radii may grow.
    pub(crate) grow: bool,
}

impl Work {
    /// Bytes of values to be written.
    pub(crate) fn bytes(&self) -> u64 {
        self.puts.iter().chain(self.moves.iter().map(|moved| &moved.item)).map(Item::record_len).sum()
    }

    /// Takes in what is to be done besides.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { puts, removals, moves, dead_again, grow } = other;
        self.puts.extend(puts);
        self.removals.extend(removals);
        self.moves.extend(moves);
        self.dead_again.extend(dead_again);
        self.grow |= grow;
    }
}

/// An item to be forgotten; with a location only if it still lies there.
pub(crate) struct Removal {
    pub(crate) network: SubNetwork,
    pub(crate) id: ContentId,
    pub(crate) location: Option<RecordLocation>,
}

/// An item to be rewritten, if it still lies where it was read.
pub(crate) struct Move {
    pub(crate) item: Item,
    pub(crate) from: RecordLocation,
}

/// Something that waits for its commit.
pub(crate) struct Ticket {
    pub(crate) work: Mutex<Work>,
    pub(crate) bytes: u64,
    pub(crate) has_puts: bool,
    pub(crate) answer: Mutex<Option<Result<Vec<Placement>, StoreError>>>,
}

impl Ticket {
    pub(crate) fn new(work: Work) -> Arc<Self> {
        let (bytes, has_puts) = (work.bytes(), !work.puts.is_empty());
        Arc::new(Self { work: Mutex::new(work), bytes, has_puts, answer: Mutex::new(None) })
    }
}
