//! The `portal_*` methods of one sub-network. Every sub-network has the same set, so they are written once and
//! registered under each one's names.

use std::sync::Arc;

use bytes::Bytes;
use cairn_proto::wire::{AcceptCode, PingPayload, payload_type};
use content_types::room::Methods;
use content_types::{ContentKey, Form, NodeId};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use overlay::Enr;
use overlay::service::{FindContentAnswer, LookupError, PutReport, RequestError};
use serde_json::Value;

use super::discovery::node_id;
use super::error::{
    self, NotSupportedBy, RpcResult, content_not_found, content_not_found_with_trace, content_refused,
    failed_to_decode_payload, internal, invalid_params, payload_type_not_supported, payload_type_required, peer_failed,
    record_not_found,
};
use super::params::{Arguments, ContentItems, Distances, JsonObject};
use super::ping;
use super::results::{
    AcceptMetadata, FoundContentResult, FoundOrCloser, PingResult, PutContent, RoutingTableInfo, TraceResult, bytes32,
    hex_string,
};
use crate::holdings::is_held;
use crate::networks::Network;
use crate::pipeline::Refusal;
use crate::verified::VerifiedContent;

/// The methods of `network`, under its names.
pub(super) fn module(network: Arc<Network>) -> Result<RpcModule<Network>, RegisterMethodError> {
    let names: Methods = network.spec().methods;
    let mut module = RpcModule::from_arc(network);

    module.register_method(names.routing_table_info, |params, network, _| routing_table_info(&params, network))?;
    module.register_method(names.add_enr, |params, network, _| -> RpcResult<bool> {
        let enr: Enr = Arguments::new(&params, &["enr"])?.required("enr")?;
        Ok(network.overlay().add_enr(enr))
    })?;
    module.register_method(names.get_enr, |params, network, _| -> RpcResult<String> {
        let id = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        network.get_enr(&id).map(|enr| enr.to_base64()).ok_or_else(|| record_not_found(id))
    })?;
    module.register_method(names.delete_enr, |params, network, _| -> RpcResult<bool> {
        let id = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        Ok(network.overlay().delete_enr(&id))
    })?;
    module.register_async_method(names.lookup_enr, |params, network, _| async move {
        let id = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        network.lookup_enr(id).await.map(|enr| enr.to_base64()).ok_or_else(|| record_not_found(id))
    })?;
    module.register_async_method(names.ping, |params, network, _| async move { ping(params, &network).await })?;
    module.register_async_method(names.find_nodes, |params, network, _| async move {
        let arguments = Arguments::new(&params, &["enr", "distances"])?;
        let Distances(distances) = arguments.required("distances")?;
        let found =
            network.overlay().find_nodes(arguments.required("enr")?, distances).await.map_err(request_failed)?;
        RpcResult::Ok(records(&found))
    })?;
    module.register_async_method(names.find_content, |params, network, _| async move {
        find_content(params, &network).await
    })?;
    module.register_async_method(names.offer, |params, network, _| async move { offer(params, &network).await })?;
    module.register_async_method(names.recursive_find_nodes, |params, network, _| async move {
        let target: NodeId = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        RpcResult::Ok(records(&network.overlay().lookup_nodes(target).await))
    })?;
    module.register_async_method(names.get_content, |params, network, _| async move {
        let (key, _) = content_key(&Arguments::new(&params, &["contentKey"])?, &network)?;
        match network.overlay().lookup_content(key).await {
            Ok(found) => {
                Ok(FoundContentResult { content: hex_string(found.value), utp_transfer: found.utp, trace: None })
            }
            Err(LookupError::NotFound(_)) => Err(content_not_found()),
            Err(LookupError::Unverifiable(unverifiable)) => Err(content_refused(unverifiable.reason)),
            Err(LookupError::Key) => Err(unknown_key()),
        }
    })?;
    module.register_async_method(names.trace_get_content, |params, network, _| async move {
        let (key, _) = content_key(&Arguments::new(&params, &["contentKey"])?, &network)?;
        match network.overlay().lookup_content(key).await {
            Ok(found) => Ok(FoundContentResult {
                content: hex_string(found.value),
                utp_transfer: found.utp,
                trace: Some(TraceResult::from(&found.trace)),
            }),
            Err(LookupError::NotFound(missing)) => Err(content_not_found_with_trace(TraceResult::from(&missing.trace))),
            Err(LookupError::Unverifiable(unverifiable)) => Err(content_refused(unverifiable.reason)),
            Err(LookupError::Key) => Err(unknown_key()),
        }
    })?;
    module.register_async_method(names.store, |params, network, _| async move {
        let (_, content) = given_content(params, &network).await?;
        network.holdings().put(content).await.map(is_held).map_err(internal)
    })?;
    module.register_async_method(names.local_content, |params, network, _| async move {
        let (_, key) = content_key(&Arguments::new(&params, &["contentKey"])?, &network)?;
        network.holdings().get(&key).await.map_err(internal)?.map(hex_string).ok_or_else(content_not_found)
    })?;
    module.register_async_method(names.put_content, |params, network, _| async move {
        put_content(params, &network).await
    })?;
    Ok(module)
}

