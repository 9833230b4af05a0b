//! Results of the JSON-RPC in the shapes of the specification's OpenRPC (`jsonrpc/src/content/results.json`,
//! `schemas/`).

use std::collections::BTreeMap;

use content_types::{Distance, NodeId};
use serde::Serialize;
use serde_json::Value;

/// `bytes32`: 0x and 64 digits.
pub(super) fn bytes32(id: &NodeId) -> String {
    hex_string(id.as_bytes())
}

/// `hexString`: 0x and two digits a byte.
pub(super) fn hex_string(bytes: impl AsRef<[u8]>) -> String {
    alloy_primitives::hex::encode_prefixed(bytes)
}

/// `uint256`: 0x and the digits of a number without leading zeros, `0x0` for zero.
pub(super) fn uint256(big_endian: &[u8; 32]) -> String {
    let digits = hex::encode(big_endian);
    match digits.trim_start_matches('0') {
        "" => "0x0".to_owned(),
        digits => format!("0x{digits}"),
    }
}

/// Result of `discv5_updateNodeInfo`, which names the node ID otherwise than `discv5_nodeInfo` does.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UpdatedNodeInfo {
    pub(super) enr: String,
    pub(super) local_node_id: String,
}

/// The buckets of a routing table, node IDs only.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoutingTableInfo {
    pub(super) local_node_id: String,
    pub(super) buckets: Vec<Vec<String>>,
}

/// Answer to a discv5 PING.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DiscoveryPong {
    #[serde(rename = "enrSeq")]
    pub(super) enr_seq: u64,
    #[serde(rename = "recipientIP")]
    pub(super) recipient_ip: String,
    /// The schema has the port as text.
    #[serde(rename = "recipientPort")]
    pub(super) recipient_port: String,
}

/// Answer to a Portal PING.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PingResult {
    pub(super) enr_seq: u64,
    pub(super) payload_type: u16,
    pub(super) payload: Value,
}

/// What one peer answered to FINDCONTENT.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum FoundOrCloser {
    /// The content.
    #[serde(rename_all = "camelCase")]
    Content {
        /// Value, wire encoding.
        content: String,
        /// Whether it came over uTP.
        utp_transfer: bool,
    },
    /// Records of nodes closer to it.
    Enrs {
        /// The records.
        enrs: Vec<String>,
    },
}

/// Content that was held or found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundContentResult {
    pub(super) content: String,
    pub(super) utp_transfer: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<TraceResult>,
}

/// Where content was put.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutContent {
    pub(super) peer_count: usize,
    pub(super) stored_locally: bool,
    pub(super) accept_metadata: AcceptMetadata,
}

/// How often each accept code came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AcceptMetadata {
    pub(super) accepted_count: usize,
    pub(super) generic_decline_count: usize,
    pub(super) already_stored_count: usize,
    pub(super) not_within_radius_count: usize,
    pub(super) rate_limited_count: usize,
    pub(super) transfer_in_progress_count: usize,
}

/// Trace of a content lookup (`traceResultObject`).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TraceResult {
    pub(super) origin: String,
    pub(super) target_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received_from: Option<String>,
    pub(super) responses: BTreeMap<String, TraceResponse>,
    /// Those of them that failed, as tools that are deployed read them beside the schema.
    pub(super) failures: BTreeMap<String, TraceFailure>,
    pub(super) metadata: BTreeMap<String, TraceMetadata>,
    pub(super) started_at_ms: u64,
    pub(super) cancelled: Vec<String>,
}

/// One peer's part in a trace.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TraceResponse {
    /// From the beginning of the lookup to this answer; the name is the schema's.
    pub(super) durations_ms: u64,
    /// The same time by the name that tools that are deployed read.
    pub(super) duration_ms: u64,
    pub(super) responded_with: Vec<String>,
}

/// Why nothing came of asking one peer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TraceFailure {
    pub(super) duration_ms: u64,
    /// `invalidContent` for what was refused, `utpTransferFailed` for everything else.
    pub(super) failure: &'static str,
}

/// A node that a trace mentions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TraceMetadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enr: Option<String>,
    pub(super) distance: String,
}

/// A radius as `uint256`.
pub(super) fn radius(radius: &Distance) -> String {
    uint256(&radius.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_leading_zeros_and_ids_have_all() {
        let mut number = [0; 32];
        assert_eq!(uint256(&number), "0x0");
        number[31] = 0x10;
        assert_eq!(uint256(&number), "0x10");
        number[30] = 0x0a;
        assert_eq!(uint256(&number), "0xa10");
        assert_eq!(bytes32(&NodeId::from(number)), format!("0x{}0a10", "00".repeat(30)));
        assert_eq!(hex_string([0, 1]), "0x0001");
    }
}
