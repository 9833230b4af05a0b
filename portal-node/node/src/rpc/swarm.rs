//! `cairn_swarm`, `cairn_limits`, `cairn_setLimits`, `cairn_coverage` and `cairn_fetch`: what is moved over QUIC, who holds
//! what, and ranges into this node's store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_swarm::quic::{Limits, Session, Swarm};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use serde::Serialize;

use super::error::{fetch_not_begun, invalid_params};
use super::params::{Arguments, Rate};
use crate::swarm::{NotBegun, StoreFetchState, StoreFetches, StoreRange, coverage};

/// How long `cairn_fetch` waits while nobody serves what is missing, in seconds, unless told otherwise.
const PATIENCE_SECONDS: u16 = 60;

/// Limits, in bytes a second; `null` is none.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitsResult {
    upload_limit: Option<u64>,
    download_limit: Option<u64>,
    max_peers: usize,
}

impl From<Limits> for LimitsResult {
    fn from(limits: Limits) -> Self {
        Self { upload_limit: limits.upload, download_limit: limits.download, max_peers: limits.max_peers }
    }
}

/// A peer that is connected over QUIC.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerResult {
    node_id: String,
    address: SocketAddr,
    client: String,
    rtt_micros: u64,
    serves_us: bool,
}

/// What was moved over QUIC since the start, in bytes of answers, and the peers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SwarmResult {
    uploaded: u64,
    downloaded: u64,
    peers: Vec<PeerResult>,
}

impl SwarmResult {
    fn of(swarm: &Swarm) -> Self {
        let peer = |session: &Arc<Session>| PeerResult {
            node_id: session.node_id().to_string(),
            address: session.address(),
            client: String::from_utf8_lossy(&session.hello().client).into_owned(),
            rtt_micros: u64::try_from(session.rtt().as_micros()).unwrap_or(u64::MAX),
            serves_us: session.view().serves_us,
        };
        let (uploaded, downloaded) = swarm.moved();
        Self { uploaded, downloaded, peers: swarm.sessions().iter().map(peer).collect() }
    }
}

/// The methods, over a swarm and what is fetched from it.
///
/// # Errors
/// When two methods have the same name.
pub(crate) fn module(fetches: &StoreFetches) -> Result<RpcModule<()>, RegisterMethodError> {
    let mut module = RpcModule::new(());
    let swarm = fetches.swarm();
    let of = swarm.clone();
    module.register_method("cairn_swarm", move |params, (), _| {
        Arguments::new(&params, &[]).map(|_| SwarmResult::of(&of))
    })?;
    let of = swarm.clone();
    module.register_method("cairn_limits", move |params, (), _| -> Result<LimitsResult, ErrorObjectOwned> {
        Arguments::new(&params, &[])?;
        Ok(of.limits().into())
    })?;
    let of = swarm.clone();
    module.register_method("cairn_setLimits", move |params, (), _| -> Result<LimitsResult, ErrorObjectOwned> {
        let arguments = Arguments::new(&params, &["uploadLimit", "downloadLimit", "maxPeers"])?;
        let mut limits = of.limits();
        let rate = |name| arguments.optional::<Rate>(name);
        if let Some(Rate(upload)) = rate("uploadLimit")? {
            limits.upload = upload;
        }
        if let Some(Rate(download)) = rate("downloadLimit")? {
            limits.download = download;
        }
        if let Some(peers) = arguments.optional::<u16>("maxPeers")? {
            limits.max_peers = usize::from(peers);
        }
        of.set_limits(limits);
        Ok(limits.into())
    })?;
    let of = swarm.clone();
    module
        .register_method("cairn_coverage", move |params, (), _| Arguments::new(&params, &[]).map(|_| coverage(&of)))?;
    let fetches = fetches.clone();
    module.register_method("cairn_fetch", move |params, (), _| -> Result<StoreFetchState, ErrorObjectOwned> {
        let arguments = Arguments::new(&params, &["first", "last", "patience"])?;
        let range = StoreRange { first: arguments.required("first")?, last: arguments.required("last")? };
        let patience = arguments.optional::<u16>("patience")?.unwrap_or(PATIENCE_SECONDS);
        fetches.ask(range, Duration::from_secs(patience.into())).map_err(|error| match error {
            NotBegun::Empty => invalid_params(error.to_string()),
            NotBegun::TooMany | NotBegun::Stopping => fetch_not_begun(error),
        })
    })?;
    Ok(module)
}
