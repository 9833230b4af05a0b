//! Trusted lists, from a file or a peer.
#![no_main]

use content_types::{
    ChainSpec, TrustListKind, TrustLists,
    trust::{HistoricalSummaries, HistoricalSummariesWithProof},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let chain = ChainSpec::mainnet();
    let roots = chain.trust_roots();
    for kind in TrustListKind::ALL {
        let mut lists = TrustLists::default();
        match lists.import(kind, bytes, roots) {
            Ok(()) => assert!(roots.root(kind).and_then(|root| lists.encoded(&root, roots)).is_some()),
            Err(_) => assert_eq!(lists, TrustLists::default()),
        }
    }
    if let Ok(summaries) = HistoricalSummariesWithProof::decode(bytes) {
        assert_eq!(summaries.encode(), bytes);
        assert!(HistoricalSummaries::from_state_proof(summaries, Default::default()).is_err());
    }
});
