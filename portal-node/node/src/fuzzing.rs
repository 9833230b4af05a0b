//! What must be true of any bytes that come from outside, for parsers that nobody else can call: the fuzz targets in
//! `testnet/fuzz` and the property tests beside each parser make the same assertions.

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::BlockId;
use content_types::header::DecodedHeader;
use jsonrpsee::types::Params;
use jsonrpsee::types::error::INVALID_PARAMS_CODE;
use overlay::Enr;
use serde_json::Value;

use crate::headers::ClientError;
use crate::headers::answers::{self, ClaimedHeader};
use crate::rpc::params::{Arguments, ContentItems, Distances, JsonObject, Parameter};
use crate::rpc::ping;

/// Most bytes of an error about a parameter, which repeats what was sent.
const MAX_MESSAGE_BYTES: usize = 700;
/// Names of the parameters that are looked for.
const NAMES: &[&str] = &["first", "second"];

/// An execution client's answer is read or refused; of what is read, the hash is that of the fields.
///
/// # Panics
/// When it is not so.
pub fn execution_client_answer(answer: &[u8]) {
    let _ = answers::headers(answer, 0..1);
    let asked = BlockId::Number(0);
    let claimed = match answers::header(answer, asked) {
        // No bytes hash to what they say by chance; the hash is put right to come to what lies behind the check.
        Err(ClientError::Hash { computed, .. }) => answers::header(&with_hash(answer, computed), asked),
        claimed => claimed,
    };
    match claimed {
        Ok(ClaimedHeader { header, .. }) => {
            assert_eq!(DecodedHeader::decode(header.rlp().clone()).map(|again| again.hash()), Ok(header.hash()));
        }
        Err(ClientError::Hash { number, claimed, computed }) => {
            panic!("the fields of block {number} hash to {claimed} and then to {computed}")
        }
        Err(_) => {}
    }
}

fn with_hash(answer: &[u8], hash: B256) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    if let Some(block) = answer.get_mut("result").and_then(Value::as_object_mut) {
        block.insert("hash".to_owned(), hash.to_string().into());
    }
    answer.to_string().into()
}

/// The parameters of a request are taken, or refused as invalid parameters with a short message that names the one.
///
/// # Panics
/// When it is not so.
pub fn json_rpc_parameters(params: &str) {
    let arguments = match Arguments::new(&Params::new(Some(params)), NAMES) {
        Ok(arguments) => arguments,
        Err(error) => return assert_eq!(error.code(), INVALID_PARAMS_CODE),
    };
    check::<Bytes>(&arguments);
    check::<B256>(&arguments);
    check::<Enr>(&arguments);
    check::<bool>(&arguments);
    check::<u16>(&arguments);
    check::<std::net::SocketAddr>(&arguments);
    check::<Distances>(&arguments);
    check::<ContentItems>(&arguments);
    check::<JsonObject>(&arguments);
    if let (Ok(payload_type), Ok(JsonObject(payload))) = (arguments.required("first"), arguments.required("second"))
        && let Ok(payload) = ping::from_json(payload_type, Value::Object(payload))
    {
        assert_eq!(ping::from_json(payload_type, ping::to_json(&payload)), Ok(payload));
    }
}

fn check<T: Parameter>(arguments: &Arguments) {
    for name in NAMES {
        if let Err(error) = arguments.required::<T>(name) {
            assert_eq!(error.code(), INVALID_PARAMS_CODE);
            assert!(error.message().contains(name), "{}", error.message());
            assert!(error.message().len() < MAX_MESSAGE_BYTES, "{}", error.message());
        }
    }
}
