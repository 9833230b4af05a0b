//! Errors of the JSON-RPC: the specification's codes (`jsonrpc/src/errors/errors.json`), and those of JSON-RPC itself.

use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::{ErrorCode, INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE, METHOD_NOT_FOUND_CODE};
use serde::Serialize;
use serde_json::json;

/// What a method gives, or the error that the caller is told.
pub(super) type RpcResult<T> = Result<T, ErrorObjectOwned>;

/// Content is neither held nor found.
pub const CONTENT_NOT_FOUND: i32 = -39001;
/// Content is neither held nor found; the data is the trace of the lookup.
pub const CONTENT_NOT_FOUND_WITH_TRACE: i32 = -39002;
/// A ping payload type that this client or this sub-network does not speak.
pub const PAYLOAD_TYPE_NOT_SUPPORTED: i32 = -39004;
/// The ping payload given is not one of its type.
pub const FAILED_TO_DECODE_PAYLOAD: i32 = -39005;
/// A ping payload without its type.
pub const PAYLOAD_TYPE_REQUIRED: i32 = -39006;
/// A peer was asked and did not answer as it should.
pub const PEER_FAILED: i32 = -32001;
/// Content that was refused because it does not prove true.
pub const CONTENT_REFUSED: i32 = -32002;
/// A fetch into the store that is not begun now.
pub const FETCH_NOT_BEGUN: i32 = -32004;
/// A node record that is not known and was not found.
pub const RECORD_NOT_FOUND: i32 = -32003;

/// The node stops.
pub const STOPPING: i32 = -32005;
/// A block that is there and has not the form asked for.
pub const NO_SUCH_FORM: i32 = -32007;
/// The disk failed.
pub const DISK_FAILED: i32 = -32008;
/// A method that this peer does not have.
pub const METHOD_NOT_FOUND: i32 = METHOD_NOT_FOUND_CODE;
/// Something that is none of the caller's doing.
pub const INTERNAL: i32 = INTERNAL_ERROR_CODE;
/// A call on a connection that has too many under way.
pub const TOO_MANY_CALLS: i32 = -32006;

/// Who does not speak a payload type.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NotSupportedBy {
    /// The sub-network has no such type.
    Subnetwork,
    /// The type is known, this client does not send it.
    Client,
}

/// The error of one of several items.
pub(super) fn in_item(position: usize, error: &ErrorObjectOwned) -> ErrorObjectOwned {
    plain(error.code(), format!("item {position}: {}", error.message()))
}

fn plain(code: i32, message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message, None::<()>)
}

pub(super) fn invalid_params(why: impl AsRef<str>) -> ErrorObjectOwned {
    plain(INVALID_PARAMS_CODE, format!("{}: {}", ErrorCode::InvalidParams.message(), why.as_ref()))
}

pub(super) fn internal(why: impl ToString) -> ErrorObjectOwned {
    plain(INTERNAL, why.to_string())
}

pub(super) fn no_such_form(why: impl ToString) -> ErrorObjectOwned {
    plain(NO_SUCH_FORM, why.to_string())
}

pub(super) fn disk_failed(why: impl ToString) -> ErrorObjectOwned {
    plain(DISK_FAILED, why.to_string())
}

pub(super) fn content_not_found() -> ErrorObjectOwned {
    plain(CONTENT_NOT_FOUND, "content not found")
}

pub(super) fn content_not_found_with_trace(trace: impl Serialize) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(CONTENT_NOT_FOUND_WITH_TRACE, "content not found", Some(trace))
}

pub(super) fn not_fetched(why: impl ToString, asked: impl Serialize) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(CONTENT_NOT_FOUND_WITH_TRACE, why.to_string(), Some(asked))
}

pub(super) fn stopping(why: impl ToString) -> ErrorObjectOwned {
    plain(STOPPING, why.to_string())
}

pub(super) fn too_many_calls(limit: usize) -> ErrorObjectOwned {
    plain(TOO_MANY_CALLS, format!("more than {limit} calls at once over one connection: wait for answers"))
}

pub(super) fn payload_type_not_supported(by: NotSupportedBy) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(PAYLOAD_TYPE_NOT_SUPPORTED, "Payload type not supported", Some(json!({ "reason": by })))
}

pub(super) fn failed_to_decode_payload(why: impl Serialize) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(FAILED_TO_DECODE_PAYLOAD, "Failed to decode payload", Some(why))
}

pub(super) fn payload_type_required() -> ErrorObjectOwned {
    plain(PAYLOAD_TYPE_REQUIRED, "Payload type is required if payload is specified")
}

pub(super) fn peer_failed(why: impl ToString) -> ErrorObjectOwned {
    plain(PEER_FAILED, why.to_string())
}

pub(super) fn content_refused(why: impl ToString) -> ErrorObjectOwned {
    plain(CONTENT_REFUSED, format!("content refused: {}", why.to_string()))
}

pub(super) fn fetch_not_begun(why: impl ToString) -> ErrorObjectOwned {
    plain(FETCH_NOT_BEGUN, why.to_string())
}

pub(super) fn record_not_found(node_id: impl std::fmt::Display) -> ErrorObjectOwned {
    plain(RECORD_NOT_FOUND, format!("no node record for {node_id}"))
}
