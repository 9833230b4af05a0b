//! Does what the [`MappingKeeper`] decides, by a router.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::keeper::{MappingKeeper, Output};
use super::mapper::PortMapper;
use super::mapping::{MappingFailure, MappingState};

/// The longest that one request may take, the search for a router included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long removing what is mapped may hold up the shutdown, or what is asked for next.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What others are told.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Told {
    /// A service, by its place, is reached at this address from now on.
    Reached(usize, SocketAddrV4),
    /// It is not reached there any more.
    Lost(usize, SocketAddrV4),
    /// What has become of each service.
    States(Vec<MappingState>),
}

/// Keeps mappings until `stopping`, then removes them.
pub(super) async fn keep_mapped(
    stopping: CancellationToken,
    mut mapper: impl PortMapper,
    mut keeper: MappingKeeper,
    tell: impl Fn(Told) + Send,
) {
    keeper.handle_timeout(now());
    while !stopping.is_cancelled() {
        loop {
            tell(Told::States(keeper.states().collect()));
            let Some(output) = keeper.poll_output() else { break };
            match output {
                Output::Map(request) => {
                    let asked = timeout(REQUEST_TIMEOUT, mapper.map(request));
                    let Some(answer) = stopping.run_until_cancelled(asked).await else { break };
                    let answer = answer.unwrap_or(Err(MappingFailure::NoGateway));
                    tracing::debug!(?request, ?answer, "a port mapping was asked for");
                    keeper.handle_answer(now(), answer);
                }
                Output::Unmap(removal) => {
                    let removed = timeout(REMOVAL_TIMEOUT, mapper.unmap(removal));
                    if stopping.run_until_cancelled(removed).await.is_none() {
                        break;
                    }
                }
                Output::Announce(index, external) => tell(Told::Reached(index, external)),
                Output::Withdraw(index, external) => tell(Told::Lost(index, external)),
            }
        }
        let Some(due) = keeper.next_timeout() else { break };
        if stopping.run_until_cancelled(sleep_until(Instant::from_std(due))).await.is_none() {
            break;
        }
        keeper.handle_timeout(now());
    }
    keeper.handle_stop();
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    while let Some(output) = keeper.poll_output() {
        if let Output::Unmap(removal) = output
            && timeout_at(deadline, mapper.unmap(removal)).await.is_err()
        {
            tracing::warn!(external = %removal.external, "the router did not confirm that the port mapping is removed");
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::super::keeper::LEASE;
    use super::super::mapping::{Granted, MapRequest, MappingProtocol, Removal};
    use super::*;

    fn local(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([192, 168, 1, 2].into(), port)
    }

    /// A router that has one port taken, hangs once, and notes what it is asked.
    #[derive(Clone)]
    struct FakeRouter {
        asked: Arc<Mutex<Vec<MapRequest>>>,
        removed: Arc<Mutex<Vec<Removal>>>,
        /// At which request it hangs, and at which the node is stopped.
        hangs: usize,
        stops: usize,
        stopping: CancellationToken,
    }

    impl PortMapper for FakeRouter {
        async fn map(&mut self, request: MapRequest) -> Result<Granted, MappingFailure> {
            let asked = {
                let mut asked = self.asked.lock();
                asked.push(request);
                asked.len()
            };
            if asked == self.stops {
                self.stopping.cancel();
            }
            if asked == self.hangs || asked == self.stops {
                return std::future::pending().await;
            }
            if request.outer_port == 9009 {
                return Err(MappingFailure::Taken);
            }
            let external = SocketAddrV4::new([8, 8, 8, 8].into(), request.outer_port);
            Ok(Granted { external, lease: request.lease })
        }

        async fn unmap(&mut self, removal: Removal) {
            self.removed.lock().push(removal);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_decided_is_done_and_told_and_in_the_end_undone() {
        let stopping = CancellationToken::new();
        // The first request hangs. A minute later come two for discv5 and one for the other, after half a lease both again.
        let (hangs, stops) = (1, 6);
        let (asked, removed) = (Arc::default(), Arc::default());
        let router = FakeRouter { asked, removed, hangs, stops, stopping: stopping.clone() };
        let begun = Instant::now();
        let keeper =
            MappingKeeper::new(vec![local(9009), local(10_009)], &[MappingProtocol::Upnp], 1, begun.into_std());
        let told = Mutex::new(Vec::new());
        keep_mapped(stopping, router.clone(), keeper, |what| told.lock().push(what)).await;

        assert!(begun.elapsed() >= LEASE / 2);
        let asked = router.asked.lock().clone();
        assert_eq!(asked.len(), stops);
        let other = SocketAddrV4::new([8, 8, 8, 8].into(), asked[2].outer_port);
        let quic = SocketAddrV4::new([8, 8, 8, 8].into(), 10_009);
        assert_ne!(other.port(), 9009);
        let told = told.into_inner();
        let changes: Vec<_> = told.iter().filter(|told| !matches!(told, Told::States(_))).collect();
        assert_eq!(changes, [&Told::Reached(0, other), &Told::Reached(1, quic)]);
        let by = MappingProtocol::Upnp;
        let mapped = |external| MappingState::Mapped { external, by };
        let states: Vec<_> = told.iter().filter(|told| matches!(told, Told::States(_))).collect();
        assert_eq!(*states[0], Told::States(vec![MappingState::Asking, MappingState::Asking]));
        assert_eq!(states.last(), Some(&&Told::States(vec![mapped(other), mapped(quic)])));
        let removal = |local, external| Removal { by, local, external };
        assert_eq!(*router.removed.lock(), [removal(local(9009), other), removal(local(10_009), quic)]);
    }
}
