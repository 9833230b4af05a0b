//! One request of a download: asks, and hands on what comes as it comes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_limits::{Holder, Limiter, Permit};
use quinn::{RecvStream, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Session, Swarm};
use crate::{
    download::{End, RequestId},
    geometry::Part,
    wire::{AnswerHead, AnswerStatus, Claim, Encoding, Encodings, FrameReader, SwarmRequest},
};

/// Chunks that are taken from QUIC at once.
const CHUNKS: usize = 64;

/// The code of a stream that nobody waits for any more.
const CANCELLED: VarInt = VarInt::from_u32(2);

/// A request that has not even been sent after so long is given up.
const OPEN_TIME: Duration = Duration::from_secs(10);

/// Steps in which room is taken for items that are not whole, in bytes.
const ROOM_STEP: u64 = 64 << 10;

/// An item as it came, unchecked. It takes up room until it is dropped.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) number: u64,
    pub(super) encoding: Encoding,
    pub(super) bytes: Bytes,
    /// Shared by what arrived together.
    pub(super) _room: Arc<OwnedSemaphorePermit>,
}

/// What a request tells.
#[derive(Debug)]
pub(super) enum Told {
    /// Bytes came, and items became whole.
    Arrived { id: RequestId, bytes: u64, items: Vec<Arrived> },
    /// It ended.
    Ended { id: RequestId, end: End },
}

pub(super) struct PartRequest {
    pub(super) id: RequestId,
    pub(super) part: Part,
    pub(super) session: Arc<Session>,
    pub(super) swarm: Swarm,
    pub(super) tell: mpsc::Sender<Told>,
    pub(super) buffer: Arc<Semaphore>,
    pub(super) buffer_bytes: usize,
    /// Room for items that are not whole.
    pub(super) partial: Limiter,
    pub(super) cancel: CancellationToken,
}

impl PartRequest {
    /// Until it ends or is cancelled.
    pub(super) async fn run(self) {
        let mut stream = None;
        let end = tokio::select! {
            end = self.fetch(&mut stream) => end,
            () = self.cancel.cancelled() => {
                if let Some(stream) = &mut stream {
                    let _ = stream.stop(CANCELLED);
                }
                return;
            }
        };
        if end != End::Closed
            && let Some(stream) = &mut stream
        {
            let _ = stream.stop(CANCELLED);
        }
        let _ = self.tell.send(Told::Ended { id: self.id, end }).await;
    }

    async fn fetch(&self, stream: &mut Option<RecvStream>) -> End {
        let opened = tokio::time::timeout(OPEN_TIME, self.open()).await;
        let Some(receive) = opened.ok().flatten() else { return End::Broken };
        let receive = stream.insert(receive);
        let mut head = [0; 2];
        if receive.read_exact(&mut head).await.is_err() {
            return End::Broken;
        }
        let Some(head) = AnswerHead::decode(head) else { return End::Broken };
        match head.status {
            AnswerStatus::Ok => self.items(receive, head.encoding).await,
            AnswerStatus::Choked => End::Choked,
            AnswerStatus::NotHeld => End::NotHeld,
            AnswerStatus::Busy => End::Busy,
            AnswerStatus::BadRequest => End::Broken,
        }
    }

    async fn open(&self) -> Option<RecvStream> {
        let (mut send, receive) = self.session.connection().open_bi().await.ok()?;
        send.write_all(&SwarmRequest::Part(self.part, Encodings::ALL).encode()).await.ok()?;
        send.finish().ok()?;
        Some(receive)
    }

    /// Waits until there is room for items. All of it is taken at once: who held some and waited for more could wait for one
    /// who does the same.
    async fn with_room(&self, whole: Vec<(u64, Bytes)>, encoding: Encoding) -> Vec<Arrived> {
        let bytes: usize = whole.iter().map(|(_, item)| item.len()).sum();
        let bytes = u32::try_from(bytes.min(self.buffer_bytes)).unwrap_or(u32::MAX);
        // It is closed when the download is over.
        let Ok(room) = Arc::clone(&self.buffer).acquire_many_owned(bytes).await else { return Vec::new() };
        let room = Arc::new(room);
        let arrived = |(number, bytes)| Arrived { number, encoding, bytes, _room: Arc::clone(&room) };
        whole.into_iter().map(arrived).collect()
    }

