//! How headers of archives are proved: the store's side of the validation pipeline.

use cairn_archive::Component;
use content_types::{HeaderError, HeaderProof, HeaderVerifier, ProvedHeader, header::DecodedHeader};

/// Proves headers that were read from an archive. Nothing leaves an archive that no such header vouches for.
pub trait HeaderProver: Send + Sync {
    /// Proves `header`, with the proof that the archive holds or that could be built from it, if any.
    ///
    /// # Errors
    ///
    /// [`Unproved`] says whether the header is wrong or only cannot be proved yet.
    fn prove(&self, header: DecodedHeader, proof: Option<&HeaderProof>) -> Result<ProvedHeader, Unproved>;

    /// Whether a part of the block `number` counts as held before it was read. The header of one in an archive without
    /// proofs may be proved by no one: whoever takes the block for held would do without it.
    fn vouches_for(&self, _number: u64, _component: Component) -> bool {
        true
    }
}

/// A header of an archive that is not proved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// What it takes to prove the header is not there. It is tried again when the block is asked for again.
    #[error("it cannot be proved yet: {0}")]
    NotYet(String),
    /// The header is not the chain's.
    #[error("{0}")]
    Wrong(String),
}

impl HeaderProver for HeaderVerifier {
    fn prove(&self, header: DecodedHeader, proof: Option<&HeaderProof>) -> Result<ProvedHeader, Unproved> {
        let proof = proof.ok_or_else(|| Unproved::NotYet("the archive has no proof".into()))?;
        Self::prove(self, header, proof).map_err(|error| match error {
            HeaderError::ListMissing { .. } | HeaderError::BeyondList { .. } => Unproved::NotYet(error.to_string()),
            _ => Unproved::Wrong(error.to_string()),
        })
    }
}
