//! A lookup's trace in the schema's shape.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use content_types::NodeId;
use overlay::service::{LookupTrace, TracedAnswer};

use super::results::{TraceFailure, TraceMetadata, TraceResponse, TraceResult, uint256};

fn id(node_id: &NodeId) -> String {
    uint256(node_id.as_bytes())
}

impl From<&LookupTrace> for TraceResult {
    fn from(trace: &LookupTrace) -> Self {
        let responses = trace.responses.iter().map(|response| {
            let responded_with = match &response.answer {
                TracedAnswer::Nodes(nodes) => nodes.iter().map(id).collect(),
                TracedAnswer::Content | TracedAnswer::Rejected(_) | TracedAnswer::Failed(_) => Vec::new(),
            };
            let durations_ms = response.after.as_millis().try_into().unwrap_or(u64::MAX);
            let duration_ms = durations_ms;
            (id(&response.peer), TraceResponse { durations_ms, duration_ms, responded_with })
        });
        let failures = trace.responses.iter().filter_map(|response| {
            let failure = match &response.answer {
                TracedAnswer::Nodes(_) | TracedAnswer::Content => return None,
                TracedAnswer::Rejected(_) => "invalidContent",
                TracedAnswer::Failed(_) => "utpTransferFailed",
            };
            let duration_ms = response.after.as_millis().try_into().unwrap_or(u64::MAX);
            Some((id(&response.peer), TraceFailure { duration_ms, failure }))
        });
        let metadata = trace.enrs.iter().map(|enr| {
            let node_id = NodeId::from(enr.node_id().raw());
            let distance = uint256(&node_id.distance(&trace.target).to_be_bytes());
            (id(&node_id), TraceMetadata { enr: Some(enr.to_base64()), distance })
        });
        let started = trace.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            origin: id(&trace.origin),
            target_id: uint256(trace.target.as_bytes()),
            received_from: trace.received_from.as_ref().map(id),
            responses: responses.collect(),
            failures: failures.collect(),
            metadata: metadata.collect::<BTreeMap<_, _>>(),
            started_at_ms: started.as_millis().try_into().unwrap_or(u64::MAX),
            cancelled: trace.cancelled.iter().map(id).collect(),
        }
    }
}
