//! The `discv5_*` methods.

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::NodeId;
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use overlay::{Discovery, Enr, Transport};

use super::calls::{NodeInfo, OwnRecord, serve};
use super::error::{RpcResult, invalid_params, peer_failed, record_not_found};
use super::params::{Arguments, Distances};
use super::results::{DiscoveryPong, RoutingTableInfo, UpdatedNodeInfo, bytes32, hex_string};

pub(super) fn node_id(id: B256) -> NodeId {
    NodeId::from(id.0)
}

/// The methods over a running base protocol.
pub(super) fn module(discovery: Discovery) -> Result<RpcModule<Discovery>, RegisterMethodError> {
    let mut module = RpcModule::new(discovery);

    serve(&mut module, |OwnRecord {}, discovery: &Discovery| {
        let enr = discovery.local_enr().to_base64();
        Ok(NodeInfo { enr, node_id: bytes32(&discovery.node_id()) })
    })?;

    module.register_method("discv5_updateNodeInfo", |params, discovery, _| -> RpcResult<_> {
        let arguments = Arguments::new(&params, &["socketAddr", "isTcp"])?;
        let address = arguments.required("socketAddr")?;
        if arguments.optional("isTcp")?.unwrap_or(false) {
            discovery.announce_tcp(address);
        } else {
            discovery.announce_udp(address);
        }
        let enr = discovery.local_enr().to_base64();
        Ok(UpdatedNodeInfo { enr, local_node_id: bytes32(&discovery.node_id()) })
    })?;

    module.register_method("discv5_routingTableInfo", |params, discovery, _| -> RpcResult<_> {
        Arguments::new(&params, &[])?;
        let table = discovery.routing_table();
        let buckets = table.buckets.iter().map(|bucket| bucket.iter().map(bytes32).collect()).collect();
        Ok(RoutingTableInfo { local_node_id: bytes32(&table.local), buckets })
    })?;

    module.register_method("discv5_addEnr", |params, discovery, _| -> RpcResult<bool> {
        let enr: Enr = Arguments::new(&params, &["enr"])?.required("enr")?;
        Ok(discovery.add_enr(enr).is_ok())
    })?;

    module.register_method("discv5_getEnr", |params, discovery, _| -> RpcResult<String> {
        let id = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        discovery.get_enr(&id).map(|enr| enr.to_base64()).ok_or_else(|| record_not_found(id))
    })?;

    module.register_method("discv5_deleteEnr", |params, discovery, _| -> RpcResult<bool> {
        let id = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        Ok(discovery.delete_enr(&id))
    })?;

    module.register_async_method("discv5_lookupEnr", |params, discovery, _| async move {
        let id = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        discovery.lookup_enr(id).await.map(|enr| enr.to_base64()).ok_or_else(|| record_not_found(id))
    })?;

    module.register_async_method("discv5_ping", |params, discovery, _| async move {
        let enr: Enr = Arguments::new(&params, &["enr"])?.required("enr")?;
        let pong = discovery.ping(enr).await.map_err(peer_failed)?;
        RpcResult::Ok(DiscoveryPong {
            enr_seq: pong.enr_seq,
            recipient_ip: pong.recipient_ip.to_string(),
            recipient_port: pong.recipient_port.to_string(),
        })
    })?;

    module.register_async_method("discv5_findNode", |params, discovery, _| async move {
        let arguments = Arguments::new(&params, &["enr", "distances"])?;
        let Distances(distances) = arguments.required("distances")?;
        let distances = distances.into_iter().map(u64::from).collect();
        let found = discovery.find_node(arguments.required("enr")?, distances).await.map_err(peer_failed)?;
        RpcResult::Ok(found.iter().map(Enr::to_base64).collect::<Vec<_>>())
    })?;

    module.register_async_method("discv5_talkReq", |params, discovery, _| async move {
        let arguments = Arguments::new(&params, &["enr", "protocolId", "talkReqPayload"])?;
        let enr: Enr = arguments.required("enr")?;
        let protocol: Bytes = arguments.required("protocolId")?;
        let body: Bytes = arguments.required("talkReqPayload")?;
        let contact = discovery.contact(&enr).ok_or_else(|| {
            invalid_params("parameter 1 (enr): the record has no address that can be reached from here")
        })?;
        let answer = discovery.talk(&contact, &protocol.into(), body).await.map_err(peer_failed)?;
        RpcResult::Ok(hex_string(answer))
    })?;

    module.register_async_method("discv5_recursiveFindNodes", |params, discovery, _| async move {
        let target = node_id(Arguments::new(&params, &["nodeId"])?.required("nodeId")?);
        let found = discovery.recursive_find_nodes(target).await.map_err(peer_failed)?;
        RpcResult::Ok(found.iter().map(Enr::to_base64).collect::<Vec<_>>())
    })?;

    Ok(module)
}
