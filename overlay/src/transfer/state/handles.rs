//! What a stream's handle does to it: the calls of tasks, which leave their waker where they have to wait.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use cairn_limits::Permit;
use cairn_utp::CloseReason;

use super::{MAX_LINGERING, StreamEntry, StreamKey, StreamPermits, StreamTable};
use crate::transfer::TransferError;

impl StreamTable {
    /// Whether the peer has opened the stream that was announced to it, or the waker left.
    pub(in crate::transfer) fn opened(&mut self, key: StreamKey, waker: &Waker) -> Option<Result<(), TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.closed {
            Some(reason) => Some(Err(TransferError::Closed(reason))),
            None if entry.unopened => {
                entry.reader = Some(waker.clone());
                None
            }
            None => Some(Ok(())),
        }
    }

    /// Reads the next chunk of at most `max` bytes, or leaves the waker.
    pub(in crate::transfer) fn read(
        &mut self,
        key: StreamKey,
        max: usize,
        waker: &Waker,
    ) -> Option<Result<Option<Bytes>, TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.connection.read_chunk(max) {
            Ok(chunk) => {
                // The window may have opened: the driver tells the peer.
                self.touch(key);
                Some(Ok(chunk))
            }
            Err(cairn_utp::ReadError::Blocked) => {
                entry.reader = Some(waker.clone());
                None
            }
            Err(cairn_utp::ReadError::Closed(reason)) => Some(Err(TransferError::Closed(reason))),
        }
    }

    /// Writes from the front of `data`. `None`, with the waker left, when there is no room.
    pub(in crate::transfer) fn write(
        &mut self,
        key: StreamKey,
        data: &mut Bytes,
        waker: &Waker,
    ) -> Option<Result<(), TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.connection.write_chunk(data) {
            Ok(_) => {
                self.touch(key);
                Some(Ok(()))
            }
            Err(cairn_utp::WriteError::Blocked) => {
                entry.writer = Some(waker.clone());
                None
            }
            Err(cairn_utp::WriteError::Closed(reason)) => Some(Err(TransferError::Closed(reason))),
            Err(cairn_utp::WriteError::Finished) => Some(Err(TransferError::Closed(CloseReason::Finished))),
        }
    }

    /// Ends this side's stream and gives up on the peer's.
    pub(in crate::transfer) fn close(&mut self, key: StreamKey, now: Instant) {
        if let Some(entry) = self.streams.get_mut(&key) {
            entry.connection.close(now);
            self.touch(key);
        }
    }

    /// Whether everything up to our FIN was acknowledged, or the waker left.
    pub(in crate::transfer) fn finished(&mut self, key: StreamKey, waker: &Waker) -> Option<Result<(), TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.closed {
            _ if entry.finished => Some(Ok(())),
            Some(CloseReason::Finished) => Some(Ok(())),
            Some(reason) => Some(Err(TransferError::Closed(reason))),
            None => {
                entry.writer = Some(waker.clone());
                None
            }
        }
    }

    /// Payload bytes moved so far, in the direction that the stream is for.
    pub(in crate::transfer) fn moved(&self, key: StreamKey) -> u64 {
        self.streams.get(&key).map_or(0, StreamEntry::moved)
    }

    /// From now on what moves is reported to `permit` too.
    pub(in crate::transfer) fn hold(&mut self, key: StreamKey, permit: Arc<Permit>, is_sent: bool) {
        if let Some(entry) = self.streams.get_mut(&key) {
            entry.held.is_sent = is_sent;
            entry.held.reported = entry.moved();
            entry.held.permits.push(permit);
            entry.announced = None;
        }
    }

    /// The handle is gone: what was closed in order may linger until the peer knows, anything else is reset.
    pub(in crate::transfer) fn release(&mut self, key: StreamKey, in_order: bool) {
        let Some(entry) = self.streams.get_mut(&key) else { return };
        entry.lingering = true;
        entry.reader = None;
        entry.writer = None;
        // The handle gives them back: who only lingers moves nothing more.
        entry.held = StreamPermits::default();
        entry.announced = None;
        if entry.closed.is_some() && !entry.queued && !entry.waiting {
            self.remove(key);
            return;
        }
        if !in_order {
            entry.connection.reset();
        }
        self.touch(key);
        self.lingering.retain(|key| self.streams.contains_key(key));
        self.lingering.push_back(key);
        if self.lingering.len() > MAX_LINGERING
            && let Some(oldest) = self.lingering.pop_front()
            // The key may have been taken anew by a stream that is in use.
            && self.streams.get(&oldest).is_some_and(|entry| entry.lingering)
        {
            self.remove(oldest);
        }
    }
}
