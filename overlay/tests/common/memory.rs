//! Content that is held in memory and can be told from garbage: a value is valid if it begins with its key's content ID.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cairn_limits::Holder;
use content_types::{ContentId, Distance, Form, NodeId};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use overlay::service::{Admitted, Busy, ContentHandler, ContentSource, OfferVerdict, Reader, Rejection};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::soon;

/// Keys that begin so cannot be checked.
const UNVERIFIABLE: &[u8] = b"unverifiable";

/// Values that begin so say something of themselves that cannot be checked.
pub(crate) const DOUBTFUL: &[u8] = b"doubtful";

/// Keys that begin so are malformed.
const MALFORMED: &[u8] = b"malformed";

/// The most bytes of any value.
const MAX_VALUE: usize = 1 << 24;

/// Keys that begin so have no value of more than [`LONGEST_OF_SHORT`] bytes.
const SHORT: &[u8] = b"short";

const LONGEST_OF_SHORT: usize = 3080;

/// Requests that begin so are this network's own, and come back as they are.
pub(crate) const OWN_REQUEST: &[u8] = &[0xff];

/// Why a value is not let in.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotAdmitted(&'static str);

/// A key made of text.
pub(crate) fn key(text: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

/// The valid value of a key with this length, which must be 32 at least.
pub(crate) fn value(key: &Bytes, len: usize) -> Bytes {
    let mut value = ContentId::sha256(key).as_bytes().to_vec();
    value.resize(len, 0xa5);
    value.into()
}

/// A peer's content.
pub(crate) struct Memory {
    node_id: NodeId,
    radius: Mutex<Distance>,
    values: Mutex<HashMap<Bytes, Bytes>>,
    reads: AtomicUsize,
    busy_reads: AtomicUsize,
    arrivals: watch::Sender<Vec<(Bytes, ContentSource)>>,
}

impl Memory {
    pub(crate) fn new(node_id: NodeId, radius: Distance) -> Arc<Self> {
        let arrivals = watch::Sender::new(Vec::new());
        Arc::new(Self {
            node_id,
            radius: Mutex::new(radius),
            values: Mutex::default(),
            reads: AtomicUsize::new(0),
            busy_reads: AtomicUsize::new(0),
            arrivals,
        })
    }

    /// Puts a value in without any check.
    pub(crate) fn put(&self, key: &Bytes, value: Bytes) {
        self.values.lock().insert(key.clone(), value);
    }

    /// How often a value was read for somebody.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// The next reads for peers are refused.
    pub(crate) fn be_busy_for(&self, reads: usize) {
        self.busy_reads.store(reads, Ordering::Relaxed);
    }

    pub(crate) fn holds(&self, key: &Bytes) -> bool {
        self.values.lock().contains_key(key)
    }

    pub(crate) fn set_radius(&self, radius: Distance) {
        *self.radius.lock() = radius;
    }

    /// Waits until a key was admitted, and says from where.
    pub(crate) async fn arrival(&self, key: &Bytes) -> ContentSource {
        let mut arrivals = self.arrivals.subscribe();
        let arrived = arrivals.wait_for(|arrivals| arrivals.iter().any(|(arrived, _)| arrived == key));
        let arrivals = soon("an arrival", arrived).await.unwrap();
        arrivals.iter().find(|(arrived, _)| arrived == key).unwrap().1
    }
}

impl Memory {
    fn verdict(&self, key: &Bytes) -> OfferVerdict {
        if key.starts_with(UNVERIFIABLE) || key.starts_with(MALFORMED) {
            OfferVerdict::NotVerifiable
        } else if self.values.lock().contains_key(key) {
            OfferVerdict::AlreadyStored
        } else if self.node_id.distance(&ContentId::sha256(key)) > *self.radius.lock() {
            OfferVerdict::OutsideRadius
        } else {
            OfferVerdict::Wanted
        }
    }
}

impl ContentHandler for Memory {
    fn content_id(&self, key: &[u8]) -> Option<ContentId> {
        (!key.starts_with(MALFORMED)).then(|| ContentId::sha256(key))
    }

    fn max_value_len(&self, key: &[u8], _form: Form) -> usize {
        if key.starts_with(SHORT) { LONGEST_OF_SHORT } else { MAX_VALUE }
    }

    fn radius(&self) -> Distance {
        *self.radius.lock()
    }

    fn own_request(&self, _from: Holder, request: &[u8]) -> Option<BoxFuture<'static, Bytes>> {
        let answer = Bytes::copy_from_slice(request);
        request.starts_with(OWN_REQUEST).then(|| async move { answer }.boxed())
    }

    fn get(&self, key: Bytes, reader: Reader) -> BoxFuture<'_, Result<Option<Bytes>, Busy>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let one_less = |left: usize| left.checked_sub(1);
        let is_busy = matches!(reader, Reader::Peer(_))
            && self.busy_reads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        let value = if is_busy { Err(Busy) } else { Ok(self.values.lock().get(&key).cloned()) };
        async move { value }.boxed()
    }

    fn offer(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Vec<OfferVerdict>> {
        let verdicts = keys.iter().map(|key| self.verdict(key)).collect();
        async move { verdicts }.boxed()
    }

    fn admit(&self, key: Bytes, value: Bytes, from: ContentSource) -> BoxFuture<'_, Result<Admitted, Rejection>> {
        let id = ContentId::sha256(&key);
        let verdict = if key.starts_with(UNVERIFIABLE) {
            Err(Rejection::Unverifiable(NotAdmitted("no header").into()))
        } else if value.starts_with(DOUBTFUL) {
            Err(Rejection::Doubtful(NotAdmitted("no telling").into()))
        } else if !value.starts_with(id.as_bytes()) {
            Err(Rejection::Invalid(NotAdmitted("not its content ID").into()))
        } else {
            let wanted = self.node_id.distance(&id) <= self.radius();
            let stored = wanted && self.values.lock().insert(key.clone(), value).is_none();
            self.arrivals.send_modify(|arrivals| arrivals.push((key, from)));
            Ok(Admitted { stored })
        };
        async move { verdict }.boxed()
    }
}
