//! What it takes to judge a capsule that goes over the network, and the check.

use bytes::Bytes;

use super::key::ContentKey;
use crate::BlockId;
use crate::capsule::{Capsule, CapsuleError, Opened};
use crate::room::{Form, Key, KeyError, Subject};
use crate::verify::{BrokenRule, Examined, Unverified};

/// Bytes of a capsule that goes over the network: some thousand slots, or the code of a large contract with its proof. What is larger
/// is for files.
pub const MAX_SHARED_LENGTH: usize = 256 << 10;

/// Steps from node to node that a capsule over the network takes at most. The states of real chains take some eight for a slot, so that
/// nothing true of [`MAX_SHARED_LENGTH`] needs as many; a trie that was made up, whose branches all lead to the same node, would take
/// half a million. This many are about ten milliseconds.
const MAX_SHARED_STEPS: usize = 32_768;

/// A capsule under its key as it goes over the network: without the proof of its header, which the network of headers has.
///
/// # Errors
///
/// [`Unverified::TooLong`].
pub fn shared(capsule: &Capsule) -> Result<(ContentKey, Bytes), Unverified> {
    let value = Capsule { header_proof: Bytes::new(), ..capsule.clone() }.encode();
    crate::verify::length(MAX_SHARED_LENGTH, &value)?;
    Ok((ContentKey::of_capsule(capsule), value))
}

/// Decodes what goes under a key over the network, and checks it as far as its header goes.
fn open(key: &ContentKey, value: &Bytes) -> Result<Opened, CapsuleError> {
    let capsule = Capsule::decode(value)?;
    if !capsule.header_proof.is_empty() {
        return Err(CapsuleError::WithHeaderProof);
    }
    let actual = ContentKey::of_capsule(&capsule);
    if actual.block_hash != key.block_hash {
        return Err(CapsuleError::OtherKey("it is of another block"));
    }
    if actual.claims != key.claims {
        return Err(CapsuleError::OtherKey("it tells of other accounts or slots"));
    }
    capsule.open_within(MAX_SHARED_STEPS)
}

impl Key for ContentKey {
    fn decode(key: &[u8]) -> Result<Self, KeyError> {
        Self::decode(key)
    }

    fn encode(&self) -> Bytes {
        self.encode()
    }

    fn max_value_len(&self, _form: Form) -> usize {
        MAX_SHARED_LENGTH
    }

    /// The header in the value is the one of the key, and whether that is the chain's only its proof tells.
    fn subject(&self) -> Subject {
        Subject::About(BlockId::Hash(self.block_hash))
    }

    fn label(&self) -> &'static str {
        "capsule"
    }

    fn examine(&self, _form: Form, value: Bytes) -> Result<Examined, Unverified> {
        let opened = open(self, &value).map_err(BrokenRule::new)?;
        Ok(Examined::of_state(opened.header.header().state_root, value))
    }
}
