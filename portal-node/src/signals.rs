//! SIGINT and SIGTERM: how a person or the system ends the program.

use std::io;

use crate::failure::Failure;

/// Both signals, caught from the moment that this is made: none that comes between two waits is lost.
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches the signals from here on.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(crate) fn catch() -> Result<Self, Failure> {
        Self::register().map_err(|error| Failure::Internal(format!("cannot catch signals: {error}")))
    }

    fn register() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns at the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