fn routing_table_info(params: &Params<'_>, network: &Network) -> RpcResult<RoutingTableInfo> {
    Arguments::new(params, &[])?;
    let table = network.overlay().routing_table();
    let ids = |bucket: &Vec<overlay::service::TableEntry>| {
        bucket.iter().map(|entry| bytes32(&NodeId::from(entry.enr.node_id().raw()))).collect()
    };
    Ok(RoutingTableInfo { local_node_id: bytes32(&table.local), buckets: table.buckets.iter().map(ids).collect() })
}

async fn ping(params: Params<'_>, network: &Network) -> RpcResult<PingResult> {
    let arguments = Arguments::new(&params, &["enr", "payloadType", "payload"])?;
    let enr: Enr = arguments.required("enr")?;
    let payload = match (arguments.optional("payloadType")?, arguments.optional::<JsonObject>("payload")?) {
        // "By default, the client will send a capabilities extension payload."
        (None, None) => ping_payload(network, payload_type::CLIENT_INFO, None)?,
        (None, Some(_)) => return Err(payload_type_required()),
        (Some(payload_type), given) => ping_payload(network, payload_type, given)?,
    };
    let pong = network.overlay().ping(enr, Some(payload)).await.map_err(request_failed)?;
    Ok(PingResult {
        enr_seq: pong.enr_seq,
        payload_type: pong.payload.payload_type(),
        payload: ping::to_json(&pong.payload),
    })
}

fn ping_payload(network: &Network, payload_type: u16, given: Option<JsonObject>) -> RpcResult<PingPayload> {
    if !ping::is_known(payload_type) {
        return Err(payload_type_not_supported(NotSupportedBy::Client));
    }
    let config = network.overlay().config();
    if !config.ping_extensions.contains(payload_type) {
        return Err(payload_type_not_supported(NotSupportedBy::Subnetwork));
    }
    if let Some(JsonObject(fields)) = given {
        return ping::from_json(payload_type, Value::Object(fields)).map_err(failed_to_decode_payload);
    }
    Ok(network.overlay().ping_payload(payload_type))
}

async fn find_content(params: Params<'_>, network: &Network) -> RpcResult<FoundOrCloser> {
    let arguments = Arguments::new(&params, &["enr", "contentKey"])?;
    let enr: Enr = arguments.required("enr")?;
    let (encoded, key) = content_key(&arguments, network)?;
    match network.overlay().find_content(enr, encoded).await.map_err(request_failed)? {
        FindContentAnswer::Content { value, utp } => {
            // What a peer says under this key reaches the user only if it is true. It answers with what it stores.
            let content = network.pipeline().validate(key, Form::Stored, value).await.map_err(refused)?;
            Ok(FoundOrCloser::Content { content: hex_string(content.value()), utp_transfer: utp })
        }
        FindContentAnswer::Enrs(closer) => Ok(FoundOrCloser::Enrs { enrs: records(&closer) }),
    }
}

