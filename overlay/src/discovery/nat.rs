//! A port mapping on the router (UPnP): asked for at start, renewed while the node runs, removed on shutdown.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use cairn_proto::routing::AddressPolicy;
use igd_next::PortMappingProtocol;
use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::Nat;

/// How long a mapping lasts unless renewed: a node that dies leaves none behind for long.
const LEASE: Duration = Duration::from_secs(3600);

/// A lease is renewed when half of it is over.
const RENEWAL: Duration = Duration::from_secs(LEASE.as_secs() / 2);

/// Pause after a failure: the router may be starting.
const RETRY: Duration = Duration::from_secs(300);

/// How long removing the mapping may hold up the shutdown.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The name under which a router lists the mapping.
const DESCRIPTION: &str = "cairn";

/// What a router does for a node.
pub(super) trait PortMapper: Send + 'static {
    /// Maps a UDP port to `local` for a lease, and returns the address that the world sees.
    fn map(
        &mut self,
        local: SocketAddrV4,
        lease: Duration,
    ) -> impl Future<Output = Result<SocketAddrV4, String>> + Send;

    /// Removes the mapping.
    fn unmap(&mut self, external: SocketAddrV4) -> impl Future<Output = ()> + Send;
}

/// The local address to map a port to, if the mode asks for that.
pub(super) fn address_to_map(nat: Nat, listen: &[SocketAddr]) -> Option<SocketAddrV4> {
    if !matches!(nat, Nat::Upnp | Nat::Auto) {
        return None;
    }
    listen.iter().find_map(|address| match address {
        SocketAddr::V4(v4) if !v4.ip().is_loopback() => Some(*v4),
        _ => None,
    })
}

/// What becomes of the address that the world sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// It leads here from now on.
    Made(SocketAddrV4),
    /// The lease ran out and was not renewed: it leads nowhere, or to somebody else.
    Lost(SocketAddrV4),
}

