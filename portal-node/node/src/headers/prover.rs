//! Proves the headers of archives for the store, which serves nothing that no proved header vouches for.

use std::sync::Arc;

use cairn_store::{HeaderProver, Unproved};
use content_types::header::DecodedHeader;
use content_types::{HeaderProof, ProvedHeader};
use tokio::runtime::Handle;

use super::{BlockId, HeaderSource};
use crate::trust::TrustStore;

/// Proves a header by the proof in the archive, or, where it has none, by the same header having been proved lately. A
/// thread of the disk that waited for the network would be missing to everybody else, so a header that takes a search is
/// looked for meanwhile, and proved when the block is asked for again.
pub(crate) struct ArchiveProver {
    trust: Arc<TrustStore>,
    headers: std::sync::Weak<HeaderSource>,
    runtime: Handle,
}

impl ArchiveProver {
    /// A prover with the trust lists that are there when it is asked. It does not keep `headers` alive, which
    /// themselves look into the archives. Called within the runtime that searches run on.
    pub(crate) fn new(trust: Arc<TrustStore>, headers: &Arc<HeaderSource>) -> Self {
        Self { trust, headers: Arc::downgrade(headers), runtime: Handle::current() }
    }
}

impl HeaderProver for ArchiveProver {
    fn prove(&self, header: DecodedHeader, proof: Option<&HeaderProof>) -> Result<ProvedHeader, Unproved> {
        let headers = self.headers.upgrade();
        let lately = headers.as_ref().and_then(|headers| headers.cached(&BlockId::Hash(header.hash())));
        if let Some(proved) = lately {
            return Ok(proved);
        }
        let number = header.number();
        let proved = HeaderProver::prove(&self.trust.verifier(), header, proof);
        if let (Err(Unproved::NotYet(_)), Some(headers)) = (&proved, headers) {
            headers.seek(&self.runtime, number);
        }
        proved
    }
}
