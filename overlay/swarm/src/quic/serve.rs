//! Answers to requests, out of the library.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_limits::{Holder, Permit};
use content_types::ContentKey;
use content_types::{
    limits::{MAX_TRIE_NODE_LENGTH, MAX_TRIE_PROOF_NODES},
    room::{BlockPart, Subject},
    state::Way,
};
use futures::FutureExt;
use quinn::{RecvStream, SendStream, VarInt, WriteError};

use super::{Items, NotServed, Session, inner::SwarmEndpoint, uploads::STEP_BYTES};
use crate::{
    geometry::{Component, Part},
    wire::{AnswerHead, AnswerStatus, Encoding, Encodings, ItemKey, MAX_REQUEST_BYTES, SwarmRequest, frame_head},
};

/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How long the other side may leave what it asked for unread. It loses its room long before that if others wait.
const STALL_TIME: Duration = Duration::from_secs(30);

/// What a request for an item costs a peer that is not served, beside the item, in bytes.
const ITEM_COST: u64 = 4 << 10;

/// The most that nodes on the way down a trie take, in bytes.
const MAX_WAY_BYTES: usize = MAX_TRIE_PROOF_NODES * MAX_TRIE_NODE_LENGTH;

/// The priority of what goes before parts of ranges, which have that of 0.
const BEFORE_PARTS: i32 = 1;

/// The code of an answer that is broken off.
const BROKEN_OFF: VarInt = VarInt::from_u32(1);

/// Reads the request of one stream and answers it.
pub(super) async fn serve(
    inner: &Arc<SwarmEndpoint>,
    session: &Session,
    mut send: SendStream,
    mut receive: RecvStream,
) {
    let read = tokio::time::timeout(REQUEST_TIME, receive.read_to_end(MAX_REQUEST_BYTES)).await;
    let Ok(Ok(request)) = read else {
        let _ = receive.stop(BROKEN_OFF);
        let _ = send.reset(BROKEN_OFF);
        return;
    };
    let request = SwarmRequest::decode(&request);
    // Answers are sent one after the other. What is short, and what somebody waits for, goes before parts of ranges.
    if !matches!(request, Ok(SwarmRequest::Part(..))) {
        let _ = send.set_priority(BEFORE_PARTS);
    }
    let is_served = inner.uploads.is_served(session.number());
    let holder = session.holder();
    // What a peer that is not served has got is owed: the next ones wait for it.
    let owe = |bytes| {
        if !is_served {
            may_have_items(inner, &holder, bytes);
        }
    };
    let outcome = match request {
        Ok(SwarmRequest::Part(..)) if !is_served => refuse(&mut send, AnswerStatus::Choked).await,
        Ok(SwarmRequest::Part(part, encodings)) => serve_part(inner, holder, &mut send, part, encodings).await,
        Ok(SwarmRequest::Item(_) | SwarmRequest::Way(_))
            if !is_served && !may_have_items(inner, &holder, ITEM_COST) =>
        {
            refuse(&mut send, AnswerStatus::Busy).await
        }
        Ok(SwarmRequest::Item(key)) => serve_item(inner, holder, &mut send, key).await.map(owe),
        Ok(SwarmRequest::Way(way)) => serve_way(inner, holder, &mut send, way).await.map(owe),
        Err(_) => refuse(&mut send, AnswerStatus::BadRequest).await,
    };
    match outcome {
        Ok(()) => drop(send.finish()),
        Err(error) => {
            tracing::trace!(peer = %session.node_id(), %error, "an answer was broken off");
            let _ = send.reset(BROKEN_OFF);
        }
    }
}

/// Why an answer is broken off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("nobody reads it")]
    Stalled,
    #[error("there is no room for an answer: {0}")]
    NoRoom(#[from] cairn_limits::Full),
}

/// Charges a peer that is not served for an item; whether it may have it.
fn may_have_items(inner: &SwarmEndpoint, peer: &Holder, cost: u64) -> bool {
    inner.items_to_choked.lock().charge(Instant::now(), peer, cost)
}

async fn refuse(send: &mut SendStream, status: AnswerStatus) -> Result<(), Broken> {
    let head = AnswerHead { status, encoding: Encoding::Plain }.encode();
    write(send, None, &mut [Bytes::copy_from_slice(&head)]).await
}

