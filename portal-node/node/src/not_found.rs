//! Why something was not found, as far as that makes a difference to who wanted it.

use overlay::service::{LookupTrace, TracedAnswer};
use serde::{Deserialize, Serialize};

/// What is behind it that something was not found: who is told can do something else about each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotFoundCause {
    /// Peers answered, and none had it.
    NobodyHasIt,
    /// No peer answered, or none is known.
    NobodyAnswered,
    /// No header of the block can be proved with the trust lists that are here, whoever has it.
    BeyondTrust,
    /// The execution client that was named for headers cannot be reached.
    ClientUnreachable,
    /// The execution client that was named for headers, or what stands before it, refuses requests.
    ClientRefuses,
}

impl NotFoundCause {
    /// Of something that was looked for among peers.
    pub(crate) fn among_peers(is_anybody_there: bool) -> Self {
        if is_anybody_there { Self::NobodyHasIt } else { Self::NobodyAnswered }
    }

    /// What lookups tell that did not find it.
    pub(crate) fn of_lookups<'a>(traces: impl IntoIterator<Item = &'a LookupTrace>) -> Self {
        let has_answered = |trace: &LookupTrace| {
            trace.responses.iter().any(|response| !matches!(response.answer, TracedAnswer::Failed(_)))
        };
        Self::among_peers(traces.into_iter().any(has_answered))
    }
}
