//! A part of the program that panicked: the rest is stopped in order, and a process that is started anew does more than one
//! that has lost a part and does not know which.

use std::{
    panic,
    sync::{Arc, OnceLock},
};

use tokio::sync::Notify;

/// Tells of the first panic in any thread or task, from the moment that this is made.
#[derive(Clone, Default)]
pub(crate) struct Panics(Arc<First>);

#[derive(Default)]
struct First {
    what: OnceLock<String>,
    happened: Notify,
}

impl Panics {
    /// Takes note of panics from here on.
    pub(crate) fn watch() -> Self {
        let panics = Self::default();
        let first = Arc::clone(&panics.0);
        panic::set_hook(Box::new(move |info| {
            let message = info.payload_as_str().unwrap_or("it does not say why");
            let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
            tracing::error!("a part of the program panicked{place}: {message}");
            if first
                .what
                .set(format!("a part of the program panicked{place}, which is a mistake in it: {message}"))
                .is_ok()
            {
                first.happened.notify_waiters();
            }
        }));
        panics
    }

    /// What happened, if anything did.
    pub(crate) fn first(&self) -> Option<&str> {
        self.0.what.get().map(String::as_str)
    }

    /// Returns when something has happened.
    pub(crate) async fn next(&self) -> String {
        loop {
            let mut happened = std::pin::pin!(self.0.happened.notified());
            // From here on no panic is missed.
            happened.as_mut().enable();
            if let Some(what) = self.first() {
                return what.to_owned();
            }
            happened.await;
        }
    }
}
