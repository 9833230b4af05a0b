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
use cairn_limits::ledger::USUAL_PATIENCE;
use cairn_limits::{Holder, Limiter, Permit, Quota};
use cairn_proto::limits::{Direction, TransferLimits};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::transport::{AlreadyRegistered, Contact, ProtocolId, Transport};
use room::StreamBudgets;
use slots::TransferSlots;
use state::{Role, StreamTable};

pub use error::TransferError;
pub(crate) use room::try_take as try_take_room;
pub use room::{MAX_UNVERIFIED, Room};
pub use slots::Slot;
pub use stream::Stream;

/// Packets that wait for the driver. What does not fit is lost, and repeated by the peer.
const PACKET_QUEUE: usize = 2048;

/// Streams that were announced and that the peer has not opened. It asks several peers at once and takes one stream, so some
/// are left; a Cairn peer declines them, others let them time out. Who opens none is the first to lose its places when others
/// want some.
const ANNOUNCED: Quota = Quota::new(1024).of_peer(64).of_newcomer(16).yields_after(USUAL_PATIENCE);

/// A stream that may be announced.
pub(crate) struct StreamAnnouncement(Permit);

/// The uTP streams of a node, shared by all its sub-networks. Cheap to clone.
#[derive(Clone)]
pub struct Transfers {
    state: Arc<Mutex<StreamTable>>,
    slots: TransferSlots,
    announced: Limiter,
    budgets: Arc<StreamBudgets>,
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
        let state = Arc::<Mutex<StreamTable>>::default();
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(driver::Driver::new(transport, state.clone(), packets, stopping.clone()));
        let (slots, announced) = (TransferSlots::new(limits), Limiter::new(ANNOUNCED));
        Ok(Self { state, slots, announced, budgets: Arc::default(), stopping, tasks })
    }

    /// Takes a slot for a transfer with `peer`, waiting until one is free.
    ///
    /// # Errors
    /// When there are none for any peer.
    pub async fn slot(&self, direction: Direction, peer: &Contact) -> Result<Slot, TransferError> {
        self.slots.take(direction, peer).await.map_err(|_| TransferError::NoSlot)
    }

    /// Takes a slot for a transfer with `peer` if one is free within `patience`.
    ///
    /// # Errors
    /// When none is.
    pub async fn slot_within(
        &self,
        direction: Direction,
        peer: &Contact,
        patience: Duration,
    ) -> Result<Slot, TransferError> {
        self.slots.take_within(direction, peer, patience).await.map_err(|_| TransferError::NoSlot)
    }

    /// Takes a slot for a transfer with somebody if one is free now.
    ///
    /// # Errors
    /// When none is.
    pub fn try_slot(&self, direction: Direction, holder: Holder) -> Result<Slot, TransferError> {
        self.slots.try_take(direction, holder).map_err(|_| TransferError::NoSlot)
    }

    /// Transfers that hold a slot.
    pub fn running(&self, direction: Direction) -> usize {
        self.slots.of(direction).total() as usize
    }

    /// Whether a peer has kept its part of a transfer in this direction.
    pub(crate) fn is_proved(&self, direction: Direction, holder: &Holder) -> bool {
        self.slots.of(direction).is_proved(holder)
    }

    /// Draws a connection ID for `peer` and waits for its SYN: announce [`Stream::connection_id`] to the peer after this.
    /// What is written meanwhile leaves as soon as the SYN is there. The slot is held until the stream is dropped.
    ///
    /// # Errors
    /// After a shutdown.
    pub fn accept(&self, peer: &Contact, slot: Slot) -> Result<Stream, TransferError> {
        self.open(peer, Role::Offered, Some(slot))
    }

    /// Draws a connection ID for a stream that the peer may well not open, since it asks others too. Such a stream has no
    /// slot: await [`Stream::opened`], then give it one by [`Stream::hold`].
    ///
    /// # Errors
    /// When too many streams wait to be opened, or after a shutdown.
    pub fn announce(&self, peer: &Contact) -> Result<Stream, TransferError> {
        let permit = self.announced.try_take(peer.holder(), 1).map_err(|_| TransferError::TooManyUnopened)?;
        self.announce_with(StreamAnnouncement(permit), peer)
    }

    /// Waits until a stream could be announced to a peer and a slot be had for it, for `patience` at most. The slot is not
    /// taken: the peer may not open the stream.
    pub(crate) async fn announcement_within(
        &self,
        peer: &Contact,
        patience: Duration,
    ) -> Result<StreamAnnouncement, TransferError> {
        let end = tokio::time::Instant::now() + patience;
        let permit = self.announced.take_within(peer.holder(), 1, patience).await;
        let permit = permit.map_err(|_| TransferError::TooManyUnopened)?;
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        let is_free = self.slots.of(Direction::Outbound).available_within(peer.holder(), 1, left).await;
        is_free.map(|()| StreamAnnouncement(permit)).map_err(|_| TransferError::NoSlot)
    }

    /// Announces a stream to the peer that the announcement was taken for.
    pub(crate) fn announce_with(
        &self,
        announcement: StreamAnnouncement,
        peer: &Contact,
    ) -> Result<Stream, TransferError> {
        self.open(peer, Role::Announced(announcement.0), None)
    }

    /// A peer took a whole value: it is no newcomer any more among those who are announced something.
    pub(crate) fn prove(&self, peer: &Contact) {
        self.announced.prove(peer.holder());
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

    /// The next bytes of a stream whose content is not verified; `None` is its end. The room that they take is added to
    /// `held`. Room is taken before the bytes are waited for, so that what has been read always has some. May be given up and
    /// called again, which begins the wait for room anew.
    ///
    /// # Errors
    /// As [`Stream::read_chunk`], when there was no room for too long, and when what is held was lost to somebody else because
    /// nothing came.
    pub async fn receive(
        &self,
        direction: Direction,
        stream: &mut Stream,
        held: &mut Room,
    ) -> Result<Option<Bytes>, TransferError> {
        let mut room = match self.budgets.try_take(direction, stream.peer(), stream::MAX_CHUNK) {
            Some(room) => room,
            None => {
                stream.set_yielding(false);
                self.budgets.take(direction, stream.peer(), stream::MAX_CHUNK).await?
            }
        };
        // Here, and not behind the wait alone: who gave that up found room at once the next time.
        stream.set_yielding(true);
        let chunk = tokio::select! {
            biased;
            chunk = stream.read_chunk() => chunk?,
            () = held.revoked() => return Err(TransferError::SlotLost),
        };
        let Some(chunk) = chunk else { return Ok(None) };
        // However fast bytes come: what is lost counts for nobody, so nothing may be added to it.
        if held.is_lost() {
            return Err(TransferError::SlotLost);
        }
        held.join(room.split_off(chunk.len()));
        held.progress(chunk.len());
        Ok(Some(chunk))
    }

    /// Takes room for a value that is to be sent on a stream, which keeps it. A peer that does not take the value loses it, and
    /// the stream with it, when somebody else wants some.
    ///
    /// # Errors
    /// When there was none for too long.
    pub(crate) async fn room_to_send(&self, stream: &mut Stream, bytes: usize) -> Result<(), TransferError> {
        let room = self.budgets.take(Direction::Outbound, stream.peer(), bytes).await?;
        stream.hold_room(room);
        Ok(())
    }

    fn open(&self, peer: &Contact, role: Role, slot: Option<Slot>) -> Result<Stream, TransferError> {
        let now = tokio::time::Instant::now().into_std();
        let lost = match &role {
            Role::Announced(permit) => Some(permit.revoked()),
            Role::Opener(_) | Role::Offered => None,
        };
        let (key, id) = self.change(|state| state.open(peer.clone(), role, now))?;
        let mut stream = Stream::new(self.state.clone(), key, peer.clone(), id, lost);
        if let Some(slot) = slot {
            stream.hold(slot);
        }
        Ok(stream)
    }

    fn change<T>(&self, f: impl FnOnce(&mut StreamTable) -> T) -> T {
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
