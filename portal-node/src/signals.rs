//! What ends the program before its work is done: signals from a person or the system, and a part of it that panics.

use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{advice::with_advice, failure::Failure, panics::Panics};

/// What they are caught with, from the moment that this is made: none that comes between two waits is lost.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is gone, or the one who logged in. `None` where the program was started to outlive that, as by nohup.
    hang_up: Option<Signal>,
    panics: Panics,
    is_panic_told: bool,
}

impl Signals {
    /// Catches the signals from here on.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(crate) fn catch(panics: Panics) -> Result<Self, Failure> {
        Self::register(panics)
            .map_err(|error| Failure::Internal(format!("cannot catch signals: {}", with_advice(&error))))
    }

    fn register(panics: Panics) -> io::Result<Self> {
        // Whoever catches a signal ends its being ignored, so this is to be known before.
        let hang_up = if is_hang_up_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
            panics,
            is_panic_told: false,
        })
    }

    /// Returns at the next signal, or at the first panic, with the failure that says so.
    pub(crate) async fn next(&mut self) -> Failure {
        let hung_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Failure::Interrupted,
            _ = self.terminate.recv() => Failure::Interrupted,
            _ = hung_up => Failure::Interrupted,
            what = self.panics.next(), if !self.is_panic_told => {
                self.is_panic_told = true;
                Failure::Internal(what)
            }
        }
    }
}

/// Whether SIGHUP is ignored, as Linux tells it: a mask of signals in hexadecimal, of which it is the first. Elsewhere it is
/// taken not to be.
fn is_hang_up_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
