//! The UDP sockets, bound here rather than by discv5 so that their port is known and their buffers hold a burst.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use discv5::ListenConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::config::ListenAddresses;

/// Bytes asked of the kernel for each socket's receive buffer. Linux's default of 208 KiB holds some 90 packets, fewer than
/// two fast senders put out before this process is scheduled. The system may grant less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// The bound sockets of a node.
pub(super) struct Sockets {
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Sockets {
    pub(super) fn bind(listen: &ListenAddresses) -> io::Result<Self> {
        let bind = |address: Option<SocketAddr>| address.map(bind).transpose();
        let v4 = bind(listen.v4.map(SocketAddr::V4))?;
        let v6 = bind(listen.v6.map(SocketAddr::V6))?;
        let addresses = v4.iter().chain(&v6).map(|socket| socket.local_addr()).collect::<io::Result<_>>()?;
        Ok(Self { v4: v4.map(Arc::new), v6: v6.map(Arc::new), addresses })
    }

    pub(super) fn listen_config(self) -> ListenConfig {
        ListenConfig::FromSockets { ipv4: self.v4, ipv6: self.v6 }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
