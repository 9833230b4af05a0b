//! What is moved over QUIC and within which limits, who holds what, and ranges into this node's store.

use std::sync::Arc;
use std::time::Duration;

use cairn_swarm::quic::{Limits, Session, Swarm};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;

use super::calls::{
    FetchIntoStore, GetCoverage, GetLimits, GetSwarm, LimitsResult, PeerResult, SetLimits, SwarmResult, serve,
};
use super::error::{fetch_not_begun, invalid_params};
use super::params::Rate;
use crate::swarm::{NotBegun, StoreFetches, StoreRange, coverage};

/// How long [`FetchIntoStore`] waits while nobody serves what is missing, in seconds, unless told otherwise.
const PATIENCE_SECONDS: u16 = 60;

impl From<Limits> for LimitsResult {
    fn from(limits: Limits) -> Self {
        Self { upload_limit: limits.upload, download_limit: limits.download, max_peers: limits.max_peers }
    }
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
    serve(&mut module, move |GetSwarm {}, ()| Ok(SwarmResult::of(&of)))?;
    let of = swarm.clone();
    serve(&mut module, move |GetLimits {}, ()| Ok(of.limits().into()))?;
    let of = swarm.clone();
    serve(&mut module, move |SetLimits { upload_limit, download_limit, max_peers }, ()| {
        let mut limits = of.limits();
        if let Some(Rate(upload)) = upload_limit {
            limits.upload = upload;
        }
        if let Some(Rate(download)) = download_limit {
            limits.download = download;
        }
        if let Some(peers) = max_peers {
            limits.max_peers = usize::from(peers);
        }
        of.set_limits(limits);
        Ok(limits.into())
    })?;
    let of = swarm.clone();
    serve(&mut module, move |GetCoverage {}, ()| Ok(coverage(&of)))?;
    let fetches = fetches.clone();
    serve(&mut module, move |FetchIntoStore { first, last, patience }, ()| {
        let patience = Duration::from_secs(patience.unwrap_or(PATIENCE_SECONDS).into());
        fetches.ask(StoreRange { first, last }, patience).map_err(|error| match error {
            NotBegun::Empty => invalid_params(error.to_string()),
            NotBegun::TooMany | NotBegun::Stopping => fetch_not_begun(error),
        })
    })?;
    Ok(module)
}
