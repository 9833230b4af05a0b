//! JSON-RPC over HTTP and WebSocket: the methods of the specification's OpenRPC (`jsonrpc/src/methods`) for every
//! sub-network of the registry, `discv5_*`, `web3_clientVersion`, `cairn_status` for the command line, and what is moved
//! over QUIC (`swarm`).
//!
//! A method takes its parameters (`params`), calls the service, and gives the result its shape (`results`): nothing
//! lies between the request and the sub-network. Web pages are kept out unless they are allowed (`access`, `gate`).

mod config;
mod discovery;
pub mod error;
mod gate;
pub(crate) mod params;
pub(crate) mod ping;
mod portal;
mod results;
mod swarm;
mod trace;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::{BatchRequestConfig, ServerConfig, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use overlay::Discovery;

use crate::access::Access;
use crate::networks::Network;
use crate::status::{Status, StatusSource};
use crate::swarm::StoreFetches;
use gate::GateLayer;
use params::Arguments;

pub use crate::access::{AllowedHost, AllowedOrigin, ParseAccessError};
pub use config::{DEFAULT_RPC_PORT, RpcConfig};

/// Why the JSON-RPC server did not start.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The address cannot be listened on.
    #[error("JSON-RPC cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Two methods have the same name.
    #[error(transparent)]
    Method(#[from] RegisterMethodError),
}

/// The running server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RpcServer {
    handle: ServerHandle,
    address: SocketAddr,
}

impl RpcServer {
    pub(crate) async fn start(
        config: &RpcConfig,
        discovery: Discovery,
        networks: &[Arc<Network>],
        status: StatusSource,
        client_version: String,
        store_fetches: Option<&StoreFetches>,
    ) -> Result<Self, RpcError> {
        let mut methods = methods(discovery, networks, status, client_version)?;
        if let Some(fetches) = store_fetches {
            methods.merge(swarm::module(fetches)?)?;
        }
        let listen = |source| RpcError::Listen { address: config.listen, source };
        let limits = ServerConfig::builder()
            .max_connections(config.max_connections)
            .max_request_body_size(config.max_request_bytes)
            .max_response_body_size(config.max_response_bytes)
            .max_subscriptions_per_connection(0)
            .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
            .build();
        let access = Access { origins: config.origins.clone(), hosts: config.hosts.clone() };
        let server = jsonrpsee::server::ServerBuilder::with_config(limits)
            .set_http_middleware(tower::ServiceBuilder::new().layer(GateLayer::new(access)))
            .build(config.listen)
            .await
            .map_err(listen)?;
        let address = server.local_addr().map_err(listen)?;
        Ok(Self { handle: server.start(methods), address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and waits for requests under way.
    pub(crate) async fn stop(self) {
        if self.handle.stop().is_ok() {
            self.handle.stopped().await;
        }
    }
}

/// All methods, over what they act on.
pub(crate) fn methods(
    discovery: Discovery,
    networks: &[Arc<Network>],
    status: StatusSource,
    client_version: String,
) -> Result<RpcModule<()>, RegisterMethodError> {
    let mut methods = RpcModule::new(());
    methods.register_method("web3_clientVersion", move |params, (), _| {
        Arguments::new(&params, &[]).map(|_| client_version.clone())
    })?;
    methods.register_method("cairn_status", move |params, (), _| -> Result<Status, ErrorObjectOwned> {
        Arguments::new(&params, &[])?;
        Ok(status.status())
    })?;
    methods.merge(discovery::module(discovery)?)?;
    for network in networks {
        methods.merge(portal::module(Arc::clone(network))?)?;
    }
    Ok(methods)
}
