//! How the threads of the maintenance are told to stop.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Tells the threads to stop.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    pub(crate) stop: Mutex<bool>,
    pub(crate) changed: Condvar,
}

impl Signal {
    /// Whether the threads have to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.lock()
    }

    /// Waits for `time`; returns early, and `true`, when the thread has to stop.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.changed.wait_for(&mut stop, time);
        }
        *stop
    }
}
