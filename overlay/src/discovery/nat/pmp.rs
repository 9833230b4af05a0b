//! A router that speaks PCP, or its forerunner NAT-PMP: both ask the default gateway by UDP, on the same port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::pcp::{self, BaseMapRequest, DropMappingRange, Nonce};
use crab_nat::{
    GATEWAY_PORT, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp,
};

use super::gateway::default_gateway;
use super::mapper::{PortMapper, address_towards};
use super::mapping::{Granted, MapRequest, MappingFailure, MappingProtocol, Removal};

/// How long an answer is waited for: 250 ms, then twice as long each time, four seconds in all. The gateway is one hop away.
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(2)),
};

/// What the library puts before the reason that a router gives.
const REASON_PREFIX: &str = "Server responded with code: ";

/// The default gateway, looked up for each request: a laptop gets about.
pub(super) struct Pmp {
    /// Says whose a mapping is. A router renews and removes it for the same one only.
    nonce: Nonce,
    /// Another gateway than the system's.
    gateway: Option<Ipv4Addr>,
}

impl Pmp {
    /// With a nonce that is the same after a restart and that nobody else knows.
    pub(super) fn new(nonce: Nonce) -> Self {
        Self { nonce, gateway: None }
    }

    async fn gateway(&self) -> Result<Ipv4Addr, MappingFailure> {
        if let Some(gateway) = self.gateway {
            return Ok(gateway);
        }
        let found = default_gateway().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the system does not say which its gateway is");
            None
        });
        found.ok_or(MappingFailure::NoGateway)
    }

    async fn map_by_pcp(&self, gateway: Ipv4Addr, local: NonZeroU16, request: MapRequest) -> Answer {
        let base = BaseMapRequest::new(gateway.into(), facing(gateway).await?, InternetProtocol::Udp, local);
        let address = request.outer_address.map(IpAddr::V4);
        let mapping = pcp::port_mapping(base, Some(self.nonce), address, options(request)).await.map_err(of_pcp)?;
        let PortMappingType::Pcp { external_ip, .. } = mapping.mapping_type() else {
            return Err(MappingFailure::NoGateway);
        };
        let IpAddr::V4(address) = external_ip else {
            return Err(MappingFailure::refused(format_args!("the router's outer address {external_ip} is not IPv4")));
        };
        Ok(granted(address, &mapping))
    }
}

type Answer = Result<Granted, MappingFailure>;

impl PortMapper for Pmp {
    async fn map(&mut self, request: MapRequest) -> Answer {
        let gateway = self.gateway().await?;
        let local = NonZeroU16::new(request.local.port()).ok_or(MappingFailure::NoGateway)?;
        match request.by {
            MappingProtocol::Pcp => self.map_by_pcp(gateway, local, request).await,
            MappingProtocol::NatPmp => {
                let address = natpmp::external_address(gateway.into(), Some(PATIENCE)).await.map_err(of_nat_pmp)?;
                let mapping = natpmp::port_mapping(gateway.into(), InternetProtocol::Udp, local, options(request));
                Ok(granted(address, &mapping.await.map_err(of_nat_pmp)?))
            }
            MappingProtocol::Upnp => Err(MappingFailure::NoGateway),
        }
    }

    async fn unmap(&mut self, removal: Removal) {
        let (Ok(gateway), Some(local)) = (self.gateway().await, NonZeroU16::new(removal.local.port())) else { return };
        let protocol = InternetProtocol::Udp;
        let removed = match removal.by {
            MappingProtocol::Pcp => {
                let Ok(client) = facing(gateway).await else { return };
                let which = DropMappingRange::Single { protocol, internal_port: local };
                let removed = pcp::try_drop_mapping(gateway.into(), client, self.nonce, which, Some(PATIENCE)).await;
                removed.map_err(|error| error.to_string())
            }
            MappingProtocol::NatPmp => {
                let removed = natpmp::try_drop_mapping(gateway.into(), protocol, Some(local), Some(PATIENCE)).await;
                removed.map_err(|error| error.to_string())
            }
            MappingProtocol::Upnp => return,
        };
        if let Err(error) = removed {
            tracing::debug!(error, "port mapping not removed");
        }
    }
}

fn options(request: MapRequest) -> PortMappingOptions {
    PortMappingOptions {
        external_port: NonZeroU16::new(request.outer_port),
        lifetime_seconds: Some(u32::try_from(request.lease.as_secs()).unwrap_or(u32::MAX)),
        timeout_config: Some(PATIENCE),
    }
}