async fn serve_part(
    inner: &Arc<SwarmEndpoint>,
    holder: Holder,
    send: &mut SendStream,
    part: Part,
    encodings: Encodings,
) -> Result<(), Broken> {
    let (mut next, end) = (part.first, part.blocks().end);
    let mut encoding = None;
    while next < end {
        let Some(rest) = Part::new(part.component, next..end) else { break };
        // Taken before it is read: however many ask, what they are about to get fits. Each peer has its share, and whoever
        // does not read what it asked for loses it to those who wait.
        let step = inner.uploads.step_bytes();
        let mut room = room(inner, holder, step).await?;
        // A part is answered in one encoding.
        let encodings =
            encoding.map_or(encodings, |of| if of == Encoding::Plain { Encodings::PLAIN } else { encodings });
        let read = inner.library.read(holder, rest, encodings, step).await;
        let Items { encoding: of, items } = match (read, encoding) {
            (Ok(items), None) => items,
            (Ok(items), Some(encoding)) if items.encoding == encoding => items,
            (Err(NotServed::Busy), None) => return refuse(send, AnswerStatus::Busy).await,
            (Err(NotServed::NotHeld), None) => return refuse(send, AnswerStatus::NotHeld).await,
            // The answer ends after a whole item.
            (_, Some(_)) => break,
        };
        if items.is_empty() {
            break;
        }
        next += items.len() as u64;
        let mut chunks = Vec::with_capacity(2 * items.len() + 1);
        if encoding.is_none() {
            chunks.push(Bytes::copy_from_slice(&AnswerHead { status: AnswerStatus::Ok, encoding: of }.encode()));
            encoding = Some(of);
        }
        let bytes: usize = items.iter().map(Bytes::len).sum();
        room.shrink(bytes as u64);
        inner.uploads.upload.wait(part.component, bytes as u64).await;
        chunks.extend(items.into_iter().flat_map(framed));
        write(send, Some(&room), &mut chunks).await?;
    }
    Ok(())
}

/// Answers with an item; how many bytes it has.
async fn serve_item(
    inner: &Arc<SwarmEndpoint>,
    holder: Holder,
    send: &mut SendStream,
    ItemKey(key): ItemKey,
) -> Result<u64, Broken> {
    let read = inner.library.item(holder, key).map(|item| item.map(|item| vec![item]));
    serve_some(inner, holder, send, component_of(&key), STEP_BYTES, read).await
}

/// Answers with nodes on the way down a trie; how many bytes they have.
async fn serve_way(inner: &Arc<SwarmEndpoint>, holder: Holder, send: &mut SendStream, way: Way) -> Result<u64, Broken> {
    let component = component_of(&way.next().into());
    serve_some(inner, holder, send, component, MAX_WAY_BYTES, inner.library.way(holder, way)).await
}

/// Answers with what is read, for which so much room is needed; how many bytes that has.
async fn serve_some(
    inner: &Arc<SwarmEndpoint>,
    holder: Holder,
    send: &mut SendStream,
    component: Component,
    most: usize,
    read: impl Future<Output = Result<Vec<Bytes>, NotServed>>,
) -> Result<u64, Broken> {
    let mut room = room(inner, holder, most).await?;
    let refused = match read.await {
        Ok(items) => {
            let bytes = items.iter().map(Bytes::len).sum::<usize>() as u64;
            room.shrink(bytes);
            inner.uploads.upload.wait(component, bytes).await;
            let head = AnswerHead { status: AnswerStatus::Ok, encoding: Encoding::Plain }.encode();
            let head = Bytes::copy_from_slice(&head);
            let mut chunks: Vec<_> = std::iter::once(head).chain(items.into_iter().flat_map(framed)).collect();
            write(send, Some(&room), &mut chunks).await?;
            return Ok(bytes);
        }
        Err(NotServed::NotHeld) => AnswerStatus::NotHeld,
        Err(NotServed::Busy) => AnswerStatus::Busy,
    };
    refuse(send, refused).await.map(|()| 0)
}

/// What an item is counted as.
fn component_of(key: &ContentKey) -> Component {
    match key.subject() {
        Subject::Part { part: BlockPart::Body(_), .. } => Component::Bodies,
        Subject::Part { part: BlockPart::Receipts(_), .. } => Component::Receipts,
        // With the headers whatever is no part of a block.
        Subject::Part { part: BlockPart::Header, .. } | Subject::About(_) | Subject::NearHead | Subject::Other => {
            Component::Headers
        }
    }
}

fn framed(item: Bytes) -> [Bytes; 2] {
    let length = u32::try_from(item.len()).unwrap_or(u32::MAX);
    [Bytes::copy_from_slice(frame_head(length).as_bytes()), item]
}

async fn room(inner: &SwarmEndpoint, holder: Holder, bytes: usize) -> Result<Permit, Broken> {
    let bytes = bytes.min(inner.config.upload_buffer) as u64;
    let room = inner.room.take(holder, bytes).await?;
    // Until something is written it is this node that is slow: its disk, or its limits.
    room.set_yielding(false);
    Ok(room)
}

/// Writes as fast as the other side reads. Its room is lost if it does not, and somebody waits for that.
async fn write(send: &mut SendStream, room: Option<&Permit>, chunks: &mut [Bytes]) -> Result<(), Broken> {
    let mut rest = chunks;
    if let Some(room) = room {
        room.set_yielding(true);
    }
    while !rest.is_empty() {
        let writing = tokio::time::timeout(STALL_TIME, send.write_chunks(rest));
        let written = match room {
            Some(room) => tokio::select! {
                written = writing => written,
                () = room.revoked() => return Err(Broken::Stalled),
            },
            None => writing.await,
        };
        let written = written.map_err(|_| Broken::Stalled)??;
        if let Some(room) = room {
            room.progress(written.bytes as u64);
        }
        rest = rest.get_mut(written.chunks..).unwrap_or_default();
    }
    Ok(())
}
