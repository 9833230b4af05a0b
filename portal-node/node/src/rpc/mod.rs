//! JSON-RPC over HTTP and WebSocket: the methods of the specification's OpenRPC (`jsonrpc/src/methods`) for every
//! sub-network of the registry, `discv5_*`, `web3_clientVersion`, and Cairn's own (`calls`).
//!
//! A method takes its parameters (`params`), calls the service, and gives the result its shape (`results`): nothing
//! lies between the request and the sub-network. Web pages are kept out unless they are allowed (`access`, `gate`).

pub mod calls;
pub mod client;
mod config;
mod discovery;
pub mod error;
mod gate;
pub(crate) mod local;
pub(crate) mod params;
pub(crate) mod ping;
mod portal;
mod results;
mod serve;
mod socket;
mod swarm;
mod trace;
mod under_way;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::server::{BatchRequestConfig, ServerConfig, ServerHandle, StopHandle, stop_channel};
use overlay::Discovery;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::networks::Network;
use crate::status::StatusSource;
use crate::swarm::StoreFetches;
use calls::{ClientVersion, GetStatus, serve};
use gate::GateLayer;
use local::Local;
use serve::Service;
use socket::OwnSocket;

pub use crate::access::{AllowedHost, AllowedOrigin, ParseAccessError};
pub use calls::{Call, TrustSearch};
pub use client::{AskError, PeerClient, RpcRefusal, SOCKET_FILE};
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
    stop: StopHandle,
    address: Option<SocketAddr>,
}

impl RpcServer {
    /// Serves the methods over TCP and over a socket on this machine, whichever is given; what is `local` over the socket alone.
    pub(crate) async fn start(
        tcp: Option<&RpcConfig>,
        socket: Option<&Path>,
        methods: RpcModule<()>,
        local: Local,
        tasks: &TaskTracker,
    ) -> Result<Self, RpcError> {
        let (stop, handle) = stop_channel();
        let mut address = None;
        if let Some(config) = tcp {
            let listen = |source| RpcError::Listen { address: config.listen, source };
            let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
            address = Some(listener.local_addr().map_err(listen)?);
            let access = Access { origins: config.origins.clone(), hosts: config.hosts.clone() };
            let service = service(config, methods.clone(), Some(GateLayer::new(access)));
            tasks.spawn(serve::serve(listener, serve::places(config.max_connections), service, stop.clone()));
        }
        if let Some(path) = socket {
            let config = tcp.cloned().unwrap_or_default();
            let mut methods = methods;
            methods.merge(local::module(local)?)?;
            // Without it the commands on this machine need the TCP port; the rest goes on.
            match OwnSocket::listen(path) {
                Ok(listener) => {
                    let service = service(&config, methods, None);
                    let serving = serve::serve(listener, serve::places(config.max_connections), service, stop.clone());
                    let path = path.to_owned();
                    tasks.spawn(async move {
                        serving.await;
                        socket::remove(&path);
                    });
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "no socket for commands on this machine");
                }
            }
        }
        Ok(Self { handle, stop, address })
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops listening and waits for requests under way.
    pub(crate) async fn stop(self) {
        let Self { handle, stop, .. } = self;
        // It would be waited for as well.
        drop(stop);
        if handle.stop().is_ok() {
            handle.stopped().await;
        }
    }
}

fn service(config: &RpcConfig, methods: RpcModule<()>, gate: Option<GateLayer>) -> Service {
    let limits = ServerConfig::builder()
        // Connections are counted where they are taken, and what is under way on each in `under_way`.
        .max_connections(u32::MAX)
        .max_request_body_size(config.max_request_bytes)
        .max_response_body_size(config.max_response_bytes)
        .max_subscriptions_per_connection(0)
        .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
        .build();
    Service { methods: methods.into(), config: limits, gate }
}

/// All methods, over what they act on.
pub(crate) fn methods(
    discovery: Discovery,
    networks: &[Arc<Network>],
    status: StatusSource,
    client_version: String,
    fetches: Option<&StoreFetches>,
) -> Result<RpcModule<()>, RegisterMethodError> {
    let mut methods = RpcModule::new(());
    serve(&mut methods, move |ClientVersion {}, ()| Ok(client_version.clone()))?;
    serve(&mut methods, move |GetStatus {}, ()| Ok(status.status()))?;
    methods.merge(discovery::module(discovery)?)?;
    for network in networks {
        methods.merge(portal::module(Arc::clone(network))?)?;
    }
    if let Some(fetches) = fetches {
        methods.merge(swarm::module(fetches)?)?;
    }
    Ok(methods)
}
