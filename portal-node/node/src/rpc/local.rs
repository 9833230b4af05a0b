//! What only commands of the same user may ask of a peer that runs: over the socket in its data folder, never over TCP. It costs the
//! peer's processor or its lines, or it touches files.

use std::collections::BTreeSet;
use std::sync::Arc;

use content_types::ContentKey;
use content_types::room::KeyError;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use overlay::Discovery;
use overlay::transport::Transport as _;
use serde_json::json;
use serde_json::value::RawValue;

use super::calls::{
    FetchTrust, GetBlock, GetHeader, GetPeers, HeaderResult, OfferContent, TrustSearch, serve, serve_later,
};
use super::error::{
    RpcResult, content_refused, disk_failed, in_item, internal, invalid_params, no_such_form, not_fetched, stopping,
};
use super::results::hex_string;
use crate::fetch::{FetchError, Fetcher};
use crate::holdings::HoldingsError;
use crate::networks::Network;
use crate::present::{self, BlobFees, PieceError, PieceForm, What};
use crate::seeding::{GivenContent, GivenError};
use crate::trust_fetcher::TrustFetcher;
use crate::workers::Workers;

/// What the methods act on.
pub(crate) struct Local {
    pub(crate) fetcher: Fetcher,
    pub(crate) workers: Workers,
    pub(crate) fees: BlobFees,
    pub(crate) trust: TrustFetcher,
    pub(crate) discovery: Discovery,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) given: GivenContent,
}

/// Records that [`GetPeers`] gives at most.
const MAX_PEERS: usize = 64;

impl Local {
    /// The record of this node, and of peers that answered lately, each once.
    fn peers(&self) -> Vec<String> {
        let own = self.discovery.local_enr().to_base64();
        let tables = self.networks.iter().map(|network| network.overlay().routing_table());
        let live = tables.flat_map(|table| table.buckets.into_iter().flatten()).filter(|entry| entry.live);
        let others: BTreeSet<String> = live.map(|entry| entry.enr.to_base64()).collect();
        std::iter::once(own).chain(others).take(MAX_PEERS).collect()
    }
}

/// The methods.
///
/// # Errors
/// When two of them have the same name.
pub(crate) fn module(local: Local) -> Result<RpcModule<Local>, RegisterMethodError> {
    let mut module = RpcModule::new(local);
    serve_later(&mut module, |GetBlock { block, what, form }, local: Arc<Local>| async move {
        let (what, form) = (what.unwrap_or(What::Block), form.unwrap_or(PieceForm::Json));
        let piece = present::piece(&local.fetcher, &local.workers, local.fees.clone(), block, what, form)
            .await
            .map_err(refused)?;
        match form {
            // As it was written: the order of fields is that of execution clients.
            PieceForm::Json => String::from_utf8(piece).map_err(internal).and_then(raw),
            PieceForm::Rlp => raw(json!(hex_string(piece)).to_string()),
        }
    })?;
    serve_later(&mut module, |GetHeader { block }, local: Arc<Local>| async move {
        let found = local.fetcher.header_with_proof(block).await;
        let (header, proof) = found.map_err(|error| refused(error.into()))?;
        Ok(HeaderResult { header: header.rlp().clone().into(), proof: proof.map(|proof| proof.encode().into()) })
    })?;
    serve(&mut module, |GetPeers {}, local: &Local| Ok(local.peers()))?;
    serve_later(&mut module, |OfferContent { network, items }, local: Arc<Local>| async move {
        let decoded = items.into_iter().enumerate().map(|(position, (key, value))| {
            let wrong = |error: KeyError| in_item(position, &invalid_params(error.to_string()));
            Ok((ContentKey::decode(network, &key).map_err(wrong)?, value))
        });
        let items = decoded.collect::<RpcResult<Vec<_>>>()?;
        local.given.hand_out(network, items).await.map_err(|error| not_offered(&error))
    })?;
    serve_later(&mut module, |FetchTrust {}, local: Arc<Local>| async move {
        let searches = local.trust.fetch_missing().await.into_iter().map(|search| TrustSearch {
            list: search.kind.to_string(),
            found: search.found,
            asked: search.asked,
            cause: search.cause,
            failures: search.failures.iter().map(|(peer, why)| format!("{}: {why}", peer.node_id())).collect(),
        });
        Ok(searches.collect())
    })?;
    Ok(module)
}

fn raw(written: String) -> RpcResult<Box<RawValue>> {
    RawValue::from_string(written).map_err(internal)
}

/// What a caller is told of a piece that was not had: for what was not found, a line for each peer that was asked.
fn refused(error: PieceError) -> ErrorObjectOwned {
    match &error {
        PieceError::Fetch(fetch @ (FetchError::Header(_) | FetchError::NotFound { .. })) => {
            let asked: Vec<String> = fetch.traces().into_iter().flat_map(|trace| trace.lines()).collect();
            not_fetched(&error, json!({ "asked": asked, "cause": fetch.cause() }))
        }
        PieceError::Fetch(FetchError::Stopping(_)) | PieceError::Stopping(_) => stopping(&error),
        PieceError::Fetch(FetchError::Holdings(_)) => disk_failed(&error),
        PieceError::Form { .. } | PieceError::Fetch(FetchError::Encoding(_)) => no_such_form(&error),
    }
}

/// What a caller is told when nothing of what it gave was offered.
fn not_offered(error: &GivenError) -> ErrorObjectOwned {
    match error {
        GivenError::NotSpoken(_) => invalid_params(error.to_string()),
        GivenError::Invalid { .. } => content_refused(error),
        GivenError::Holdings(HoldingsError::Stopping(_)) => stopping(error),
        GivenError::Holdings(_) => disk_failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::BlockId;
    use crate::present::PresentError;
    use crate::rpc::error::{NO_SUCH_FORM, STOPPING};
    use crate::workers::Stopping;

    #[test]
    fn a_caller_can_tell_what_it_asked_wrong_from_what_the_peer_cannot_do() {
        let code = |error: PieceError| refused(error).code();
        let source = PresentError::Json("too large".to_owned());
        assert_eq!(code(PieceError::Form { block: BlockId::Number(5), source }), NO_SUCH_FORM);
        assert_eq!(code(Stopping.into()), STOPPING);
        assert_eq!(code(FetchError::from(Stopping).into()), STOPPING);
    }
}
