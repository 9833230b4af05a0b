//! What a chain without trust lists means, and what a person can do about it.

use cairn_node::trust::TrustStore;
use content_types::{ChainSpec, TrustListKind};

/// Whether nothing says which lists of a chain are the right ones.
pub(super) fn has_no_roots(chain: &ChainSpec) -> bool {
    TrustListKind::ALL.into_iter().all(|kind| chain.trust_roots().root(kind).is_none())
}

/// Whether nothing of a chain can be proved, nor lists be had that change that.
pub(super) fn is_without_trust(store: &TrustStore) -> bool {
    has_no_roots(store.chain()) && !store.has_lists()
}

/// What a storage peer does without for now, and how to change that; `None` if it has every list that there is.
pub(super) fn missing(store: &TrustStore) -> Option<String> {
    let missing: Vec<_> = store.missing().iter().map(|(kind, _)| format!("the {kind}")).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "without {} the headers of their blocks are not proved, and nothing of those blocks is stored, served or \
             fetched. Peers are asked for it; sooner comes `cairn trust import FILE` or `cairn trust fetch --from URL`, \
             and then a restart",
            missing.join(", ")
        )
    })
}

/// What follows for a chain without trust roots.
pub(super) fn without_roots(chain: &ChainSpec) -> String {
    format!(
        "{} has no trust roots compiled in: no list of it from a file, mirror or peer can be checked, and without lists no \
         header is proved, and nothing stored, served or fetched. What you can do: import historical summaries under a \
         beacon state root that you trust (`cairn trust import FILE --state-root HASH`), for blocks from Capella on; or \
         give a specification of the chain with roots that you trust (--chain FILE)",
        chain.name()
    )
}
