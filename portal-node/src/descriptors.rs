//! Whether the system lets this process open anything: the runtime panics where it does not.

use std::io;

use crate::{advice::advice, failure::Failure};

/// Pipes of two descriptors each, as many as the runtime opens before it runs: for its reactor and for signals.
const PIPES: usize = 4;

/// Checks that the runtime can be started.
///
/// # Errors
/// [`Failure::Internal`] when there are too few descriptors for it.
pub(crate) fn check() -> Result<(), Failure> {
    let pipes: io::Result<Vec<_>> = (0..PIPES).map(|_| io::pipe()).collect();
    let opened = pipes.map(drop);
    opened.map_err(|error| Failure::Internal(format!("nothing can be opened: {error}{}", advice(&error))))
}