fn granted(address: Ipv4Addr, mapping: &PortMapping) -> Granted {
    let external = SocketAddrV4::new(address, mapping.external_port().get());
    Granted { external, lease: Duration::from_secs(mapping.lifetime().into()) }
}

/// This machine's address as the gateway sees it, which PCP has in each request.
async fn facing(gateway: Ipv4Addr) -> Result<IpAddr, MappingFailure> {
    address_towards(SocketAddr::from((gateway, GATEWAY_PORT))).await.map_err(|_| MappingFailure::NoGateway)
}

fn of_pcp(failure: pcp::Failure) -> MappingFailure {
    match failure {
        // One that speaks NAT-PMP only says so.
        pcp::Failure::Socket(_) | pcp::Failure::Timeout | pcp::Failure::UnsupportedVersion(_) => no_gateway(failure),
        refusal => refused(refusal),
    }
}

fn of_nat_pmp(failure: natpmp::Failure) -> MappingFailure {
    use natpmp::Failure;
    match failure {
        Failure::Socket(_) | Failure::Timeout | Failure::UnsupportedVersion(_) => no_gateway(failure),
        refusal => refused(refusal),
    }
}

fn no_gateway(failure: impl fmt::Display) -> MappingFailure {
    tracing::debug!(%failure, "the gateway does not map ports");
    MappingFailure::NoGateway
}