async fn offer(params: Params<'_>, network: &Network) -> RpcResult<String> {
    let arguments = Arguments::new(&params, &["enr", "content_items"])?;
    let enr: Enr = arguments.required("enr")?;
    let ContentItems(items) = arguments.required("content_items")?;
    let mut offered = Vec::with_capacity(items.len());
    for (position, (key, value)) in items.into_iter().enumerate() {
        let at = |error: ErrorObjectOwned| error::in_item(position, &error);
        let decoded = decode_key(&key, network).map_err(at)?;
        // What is wrong is not offered. What only cannot be judged here, for want of a header say, is for the peer to judge: the
        // caller vouches for it.
        match network.pipeline().validate(decoded, Form::Offered, value.clone()).await {
            Ok(_) => {}
            Err(refusal) if !refusal.is_invalid() => {
                tracing::debug!(%refusal, "offered for the JSON-RPC without having been judged");
            }
            Err(refusal) => return Err(at(refused(refusal))),
        }
        offered.push((key, value));
    }
    let codes = network.overlay().offer(enr, offered).await.map_err(request_failed)?;
    Ok(hex_string(codes.into_iter().map(u8::from).collect::<Vec<u8>>()))
}

async fn put_content(params: Params<'_>, network: &Network) -> RpcResult<PutContent> {
    let (encoded, content) = given_content(params, network).await?;
    // It came as it is offered, so that is known.
    let offer = content.offer().cloned().ok_or_else(|| internal("content that cannot be offered"))?;
    let stored_locally = network.holdings().put(content).await.map(is_held).map_err(internal)?;
    let report = network.overlay().put_content(encoded, offer).await.map_err(request_failed)?;
    Ok(PutContent { peer_count: report.peer_count, stored_locally, accept_metadata: accept_metadata(&report) })
}

fn accept_metadata(report: &PutReport) -> AcceptMetadata {
    let mut counts = AcceptMetadata::default();
    for code in &report.codes {
        let count = match code {
            AcceptCode::Accepted => &mut counts.accepted_count,
            AcceptCode::AlreadyStored => &mut counts.already_stored_count,
            AcceptCode::OutsideRadius => &mut counts.not_within_radius_count,
            AcceptCode::RateLimited => &mut counts.rate_limited_count,
            AcceptCode::InboundKeyLimited => &mut counts.transfer_in_progress_count,
            // The schema has no count of its own for "not verifiable".
            AcceptCode::Declined | AcceptCode::NotVerifiable | AcceptCode::Unspecified(_) => {
                &mut counts.generic_decline_count
            }
        };
        *count += 1;
    }
    counts
}

/// Key and value of a request, checked.
async fn given_content(params: Params<'_>, network: &Network) -> RpcResult<(Bytes, VerifiedContent)> {
    let arguments = Arguments::new(&params, &["contentKey", "contentValue"])?;
    let (encoded, key) = content_key(&arguments, network)?;
    let value: Bytes = arguments.required("contentValue")?;
    Ok((encoded, network.pipeline().validate(key, Form::Offered, value).await.map_err(refused)?))
}

fn content_key(arguments: &Arguments, network: &Network) -> RpcResult<(Bytes, ContentKey)> {
    let encoded: Bytes = arguments.required("contentKey")?;
    let key = decode_key(&encoded, network)?;
    Ok((encoded, key))
}

fn decode_key(encoded: &[u8], network: &Network) -> RpcResult<ContentKey> {
    ContentKey::decode(network.sub_network(), encoded)
        .map_err(|error| invalid_params(format!("parameter contentKey: {error}")))
}

fn unknown_key() -> ErrorObjectOwned {
    invalid_params("parameter contentKey: of no type that can be looked up")
}

fn refused(refusal: Refusal) -> ErrorObjectOwned {
    content_refused(refusal)
}

fn request_failed(error: RequestError) -> ErrorObjectOwned {
    peer_failed(error)
}

fn records(enrs: &[Enr]) -> Vec<String> {
    enrs.iter().map(Enr::to_base64).collect()
}