/// Keeps a mapping until `stopping`, and tells `announce` of the address that the world sees whenever it changes or is lost.
pub(super) async fn keep_mapped(
    stopping: CancellationToken,
    mut mapper: impl PortMapper,
    local: SocketAddrV4,
    announce: impl Fn(Mapping) + Send,
) {
    let mut mapped = None;
    let mut lease_end = Instant::now();
    loop {
        let Some(result) = stopping.run_until_cancelled(mapper.map(local, LEASE)).await else { break };
        let pause = match result {
            Ok(external) => {
                lease_end = Instant::now() + LEASE;
                if mapped.replace(external) != Some(external) {
                    tracing::info!(%external, "the router maps a UDP port to this node");
                    announce(Mapping::Made(external));
                }
                RENEWAL
            }
            Err(reason) => {
                tracing::info!(reason, "no UDP port mapped by the router");
                if Instant::now() >= lease_end
                    && let Some(external) = mapped.take()
                {
                    announce(Mapping::Lost(external));
                }
                RETRY
            }
        };
        if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    if let Some(external) = mapped
        && tokio::time::timeout(REMOVAL_TIMEOUT, mapper.unmap(external)).await.is_err()
    {
        tracing::warn!(%external, "the router did not confirm that the port mapping is removed");
    }
}

/// A router that speaks UPnP's Internet Gateway Device protocol.
#[derive(Default)]
pub(super) struct Igd {
    gateway: Option<Gateway<Tokio>>,
}

impl PortMapper for Igd {
    async fn map(&mut self, local: SocketAddrV4, lease: Duration) -> Result<SocketAddrV4, String> {
        let gateway = search_gateway(Default::default()).await.map_err(|error| error.to_string())?;
        let gateway = self.gateway.insert(gateway);
        let inside =
            SocketAddr::new(address_towards(gateway.addr).await.map_err(|error| error.to_string())?, local.port());
        let external = gateway.get_external_ip().await.map_err(|error| error.to_string())?;
        let IpAddr::V4(external) = external else {
            return Err(format!("the router's external address {external} is not IPv4"));
        };
        check_external(external)?;
        let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
        gateway
            .add_port(PortMappingProtocol::UDP, local.port(), inside, seconds, DESCRIPTION)
            .await
            .map_err(|error| error.to_string())?;
        Ok(SocketAddrV4::new(external, local.port()))
    }

    async fn unmap(&mut self, external: SocketAddrV4) {
        if let Some(gateway) = &self.gateway
            && let Err(error) = gateway.remove_port(PortMappingProtocol::UDP, external.port()).await
        {
            tracing::debug!(%error, "port mapping not removed");
        }
    }
}

/// A router may be behind NAT itself, its own or a carrier's: then nobody out there reaches it at the address it names.
fn check_external(external: Ipv4Addr) -> Result<(), String> {
    let policy = AddressPolicy::Internet;
    if policy.admits(external.into()) && policy.believes(external.into()) {
        return Ok(());
    }
    Err(format!("the router's external address {external} is not one of the Internet: it is behind NAT itself"))
}

/// The address of this machine that faces `gateway`. Connecting a UDP socket sends nothing.
async fn address_towards(gateway: SocketAddr) -> std::io::Result<IpAddr> {
    let unspecified: SocketAddr =
        if gateway.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(unspecified).await?;
    socket.connect(gateway).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    const LOCAL: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(192, 168, 1, 2), 9009);

    fn external(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new([203, 0, 113, last].into(), 9009)
    }

    #[derive(Debug, PartialEq)]
    enum Call {
        Map(Duration),
        Unmap(SocketAddrV4),
    }

    /// Answers from a script and notes when it was asked.
    struct Script {
        answers: Vec<Result<SocketAddrV4, String>>,
        started: tokio::time::Instant,
        calls: Arc<Mutex<Vec<Call>>>,
        stopping: CancellationToken,
    }

    impl PortMapper for Script {
        async fn map(&mut self, local: SocketAddrV4, _lease: Duration) -> Result<SocketAddrV4, String> {
            assert_eq!(local, LOCAL);
            if self.answers.is_empty() {
                self.stopping.cancel();
                return std::future::pending().await;
            }
            self.calls.lock().push(Call::Map(self.started.elapsed()));
            self.answers.remove(0)
        }

        async fn unmap(&mut self, external: SocketAddrV4) {
            self.calls.lock().push(Call::Unmap(external));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_mapping_is_retried_renewed_announced_on_change_and_removed() {
        let stopping = CancellationToken::new();
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let script = Script {
            answers: vec![Err("starting".into()), Ok(external(1)), Ok(external(1)), Ok(external(2))],
            started: tokio::time::Instant::now(),
            calls: calls.clone(),
            stopping: stopping.clone(),
        };
        let announced = Mutex::new(Vec::new());
        keep_mapped(stopping, script, LOCAL, |external| announced.lock().push(external)).await;

        assert_eq!(announced.into_inner(), [Mapping::Made(external(1)), Mapping::Made(external(2))]);
        let renewals = [Duration::ZERO, RETRY, RETRY + RENEWAL, RETRY + 2 * RENEWAL];
        let expected: Vec<_> = renewals.into_iter().map(Call::Map).chain([Call::Unmap(external(2))]).collect();
        assert_eq!(*calls.lock(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_withdrawn_when_its_lease_has_run_out_and_announced_anew() {
        let stopping = CancellationToken::new();
        let failures = (LEASE - RENEWAL).as_secs() / RETRY.as_secs();
        let mut answers = vec![Ok(external(1))];
        answers.resize(1 + failures as usize, Err("gone".to_owned()));
        answers.extend([Err("gone".to_owned()), Err("gone".to_owned()), Ok(external(1))]);
        let script = Script { answers, started: Instant::now(), calls: Arc::default(), stopping: stopping.clone() };
        let announced = Mutex::new(Vec::new());
        keep_mapped(stopping, script, LOCAL, |mapping| announced.lock().push((mapping, Instant::now()))).await;

        let announced = announced.into_inner();
        let [(made, then), (lost, after), (again, _)] = announced[..] else { panic!("{announced:?}") };
        assert_eq!((made, again), (Mapping::Made(external(1)), Mapping::Made(external(1))));
        assert_eq!((lost, after), (Mapping::Lost(external(1)), then + LEASE));
    }

    #[test]
    fn a_router_behind_nat_is_told_by_its_address() {
        for behind in [[10, 0, 0, 1], [192, 168, 0, 1], [100, 64, 0, 1], [169, 254, 0, 1], [127, 0, 0, 1], [0, 0, 0, 0]]
        {
            assert!(check_external(behind.into()).is_err(), "{behind:?}");
        }
        assert_eq!(check_external([8, 8, 8, 8].into()), Ok(()));
    }

    #[test]
    fn only_modes_that_map_ports_map_one_and_never_on_loopback() {
        let lan = SocketAddr::V4(LOCAL);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 9009));
        assert_eq!(address_to_map(Nat::Upnp, &[lan]), Some(LOCAL));
        assert_eq!(address_to_map(Nat::Auto, &[loopback, lan]), Some(LOCAL));
        assert_eq!(address_to_map(Nat::Auto, &[loopback]), None);
        assert_eq!(address_to_map(Nat::None, &[lan]), None);
    }
}
