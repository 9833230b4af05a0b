//! How long is waited while nobody serves what is missing of a range.

use std::time::Duration;

use cairn_swarm::quic::FetchProgress;
use tokio::sync::watch;
use tokio::time::Instant;

use super::web::MirrorTrouble;
use crate::not_found::NotFoundCause;

/// How often it is looked at what goes on.
const LOOK: Duration = Duration::from_millis(250);

/// How long is waited while nobody serves what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Before anything came.
    pub(crate) nobody: Duration,
    /// After that.
    pub(crate) nothing: Duration,
}

/// Nobody serves what is missing. What came is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "nobody serves {missing} of {wanted} items ({peers} peers with QUIC connected, waited {} s)",
    waited.as_secs()
)]
pub struct Unserved {
    /// Items that are missing.
    pub missing: u64,
    /// Items that there are, those that came before among them.
    pub wanted: u64,
    /// Peers that were connected.
    pub peers: usize,
    /// Bytes of what came this time.
    pub kept: u64,
    /// How long it was waited.
    pub waited: Duration,
    /// Whether any peer is there at all.
    pub cause: NotFoundCause,
    /// Why mirrors that were named gave no more.
    pub mirrors: Vec<MirrorTrouble>,
}

impl Patience {
    /// Returns when nobody has served what is missing for long enough. Of mirrors, of peers without QUIC and of what
    /// came before this time it knows nothing.
    pub(crate) async fn run_out(self, progress: watch::Receiver<FetchProgress>) -> Unserved {
        let mut last = (0, Instant::now());
        loop {
            tokio::time::sleep(LOOK).await;
            let now = progress.borrow();
            if now.kept > last.0 || now.total.unreachable < now.total.missing {
                last = (now.kept, Instant::now());
                continue;
            }
            let waited = if now.kept == 0 { self.nobody } else { self.nothing };
            if last.1.elapsed() > waited {
                let (missing, wanted) = (now.total.missing, now.total.wanted);
                let (peers, kept) = (now.peers.len(), now.kept);
                let cause = NotFoundCause::among_peers(peers > 0);
                return Unserved { missing, wanted, peers, kept, waited, cause, mirrors: Vec::new() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_swarm::download::DownloadProgress;

    use super::*;

    fn state(kept: u64, unreachable: u64) -> FetchProgress {
        let total = DownloadProgress { wanted: 10, missing: 8, unreachable, ..DownloadProgress::default() };
        FetchProgress { kept, total, ..FetchProgress::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_sooner_before_anything_came() {
        let patience = Patience { nobody: Duration::from_secs(4), nothing: Duration::from_secs(60) };
        for (kept, waited) in [(0, patience.nobody), (7, patience.nothing)] {
            let (_sender, progress) = watch::channel(state(kept, 8));
            let (begun, unserved) = (Instant::now(), patience.run_out(progress).await);
            let cause = NotFoundCause::NobodyAnswered;
            let expected = Unserved { missing: 8, wanted: 10, peers: 0, kept, waited, cause, mirrors: Vec::new() };
            assert_eq!(unserved, expected);
            assert!(begun.elapsed() >= waited && begun.elapsed() < waited + LOOK * 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_end_while_somebody_serves_or_something_comes() {
        let second = Duration::from_secs(1);
        let patience = Patience { nobody: second, nothing: second };
        let (sender, progress) = watch::channel(state(0, 7));
        let mut running = std::pin::pin!(patience.run_out(progress));
        assert!(tokio::time::timeout(second * 5, &mut running).await.is_err(), "one of the missing can be had");
        sender.send_replace(state(1, 8));
        for kept in 2..10 {
            assert!(tokio::time::timeout(second / 2, &mut running).await.is_err(), "something comes");
            sender.send_replace(state(kept, 8));
        }
        assert_eq!(running.await.kept, 9);
    }
}
