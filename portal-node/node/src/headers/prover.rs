//! Proves the headers of archives for the store, which serves nothing that no proved header vouches for.

use std::sync::{Arc, Weak};

use cairn_archive::Component;
use cairn_store::{HeaderProver, Unproved};
use content_types::header::DecodedHeader;
use content_types::{HeaderProof, ProvedHeader};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{BlockId, HeaderSource, Lineage};
use crate::trust::TrustStore;

/// Proves a header by the proof in the archive, or, where it has none, by the headers above it or by the same header having
/// been proved lately. A thread of the disk that waited for the network would be missing to everybody else, so a header that
/// takes a search is looked for meanwhile, and proved when the block is asked for again.
#[derive(Clone)]
pub(crate) struct ArchiveProver {
    trust: Arc<TrustStore>,
    headers: Weak<HeaderSource>,
    runtime: Handle,
    lineage: Option<Arc<Lineage>>,
    /// A user asked for a block that its archive's lineage does not reach, or there is a new one. For peers nothing is read
    /// of an archive but what its prover vouches for.
    wanted: Arc<Notify>,
}

impl ArchiveProver {
    /// A prover with the trust lists that are there when it is asked. It does not keep `headers` alive, which
    /// themselves look into the archives. Called within the runtime that searches run on.
    pub(crate) fn new(trust: Arc<TrustStore>, headers: &Arc<HeaderSource>) -> Self {
        Self {
            trust,
            headers: Arc::downgrade(headers),
            runtime: Handle::current(),
            lineage: None,
            wanted: Arc::default(),
        }
    }

    /// The prover of one archive, with its lineage if it lacks proofs.
    pub(crate) fn of(&self, lineage: Option<Arc<Lineage>>) -> Self {
        Self { lineage, ..self.clone() }
    }

    /// Something is wanted that no lineage reaches.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until something is.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl HeaderProver for ArchiveProver {
    fn prove(&self, header: DecodedHeader, proof: Option<&HeaderProof>) -> Result<ProvedHeader, Unproved> {
        let headers = self.headers.upgrade();
        let lately = headers.as_ref().and_then(|headers| headers.cached(&BlockId::Hash(header.hash())));
        if let Some(proved) = lately {
            return Ok(proved);
        }
        let (number, hash) = (header.number(), header.hash());
        let proved = HeaderProver::prove(&self.trust.verifier(), header, proof);
        let Err(Unproved::NotYet(_)) = &proved else { return proved };
        match (&self.lineage, headers) {
            (Some(lineage), _) => {
                let by_children = lineage.headers(number..number.saturating_add(1)).pop();
                by_children.filter(|header| header.hash() == hash).map_or_else(
                    || {
                        self.want();
                        proved
                    },
                    Ok,
                )
            }
            (None, Some(headers)) => {
                headers.seek(&self.runtime, number);
                proved
            }
            (None, None) => proved,
        }
    }

    fn vouches_for(&self, number: u64, component: Component) -> bool {
        self.lineage.as_ref().is_none_or(|lineage| lineage.vouches_for(number, component))
    }
}
