//! The trust sub-network: trust lists between Cairn peers, so that a new peer needs no file.
//!
//! Its protocol identifier is Cairn's own. A content key is the byte 0x00 and the list's 32-byte root, the value is the
//! list's SSZ. Whoever asks knows the root from the chain specification, so nothing has to be believed. Nothing is
//! offered or gossiped: a list is asked for when it is missing.

use std::sync::Arc;

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::trust::TrustListKind;
use content_types::{ContentId, Distance, Form};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::service::{Admitted, Busy, ContentHandler, ContentSource, OfferVerdict, Reader, Rejection};

use crate::trust::TrustStore;
use crate::workers::Workers;

/// The `protocol` field of its TALKREQ packets, outside of the identifiers 0x50__ that Portal's sub-networks take.
pub(crate) const PROTOCOL_ID: [u8; 2] = [0xca, 0x00];

/// First byte of a content key: a list by its root.
const LIST_BY_ROOT: u8 = 0x00;

/// The content key of a list.
pub(crate) fn key(root: &B256) -> Bytes {
    [&[LIST_BY_ROOT], root.as_slice()].concat().into()
}

fn root(key: &[u8]) -> Option<B256> {
    let (&selector, root) = key.split_first()?;
    (selector == LIST_BY_ROOT).then_some(root)?.try_into().ok()
}

/// A list that nothing in the chain's specification vouches for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the root is none of this chain's")]
struct UnknownRoot;

/// The [`ContentHandler`] of the trust sub-network.
pub(crate) struct TrustNetworkHandler {
    trust: Arc<TrustStore>,
    workers: Workers,
}

impl TrustNetworkHandler {
    pub(crate) fn new(trust: Arc<TrustStore>, workers: Workers) -> Self {
        Self { trust, workers }
    }

    fn kind(&self, key: &[u8]) -> Option<TrustListKind> {
        self.trust.chain().trust_roots().kind_of(&root(key)?)
    }
}

impl ContentHandler for TrustNetworkHandler {
    fn content_id(&self, key: &[u8]) -> Option<ContentId> {
        root(key).map(|_| ContentId::sha256(key))
    }

    fn max_value_len(&self, key: &[u8], _form: Form) -> usize {
        self.kind(key).map_or(0, TrustListKind::max_len)
    }

    fn radius(&self) -> Distance {
        Distance::ZERO
    }

    fn get(&self, key: Bytes, _reader: Reader) -> BoxFuture<'_, Result<Option<Bytes>, Busy>> {
        async move { Ok(root(&key).and_then(|root| self.trust.encoded(&root))) }.boxed()
    }

    fn offer(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Vec<OfferVerdict>> {
        async move { vec![OfferVerdict::NotVerifiable; keys.len()] }.boxed()
    }

    fn admit(&self, key: Bytes, value: Bytes, _from: ContentSource) -> BoxFuture<'_, Result<Admitted, Rejection>> {
        async move {
            let kind = self.kind(&key).ok_or_else(|| Rejection::Unverifiable(UnknownRoot.into()))?;
            let trust = Arc::clone(&self.trust);
            let saved = self
                .workers
                .write(move || trust.import(kind, &value))
                .await
                .map_err(|stopping| Rejection::Unverifiable(stopping.into()))?
                .map_err(|error| Rejection::Invalid(error.into()))?;
            saved.map_err(|error| Rejection::Storage(error.into()))?;
            Ok(Admitted { stored: true })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_gives_its_root_back(bytes: [u8; 32]) {
            prop_assert_eq!(root(&key(&B256::from(bytes))), Some(B256::from(bytes)));
        }

        #[test]
        fn arbitrary_bytes_are_a_key_or_not(bytes in prop::collection::vec(0..2_u8, 0..40)) {
            match root(&bytes) {
                Some(root) => prop_assert_eq!(key(&root), bytes),
                None => prop_assert!(bytes.len() != 33 || bytes[0] != LIST_BY_ROOT),
            }
        }
    }
}
