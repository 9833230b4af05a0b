//! uTP streams over TALKREQ (portal-network-specs, `utp/discv5-utp.md`).
//!
//! [`Transfers`] hands out [`Stream`]s. The connections live behind one lock (`state`); one task, the `driver`, feeds them
//! packets and time, and sends what they have to send: in order, without waiting for the TALKRESP to one packet before the
//! next leaves, and never with more than a fixed number unanswered.

mod driver;
mod error;
mod pace;
mod room;
mod slots;
mod state;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::limits::{Direction, TransferLimits};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::transport::{AlreadyRegistered, Contact, ProtocolId, Transport};
use room::Budgets;
use slots::Slots;
use state::{Role, State};

pub use error::TransferError;
pub(crate) use room::Budget;
pub use room::{MAX_UNVERIFIED, Room};
pub use slots::Slot;
pub use stream::Stream;

/// Packets that wait for the driver. What does not fit is lost, and repeated by the peer.
const PACKET_QUEUE: usize = 2048;

/// The uTP streams of a node, shared by all its sub-networks. Cheap to clone.
#[derive(Clone)]
pub struct Transfers {
    state: Arc<Mutex<State>>,
    slots: Slots,
    budgets: Arc<Budgets>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Transfers {
    /// Starts the driver on the current tokio runtime, with the default limits.
    ///
    /// # Errors
    /// When the `utp` protocol is taken on this transport.
    pub fn start(transport: Arc<dyn Transport>) -> Result<Self, AlreadyRegistered> {
        Self::with_limits(transport, TransferLimits::default())
    }

    /// Starts the driver on the current tokio runtime.
    ///
    /// # Errors
    /// When the `utp` protocol is taken on this transport.
    pub fn with_limits(transport: Arc<dyn Transport>, limits: TransferLimits) -> Result<Self, AlreadyRegistered> {
        let packets = transport.register(ProtocolId::UTP, PACKET_QUEUE)?;
        let state = Arc::<Mutex<State>>::default();
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(driver::Driver::new(transport, state.clone(), packets, stopping.clone()));
        Ok(Self { state, slots: Slots::new(limits), budgets: Arc::default(), stopping, tasks })
    }

    /// Takes a slot for a transfer with `peer`, waiting until one is free.
    pub async fn slot(&self, direction: Direction, peer: &Contact) -> Slot {
        self.slots.take(direction, peer).await
    }

    /// Takes a slot for a transfer with `peer` if one is free within `patience`.
    pub async fn slot_within(&self, direction: Direction, peer: &Contact, patience: Duration) -> Option<Slot> {
        self.slots.take_within(direction, peer, patience).await
    }

    /// Waits until a transfer with `peer` could start, for `patience` at most; whether one could.
    pub async fn has_slot_within(&self, direction: Direction, peer: &Contact, patience: Duration) -> bool {
        self.slots.is_free_within(direction, peer, patience).await
    }

    /// The slots, for a decision that takes one by itself.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Transfers that hold a slot.
    pub fn running(&self, direction: Direction) -> usize {
        self.slots.running(direction)
    }

    /// Draws a connection ID for `peer` and waits for its SYN: announce [`Stream::connection_id`] to the peer after this.
    /// What is written meanwhile leaves as soon as the SYN is there. The slot is held until the stream is dropped.
    ///
    /// # Errors
    /// After a shutdown.
    pub fn accept(&self, peer: &Contact, slot: Slot) -> Result<Stream, TransferError> {
        self.open(peer, Role::Acceptor { has_slot: true }, Some(slot))
    }

    /// The same without a slot, for a stream that the peer may well not open: it asks others too. Await
    /// [`Stream::opened`], then give it a slot by [`Stream::hold`].
    ///
    /// # Errors
    /// When too many streams wait to be opened, or after a shutdown.
    pub fn announce(&self, peer: &Contact) -> Result<Stream, TransferError> {
        self.open(peer, Role::Acceptor { has_slot: false }, None)
    }

    /// Tells `peer` that the stream that it announced with this connection ID will not be opened, so that it need not wait.
    pub fn decline(&self, peer: &Contact, connection_id: u16) {
        self.change(|state| state.decline(peer.clone(), connection_id));
    }

    /// Opens the stream that `peer` announced with this connection ID. May be written to at once. The slot is held until
    /// the stream is dropped.
    ///
    /// # Errors
    /// When the peer announced the ID before, or after a shutdown.
    pub fn connect(&self, peer: &Contact, connection_id: u16, slot: Slot) -> Result<Stream, TransferError> {
        self.open(peer, Role::Opener(connection_id), Some(slot))
    }

    /// The next bytes of a stream whose content is not verified, with the room that they take; `None` is its end. Room is
    /// taken before the bytes are waited for, so that what has been read always has some. May be given up and called again,
    /// which begins the wait for room anew.
    ///
    /// # Errors
    /// As [`Stream::read_chunk`], and when there was no room for too long.
    pub async fn receive(
        &self,
        direction: Direction,
        stream: &mut Stream,
    ) -> Result<Option<(Bytes, Room)>, TransferError> {
        let mut room = self.budgets.of(direction).take(stream.peer(), stream::MAX_CHUNK).await?;
        let Some(chunk) = stream.read_chunk().await? else { return Ok(None) };
        let taken = room.split_off(chunk.len());
        Ok(Some((chunk, taken)))
    }

    /// Room for a value that is to be sent, to be kept until it was.
    ///
    /// # Errors
    /// When there was none for too long.
    pub(crate) async fn room_to_send(&self, to: &Contact, bytes: usize) -> Result<Room, TransferError> {
        self.budgets.of(Direction::Outbound).take(to, bytes).await
    }

    fn open(&self, peer: &Contact, role: Role, slot: Option<Slot>) -> Result<Stream, TransferError> {
        let now = tokio::time::Instant::now().into_std();
        let (key, id) = self.change(|state| state.open(peer.clone(), role, now))?;
        Ok(Stream::new(self.state.clone(), key, peer.clone(), id, slot))
    }

    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = f(&mut state);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(std::task::Waker::wake);
        result
    }

    /// Resets all streams and returns when the driver has ended.
    pub async fn shutdown(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
