//! What the ways to fetch have in common.

use std::time::Duration;

use cairn_node::{FetchError, ranges::Pace, state::StateError};
use indicatif::ProgressBar;
use overlay::service::LookupTrace;

use crate::{
    cli::{BlockRange, FetchArgs},
    failure::{ASK_AGAIN, Failure},
    output, progress,
};

/// How blocks are fetched one by one.
pub(super) fn pace(args: &FetchArgs) -> Pace {
    Pace { parallel: args.parallel, limit: Duration::from_secs(args.from_peers.timeout) }
}

/// What was not found. Who was asked, and what each answered, goes before it.
pub(in crate::commands) fn missing(error: impl Into<FetchError>) -> Failure {
    let error = error.into();
    tell(error.traces());
    match error {
        FetchError::Header(_) | FetchError::NotFound { .. } => {
            Failure::not_found(error.to_string(), error.cause(), ASK_AGAIN)
        }
        FetchError::Holdings(_) => Failure::of_files(&error),
        FetchError::Encoding(_) => Failure::Invalid(error.to_string()),
        FetchError::Stopping(_) => Failure::Internal(error.to_string()),
    }
}

/// What of a state was not found, or was not what it should be. Who was asked, and what each answered, goes before it.
pub(in crate::commands) fn no_state(error: StateError, instead: &str) -> Failure {
    let (message, cause) = (error.to_string(), error.cause());
    match error {
        StateError::Header(error) => missing(error),
        StateError::NotFound { trace, .. } => {
            tell([&*trace]);
            Failure::not_found(message, cause, instead)
        }
        StateError::Content(_) | StateError::Capsule(_) => Failure::Invalid(message),
        StateError::NotSpoken => Failure::Internal(message),
    }
}

/// Says who was asked, and what each answered.
pub(in crate::commands) fn tell<'a>(traces: impl IntoIterator<Item = &'a LookupTrace>) {
    traces.into_iter().flat_map(LookupTrace::lines).for_each(output::remark);
}

/// A bar that counts the blocks.
pub(super) fn bar(blocks: BlockRange) -> ProgressBar {
    progress::items(blocks.count(), "fetching blocks")
}
