//! One end of a uTP stream.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cairn_limits::Permit;
use cairn_proto::limits::Direction;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::state::{StreamKey, StreamTable};
use super::{Room, Slot, TransferError};
use crate::transport::Contact;

/// How long a transfer may take to move [`PROGRESS_BYTES`]. Time-outs go by progress: how long the whole takes is no fault.
const PROGRESS_PERIOD: Duration = Duration::from_secs(15);

/// The least that a transfer has to move in a [`PROGRESS_PERIOD`], in bytes, so that nobody holds a slot with a byte a second.
const PROGRESS_BYTES: u64 = 16 << 10;

/// Largest chunk handed to a reader, in bytes.
pub(super) const MAX_CHUNK: usize = 64 << 10;

/// One end of a uTP stream. Dropping it before [`close`](Self::close) or [`finish`](Self::finish) resets the stream.
pub struct Stream {
    state: Arc<Mutex<StreamTable>>,
    key: StreamKey,
    peer: Contact,
    id: u16,
    /// The end of the current progress period, and what had moved at its start.
    period_end: Pin<Box<Sleep>>,
    moved_before: u64,
    in_order: bool,
    slot: Option<Slot>,
    room: Option<Arc<Permit>>,
    /// What tells that the stream lost its place in a limit to somebody else.
    lost: Vec<LostPlace>,
}

/// Comes when a permit is lost.
type LostPlace = Pin<Box<WaitForCancellationFutureOwned>>;

impl Stream {
    pub(super) fn new(
        state: Arc<Mutex<StreamTable>>,
        key: StreamKey,
        peer: Contact,
        id: u16,
        lost: Option<WaitForCancellationFutureOwned>,
    ) -> Self {
        let period_end = Box::pin(tokio::time::sleep(PROGRESS_PERIOD));
        let lost = lost.map(Box::pin).into_iter().collect();
        Self { state, key, peer, id, period_end, moved_before: 0, in_order: false, slot: None, room: None, lost }
    }

    /// The connection ID that both sides know the stream by.
    pub fn connection_id(&self) -> u16 {
        self.id
    }

    pub(super) fn peer(&self) -> &Contact {
        &self.peer
    }

    /// Waits until the peer has opened a stream that was announced to it.
    ///
    /// # Errors
    /// When it declines or does not open it in time.
    pub async fn opened(&mut self) -> Result<(), TransferError> {
        self.wait(|state, key, cx| state.opened(key, cx.waker())).await
    }

    /// Keeps a slot until the stream is dropped, or has moved too little while somebody else waited: then its calls fail.
    pub fn hold(&mut self, slot: Slot) {
        self.report_to(slot.permit(), slot.direction() == Direction::Outbound);
        self.slot = Some(slot);
    }

    /// Whether the slot may be lost for want of progress: not while the peer waits for this node.
    pub(crate) fn set_yielding(&self, yields: bool) {
        if let Some(slot) = &self.slot {
            slot.permit().set_yielding(yields);
        }
    }

    /// The peer kept its part: it is no newcomer any more.
    pub(crate) fn prove(&self) {
        if let Some(slot) = &self.slot {
            slot.permit().prove();
        }
    }

    /// Keeps room for what is to be sent, likewise.
    pub(super) fn hold_room(&mut self, room: Room) {
        if let Some(permit) = room.into_permit().map(Arc::new) {
            self.report_to(&permit, true);
            self.room = Some(permit);
        }
    }

    fn report_to(&mut self, permit: &Arc<Permit>, is_sent: bool) {
        self.with(|state, key| state.hold(key, permit.clone(), is_sent));
        self.lost.push(Box::pin(permit.revoked()));
    }

    /// The next bytes of the peer's stream; `None` is its end.
    ///
    /// # Errors
    /// When the stream broke, or moved too little for too long.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, TransferError> {
        self.wait(|state, key, cx| state.read(key, MAX_CHUNK, cx.waker())).await
    }

    /// Queues all of `data`, waiting for room as the peer takes it.
    ///
    /// # Errors
    /// As [`read_chunk`](Self::read_chunk).
    pub async fn write_all(&mut self, mut data: Bytes) -> Result<(), TransferError> {
        while !data.is_empty() {
            self.wait(|state, key, cx| state.write(key, &mut data, cx.waker())).await?;
        }
        Ok(())
    }

    /// Ends the stream and waits until the peer has acknowledged everything.
    ///
    /// # Errors
    /// As [`read_chunk`](Self::read_chunk).
    pub async fn finish(mut self) -> Result<(), TransferError> {
        self.with(|state, key| state.close(key, Instant::now().into_std()));
        self.wait(|state, key, cx| state.finished(key, cx.waker())).await?;
        self.in_order = true;
        self.prove();
        Ok(())
    }

    /// Gives up the stream when everything that matters has come: what the peer still sends is acknowledged and thrown
    /// away.
    pub fn close(mut self) {
        self.with(|state, key| state.close(key, Instant::now().into_std()));
        self.in_order = true;
    }

    fn with<T>(&self, f: impl FnOnce(&mut StreamTable, StreamKey) -> T) -> T {
        let mut state = self.state.lock();
        let result = f(&mut state, self.key);
        let wakers = state.take_wakers();
        drop(state);
        for waker in wakers {
            waker.wake();
        }
        result
    }

    /// Polls `f` until it is done or the stream stalls.
    async fn wait<T>(
        &mut self,
        mut f: impl FnMut(&mut StreamTable, StreamKey, &mut Context<'_>) -> Option<Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        poll_fn(|cx| match self.with(|state, key| f(state, key, cx)) {
            Some(result) => Poll::Ready(result),
            None => self.poll_given_up(cx).map(Err),
        })
        .await
    }

    fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<TransferError> {
        if self.lost.iter_mut().any(|lost| lost.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(TransferError::SlotLost);
        }
        self.poll_stalled(cx)
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<TransferError> {
        while self.period_end.as_mut().poll(cx).is_ready() {
            let moved = self.with(|state, key| state.moved(key));
            if moved.saturating_sub(self.moved_before) < PROGRESS_BYTES {
                return Poll::Ready(TransferError::Stalled);
            }
            self.moved_before = moved;
            self.period_end.as_mut().reset(Instant::now() + PROGRESS_PERIOD);
        }
        Poll::Pending
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let in_order = self.in_order;
        self.with(|state, key| state.release(key, in_order));
    }
}
