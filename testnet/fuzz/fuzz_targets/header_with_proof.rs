//! Headers with their proofs, checked against mainnet's rules without its lists, and their parts.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use content_types::{
    ChainSpec, HeaderProof, HeaderVerifier, HeaderWithProof, ProofKind, TrustLists,
    header::{DecodedHeader, EpochRecord},
};
use libfuzzer_sys::fuzz_target;

static VERIFIER: LazyLock<HeaderVerifier> =
    LazyLock::new(|| HeaderVerifier::new(Arc::new(ChainSpec::mainnet()), TrustLists::default()));

fuzz_target!(|bytes: &[u8]| {
    assert!(VERIFIER.verify(bytes).is_err());
    if let Ok(value) = HeaderWithProof::decode(bytes, VERIFIER.chain()) {
        assert_eq!(value.encode(), bytes);
    }
    if let Ok(header) = DecodedHeader::decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(header.header().hash_slow(), header.hash());
    }
    for kind in ProofKind::ALL {
        if let Ok(proof) = HeaderProof::decode(kind, bytes) {
            assert_eq!(proof.encode(), bytes);
        }
    }
    if let Ok(record) = EpochRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
});
