//! Where and within which limits the JSON-RPC is served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{AllowedHost, AllowedOrigin};

/// TCP port of the JSON-RPC.
pub const DEFAULT_RPC_PORT: u16 = 8645;

/// Where and within which limits the JSON-RPC is served, over HTTP and WebSocket on one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcConfig {
    /// TCP address. Everybody who reaches it can command the node, so loopback unless there is a reason.
    pub listen: SocketAddr,
    /// Web pages that may call; without one, no request with an `Origin` is answered.
    pub origins: Vec<AllowedOrigin>,
    /// Names of this machine that requests may be for, beside `localhost` and every IP address.
    pub hosts: Vec<AllowedHost>,
    /// Connections at once.
    pub max_connections: u32,
    /// Bytes of a request.
    pub max_request_bytes: u32,
    /// Bytes of an answer.
    pub max_response_bytes: u32,
    /// Requests in a batch.
    pub max_batch: u32,
}

impl RpcConfig {
    /// The default limits at another address.
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, ..Self::default() }
    }
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_RPC_PORT),
            origins: Vec::new(),
            hosts: Vec::new(),
            max_connections: 64,
            // A body or a receipt list of 16 MiB as hex, and something around it.
            max_request_bytes: 33 << 20,
            // The longest receipt list that content-types lets in, as hex, and a trace.
            max_response_bytes: 66 << 20,
            max_batch: 64,
        }
    }
}