fn refused(failure: impl fmt::Display) -> MappingFailure {
    let text = failure.to_string();
    MappingFailure::refused(text.strip_prefix(REASON_PREFIX).unwrap_or(&text).to_lowercase())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    const NONCE: Nonce = [1, 2, 3];
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

    /// A gateway on an address of loopback that nobody else has, at the port that the protocols have.
    async fn gateway(last: u8) -> (UdpSocket, Pmp) {
        let process = std::process::id().to_le_bytes();
        let address = Ipv4Addr::new(127, process[1], process[0], last);
        let socket = UdpSocket::bind((address, GATEWAY_PORT)).await.unwrap();
        (socket, Pmp { gateway: Some(address), ..Pmp::new(NONCE) })
    }

    fn request(by: MappingProtocol, local: u16) -> MapRequest {
        let local = SocketAddrV4::new([192, 168, 1, 2].into(), local);
        MapRequest { by, local, outer_address: None, outer_port: local.port(), lease: Duration::from_secs(3600) }
    }

    /// Answers each request by `answer` for as long as `asking` takes.
    async fn answering<T>(
        socket: &UdpSocket,
        asking: impl Future<Output = T>,
        mut answer: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> T {
        let serve = async {
            let mut packet = [0; 2048];
            loop {
                let (len, from) = socket.recv_from(&mut packet).await.unwrap();
                socket.send_to(&answer(&packet[..len]), from).await.unwrap();
            }
        };
        tokio::select! {
            answer = asking => answer,
            () = serve => unreachable!("it serves for ever"),
        }
    }

    /// A PCP answer to MAP (RFC 6887, figures 3 and 10) that grants `outer_port` at [`OUTSIDE`] for a lease in seconds.
    fn pcp_answer(request: &[u8], result: u8, lease: u32, outer_port: u16) -> Vec<u8> {
        assert_eq!((request.len(), request[0], request[1]), (60, 2, 1), "a MAP request of PCP");
        let header = [&[2, 0x81, 0, result][..], &lease.to_be_bytes(), &77_u32.to_be_bytes(), &[0; 12]].concat();
        let address = OUTSIDE.to_ipv6_mapped().octets();
        [&header, &request[24..42], &outer_port.to_be_bytes(), &address[..]].concat()
    }

    #[tokio::test]
    async fn pcp_maps_a_port_to_what_the_router_says_and_removes_it() {
        let (socket, mut pmp) = gateway(1).await;
        let answer = answering(&socket, pmp.map(request(MappingProtocol::Pcp, 9009)), |packet| {
            assert_eq!(packet[4..8], 3600_u32.to_be_bytes());
            assert_eq!(packet[24..36], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3], "the nonce");
            assert_eq!((packet[36], &packet[40..44]), (17, &[0x23, 0x31, 0x23, 0x31][..]), "UDP, 9009 to 9009");
            // As the port is taken, it gives another one, and for a shorter time.
            pcp_answer(packet, 0, 1800, 20_001)
        });
        let external = SocketAddrV4::new(OUTSIDE, 20_001);
        assert_eq!(answer.await, Ok(Granted { external, lease: Duration::from_secs(1800) }));

        let MapRequest { by, local, .. } = request(MappingProtocol::Pcp, 9009);
        let mut removed = Vec::new();
        answering(&socket, pmp.unmap(Removal { by, local, external }), |packet| {
            removed.push((packet[4..8].to_vec(), packet[40..42].to_vec()));
            pcp_answer(packet, 0, 0, 0)
        })
        .await;
        assert_eq!(removed, [(vec![0; 4], vec![0x23, 0x31])], "a lifetime of nothing");
    }

    #[tokio::test]
    async fn what_a_router_does_not_speak_or_refuses_is_told_apart() {
        let (socket, mut pmp) = gateway(2).await;
        let not_authorized = 2;
        let map = pmp.map(request(MappingProtocol::Pcp, 9009));
        let refused = answering(&socket, map, |packet| pcp_answer(packet, not_authorized, 60, 0)).await;
        assert_eq!(refused, Err(MappingFailure::Refused("not authorized".to_owned())));
        // One that speaks NAT-PMP only says which version it has.
        let map = pmp.map(request(MappingProtocol::Pcp, 9009));
        let unknown = answering(&socket, map, |_| vec![0, 0x81, 0, 1, 0, 0, 0, 77]).await;
        assert_eq!(unknown, Err(MappingFailure::NoGateway));
        // Nobody listens: the system says so at once.
        drop(socket);
        for by in [MappingProtocol::Pcp, MappingProtocol::NatPmp] {
            assert_eq!(pmp.map(request(by, 9009)).await, Err(MappingFailure::NoGateway));
        }
    }

    #[tokio::test]
    async fn nat_pmp_maps_a_port_at_the_address_that_the_router_names() {
        let (socket, mut pmp) = gateway(3).await;
        let answer = |packet: &[u8]| match *packet {
            // RFC 6886, 3.2: the outer address.
            [0, 0] => [&[0, 128, 0, 0, 0, 0, 0, 77][..], &OUTSIDE.octets()].concat(),
            // 3.3: UDP, from one port to another, for two hours at most.
            [0, 1, 0, 0, a, b, _, _, 0, 0, 0x0e, 0x10] => {
                vec![0, 129, 0, 0, 0, 0, 0, 77, a, b, 0x4e, 0x21, 0, 0, 0x0e, 0x10]
            }
            [0, 1, 0, 0, a, b, 0, 0, 0, 0, 0, 0] => vec![0, 129, 0, 0, 0, 0, 0, 77, a, b, 0, 0, 0, 0, 0, 0],
            _ => panic!("{packet:?}"),
        };
        let asked = request(MappingProtocol::NatPmp, 10_009);
        let external = SocketAddrV4::new(OUTSIDE, 20_001);
        let granted = answering(&socket, pmp.map(asked), answer).await;
        assert_eq!(granted, Ok(Granted { external, lease: asked.lease }));
        let mut packets = 0;
        let removal = Removal { by: asked.by, local: asked.local, external };
        answering(&socket, pmp.unmap(removal), |packet| {
            packets += 1;
            answer(packet)
        })
        .await;
        assert_eq!(packets, 1);
    }

    #[tokio::test]
    async fn no_answer_is_too_odd() {
        let (socket, mut pmp) = gateway(4).await;
        let mut seed = 1_u64;
        for round in 0..200 {
            let by = if round % 2 == 0 { MappingProtocol::Pcp } else { MappingProtocol::NatPmp };
            let answer = answering(&socket, pmp.map(request(by, 9009)), |packet| {
                let mut odd = if by == MappingProtocol::Pcp {
                    pcp_answer(packet, 0, 0, 1)
                } else {
                    vec![0, 129, 0, 0, 0, 0, 0, 1]
                };
                for _ in 0..3 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let [value, place, len, ..] = seed.to_be_bytes();
                    let place = usize::from(place) % odd.len().max(1);
                    odd[place] = value;
                    odd.truncate(4 + usize::from(len) % 64);
                }
                odd
            });
            // Whatever it is: an answer, and nothing that is not there.
            if let Ok(granted) = answer.await {
                assert_eq!(by, MappingProtocol::Pcp);
                assert_ne!(granted.external.port(), 0);
            }
        }
    }
}