    /// Takes or gives back room for what has come of an item that is not whole. `None`: this request made so little progress
    /// that another has got its room. That is charged to nobody: others are only faster.
    async fn hold(&self, holder: Holder, room: &mut Option<Permit>, pending: usize) -> Option<()> {
        let wanted = (pending as u64).div_ceil(ROOM_STEP) * ROOM_STEP;
        let held = room.as_ref().map_or(0, Permit::amount);
        if room.as_ref().is_some_and(Permit::is_revoked) {
            return None;
        }
        if wanted > held {
            // What is read on meanwhile stays with its sender.
            let taking = self.partial.take(holder, wanted - held);
            match room {
                Some(room) => {
                    let more = tokio::select! {
                        more = taking => more.ok()?,
                        () = room.revoked() => return None,
                    };
                    room.join(more).then_some(())?;
                }
                None => *room = Some(taking.await.ok()?),
            }
        } else if wanted == 0 {
            *room = None;
        } else if let Some(room) = room {
            room.shrink(wanted);
        }
        Some(())
    }

    async fn items(&self, receive: &mut RecvStream, encoding: Encoding) -> End {
        let holder = self.session.holder();
        let mut room: Option<Permit> = None;
        let mut frames = FrameReader::new(encoding.max_item_len(self.part.component));
        let mut numbers = self.part.blocks();
        // Whether the item that has begun was seen to begin as one can. It is looked at once only.
        let mut is_possible = false;
        let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
        loop {
            if let Some(room) = &room {
                room.set_yielding(true);
            }
            let reading = receive.read_chunks(&mut chunks);
            let read = match &room {
                Some(room) => tokio::select! {
                    read = reading => read,
                    () = room.revoked() => return End::Busy,
                },
                None => reading.await,
            };
            let read = match read {
                Ok(Some(read)) => read,
                Ok(None) => return if frames.finish().is_ok() { End::Closed } else { End::Broken },
                Err(_) => return End::Broken,
            };
            let (mut bytes, mut whole) = (0, Vec::new());
            for chunk in chunks.iter_mut().take(read) {
                bytes += chunk.len() as u64;
                loop {
                    match frames.push(chunk) {
                        Ok(Some(item)) => {
                            // More items than were asked for: no answer to this request.
                            let Some(number) = numbers.next() else { return End::Broken };
                            whole.push((number, item));
                            is_possible = false;
                        }
                        Ok(None) => break,
                        Err(_) => return End::Broken,
                    }
                }
                // Held by the frame that it is part of, if by any.
                *chunk = Bytes::new();
            }
            if !is_possible && let Some((length, begun)) = frames.begun() {
                match Claim::of(self.part.component, encoding, length, begun) {
                    Claim::Open => {}
                    Claim::Possible => is_possible = true,
                    Claim::Impossible => {
                        let (peer, component) = (self.session.node_id(), self.part.component);
                        tracing::warn!(%peer, ?component, length, "a peer sent what begins as no item does");
                        return End::Invalid;
                    }
                }
            }
            if let Some(room) = &room {
                room.progress(bytes);
            }
            // Told before they wait for anything here, which is no silence of the peer's.
            let told = Told::Arrived { id: self.id, bytes, items: Vec::new() };
            if self.tell.send(told).await.is_err() {
                return End::Broken;
            }
            // What waits for more room can lose what it has: two that wait for each other would wait for ever.
            if self.hold(holder, &mut room, frames.pending()).await.is_none() {
                return End::Busy;
            }
            // From here on it is this node that is slow: its limits, its disk.
            if let Some(room) = &room {
                room.set_yielding(false);
            }
            self.swarm.inner.uploads.download.wait(self.part.component, bytes).await;
            let items = if whole.is_empty() { Vec::new() } else { self.with_room(whole, encoding).await };
            if !items.is_empty() && self.tell.send(Told::Arrived { id: self.id, bytes: 0, items }).await.is_err() {
                return End::Broken;
            }
        }
    }
}
