//! What a router does for a node.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::mapping::{Granted, MapRequest, MappingFailure, Removal};

/// The router, over the network.
pub(super) trait PortMapper: Send + 'static {
    /// Maps a UDP port for a lease, or renews that.
    fn map(&mut self, request: MapRequest) -> impl Future<Output = Result<Granted, MappingFailure>> + Send;

    /// Removes a mapping.
    fn unmap(&mut self, removal: Removal) -> impl Future<Output = ()> + Send;
}

/// The address of this machine that faces `gateway`. Connecting a UDP socket sends nothing.
pub(super) async fn address_towards(gateway: SocketAddr) -> io::Result<IpAddr> {
    let unspecified: SocketAddr =
        if gateway.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(unspecified).await?;
    socket.connect(gateway).await?;
    Ok(socket.local_addr()?.ip())
}
