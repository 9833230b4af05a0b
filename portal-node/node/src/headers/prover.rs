//! Proves the headers of archives for the store, which serves nothing that no proved header vouches for.

use std::sync::Arc;

use cairn_store::{HeaderProver, Unproved};
use content_types::header::DecodedHeader;
use content_types::{HeaderProof, ProvedHeader};

use super::{BlockId, HeaderSource};
use crate::trust::TrustStore;

/// Proves a header by the proof in the archive, or, where it has none, by the same header having been proved lately.
pub(crate) struct ArchiveProver {
    trust: Arc<TrustStore>,
    headers: std::sync::Weak<HeaderSource>,
}

impl ArchiveProver {
    /// A prover with the trust lists that are there when it is asked. It does not keep `headers` alive, which
    /// themselves look into the archives.
    pub(crate) fn new(trust: Arc<TrustStore>, headers: &Arc<HeaderSource>) -> Self {
        Self { trust, headers: Arc::downgrade(headers) }
    }
}

impl HeaderProver for ArchiveProver {
    fn prove(&self, header: DecodedHeader, proof: Option<&HeaderProof>) -> Result<ProvedHeader, Unproved> {
        let lately = self.headers.upgrade().and_then(|headers| headers.cached(&BlockId::Hash(header.hash())));
        match lately {
            Some(proved) => Ok(proved),
            None => HeaderProver::prove(&self.trust.verifier(), header, proof),
        }
    }
}
