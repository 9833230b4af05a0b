//! Answers to requests, out of the library.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use content_types::{ContentKey, history, legacy_history};
use quinn::{RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::OwnedSemaphorePermit;

use super::{Items, NotServed, Session, swarm::Inner, uploads::STEP_BYTES};
use crate::{
    geometry::{Component, Part},
    wire::{AnswerHead, Encoding, Encodings, ItemKey, MAX_REQUEST_BYTES, Request, Status, frame_head},
};

/// How long a request may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How long the other side may leave what it asked for unread.
const STALL_TIME: Duration = Duration::from_secs(30);

/// The code of an answer that is broken off.
const BROKEN_OFF: VarInt = VarInt::from_u32(1);

/// Reads the request of one stream and answers it.
pub(super) async fn serve(inner: &Arc<Inner>, session: &Session, mut send: SendStream, mut receive: RecvStream) {
    let read = tokio::time::timeout(REQUEST_TIME, receive.read_to_end(MAX_REQUEST_BYTES)).await;
    let Ok(Ok(request)) = read else {
        let _ = receive.stop(BROKEN_OFF);
        let _ = send.reset(BROKEN_OFF);
        return;
    };
    let outcome = match Request::decode(&request) {
        Ok(Request::Part(..)) if !inner.uploads.is_served(session.number()) => refuse(&mut send, Status::Choked).await,
        Ok(Request::Part(part, encodings)) => serve_part(inner, &mut send, part, encodings).await,
        Ok(Request::Item(key)) => serve_item(inner, &mut send, key).await,
        Err(_) => refuse(&mut send, Status::BadRequest).await,
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
    #[error("the peer stops")]
    Stopping,
}

async fn refuse(send: &mut SendStream, status: Status) -> Result<(), Broken> {
    write(send, &mut [Bytes::copy_from_slice(&AnswerHead { status, encoding: Encoding::Plain }.encode())]).await
}

async fn serve_part(inner: &Arc<Inner>, send: &mut SendStream, part: Part, encodings: Encodings) -> Result<(), Broken> {
    let (mut next, end) = (part.first, part.blocks().end);
    let mut encoding = None;
    while next < end {
        let Some(rest) = Part::new(part.component, next..end) else { break };
        // Taken before it is read: however many ask, what they are about to get fits.
        let step = inner.uploads.step_bytes();
        let room = room(inner, step).await?;
        let library = Arc::clone(&inner.library);
        // A part is answered in one encoding.
        let encodings =
            encoding.map_or(encodings, |of| if of == Encoding::Plain { Encodings::PLAIN } else { encodings });
        let read = blocking(move || library.read(rest, encodings, step)).await?;
        let Items { encoding: of, items } = match (read, encoding) {
            (Ok(items), None) => items,
            (Ok(items), Some(encoding)) if items.encoding == encoding => items,
            (Err(NotServed::Busy), None) => return refuse(send, Status::Busy).await,
            (Err(NotServed::NotHeld), None) => return refuse(send, Status::NotHeld).await,
            // The answer ends after a whole item.
            (_, Some(_)) => break,
        };
        if items.is_empty() {
            break;
        }
        next += items.len() as u64;
        let mut chunks = Vec::with_capacity(2 * items.len() + 1);
        if encoding.is_none() {
            chunks.push(Bytes::copy_from_slice(&AnswerHead { status: Status::Ok, encoding: of }.encode()));
            encoding = Some(of);
        }
        let bytes: usize = items.iter().map(Bytes::len).sum();
        inner.uploads.upload.wait(part.component, bytes as u64).await;
        chunks.extend(items.into_iter().flat_map(framed));
        write(send, &mut chunks).await?;
        drop(room);
    }
    Ok(())
}

async fn serve_item(inner: &Arc<Inner>, send: &mut SendStream, ItemKey(key): ItemKey) -> Result<(), Broken> {
    let _room = room(inner, STEP_BYTES).await?;
    let library = Arc::clone(&inner.library);
    match blocking(move || library.item(&key)).await? {
        Ok(item) => {
            inner.uploads.upload.wait(component_of(&key), item.len() as u64).await;
            let head = AnswerHead { status: Status::Ok, encoding: Encoding::Plain }.encode();
            let [length, item] = framed(item);
            write(send, &mut [Bytes::copy_from_slice(&head), length, item]).await
        }
        Err(NotServed::NotHeld) => refuse(send, Status::NotHeld).await,
        Err(NotServed::Busy) => refuse(send, Status::Busy).await,
    }
}

/// What an item is counted as.
const fn component_of(key: &ContentKey) -> Component {
    match key {
        ContentKey::History(history::ContentKey::BlockBody { .. })
        | ContentKey::LegacyHistory(legacy_history::ContentKey::Body(_)) => Component::Bodies,
        ContentKey::History(history::ContentKey::BlockReceipts { .. })
        | ContentKey::LegacyHistory(legacy_history::ContentKey::Receipts(_)) => Component::Receipts,
        ContentKey::LegacyHistory(_) => Component::Headers,
    }
}

fn framed(item: Bytes) -> [Bytes; 2] {
    let length = u32::try_from(item.len()).unwrap_or(u32::MAX);
    [Bytes::copy_from_slice(frame_head(length).as_bytes()), item]
}

async fn room(inner: &Inner, bytes: usize) -> Result<OwnedSemaphorePermit, Broken> {
    let bytes = u32::try_from(bytes.min(inner.config.upload_buffer)).unwrap_or(u32::MAX);
    Arc::clone(&inner.upload_buffer).acquire_many_owned(bytes).await.map_err(|_| Broken::Stopping)
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Broken> {
    tokio::task::spawn_blocking(job).await.map_err(|_| Broken::Stopping)
}

async fn write(send: &mut SendStream, chunks: &mut [Bytes]) -> Result<(), Broken> {
    tokio::time::timeout(STALL_TIME, send.write_all_chunks(chunks)).await.map_err(|_| Broken::Stalled)??;
    Ok(())
}
