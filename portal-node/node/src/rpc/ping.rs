//! Ping payloads as JSON objects (`ClientInfoAndCapabilities`, `BasicRadius`, `HistoryRadius` of the schemas).

use alloy_primitives::U256;
use bytes::Bytes;
use cairn_proto::wire::{BasicRadius, ClientInfo, ErrorPayload, HistoryRadius, PingPayload, payload_type};
use content_types::Distance;
use serde::Deserialize;
use serde_json::{Value, json};

use super::results::radius;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClientInfoJson {
    client_info: String,
    data_radius: U256,
    capabilities: Vec<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BasicRadiusJson {
    data_radius: U256,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HistoryRadiusJson {
    data_radius: U256,
    ephemeral_header_count: u16,
}

/// Whether a request can carry the payload type: 65535 belongs to answers.
pub(super) fn is_known(payload_type: u16) -> bool {
    matches!(payload_type, payload_type::CLIENT_INFO | payload_type::BASIC_RADIUS | payload_type::HISTORY_RADIUS)
}

/// Reads a user's payload; the error says which field is wrong.
pub(crate) fn from_json(payload_type: u16, payload: Value) -> Result<PingPayload, String> {
    let payload = match payload_type {
        payload_type::CLIENT_INFO => parse(payload).map(|json: ClientInfoJson| {
            PingPayload::ClientInfo(ClientInfo {
                client_info: Bytes::from(json.client_info),
                data_radius: distance(json.data_radius),
                capabilities: json.capabilities,
            })
        }),
        payload_type::BASIC_RADIUS => parse(payload).map(|json: BasicRadiusJson| {
            PingPayload::BasicRadius(BasicRadius { data_radius: distance(json.data_radius) })
        }),
        payload_type::HISTORY_RADIUS => parse(payload).map(|json: HistoryRadiusJson| {
            PingPayload::HistoryRadius(HistoryRadius {
                data_radius: distance(json.data_radius),
                ephemeral_header_count: json.ephemeral_header_count,
            })
        }),
        other => Err(format!("payload type {other} cannot be sent")),
    }?;
    // Encoding checks the lengths of the fields.
    payload.encode().map_err(|error| error.to_string())?;
    Ok(payload)
}

fn parse<T: for<'de> Deserialize<'de>>(payload: Value) -> Result<T, String> {
    serde_json::from_value(payload).map_err(|error| error.to_string())
}

fn distance(number: U256) -> Distance {
    Distance::from_be_bytes(number.to_be_bytes())
}

/// A payload as the schemas have it; text that is not UTF-8 is shown with replacement characters.
pub(crate) fn to_json(payload: &PingPayload) -> Value {
    match payload {
        PingPayload::ClientInfo(info) => json!({
            "clientInfo": info.text(),
            "dataRadius": radius(&info.data_radius),
            "capabilities": info.capabilities,
        }),
        PingPayload::BasicRadius(basic) => json!({ "dataRadius": radius(&basic.data_radius) }),
        PingPayload::HistoryRadius(history) => json!({
            "dataRadius": radius(&history.data_radius),
            "ephemeralHeaderCount": history.ephemeral_header_count,
        }),
        PingPayload::Error(ErrorPayload { error_code, message }) => json!({
            "errorCode": u16::from(*error_code),
            "message": String::from_utf8_lossy(message),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_payload() -> impl Strategy<Value = PingPayload> {
        let radius = any::<[u8; 32]>().prop_map(Distance::from_be_bytes);
        prop_oneof![
            ("[a-z/0-9.]{0,40}", radius.clone(), prop::collection::vec(any::<u16>(), 0..9)).prop_map(
                |(client_info, data_radius, capabilities)| PingPayload::ClientInfo(ClientInfo {
                    client_info: client_info.into(),
                    data_radius,
                    capabilities,
                })
            ),
            radius.clone().prop_map(|data_radius| PingPayload::BasicRadius(BasicRadius { data_radius })),
            (radius, any::<u16>()).prop_map(|(data_radius, ephemeral_header_count)| {
                PingPayload::HistoryRadius(HistoryRadius { data_radius, ephemeral_header_count })
            }),
        ]
    }

    proptest! {
        #[test]
        fn payloads_round_trip(payload in any_payload()) {
            prop_assert_eq!(from_json(payload.payload_type(), to_json(&payload)), Ok(payload));
        }
    }

    #[test]
    fn what_is_missing_unknown_or_too_long_is_refused() {
        for payload in [
            json!({}),
            json!({ "dataRadius": "0x1", "more": 1 }),
            json!({ "dataRadius": "0x1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" }),
            json!({ "dataRadius": true }),
        ] {
            assert!(from_json(payload_type::BASIC_RADIUS, payload.clone()).is_err(), "{payload}");
        }
        let long = json!({ "clientInfo": "x".repeat(201), "dataRadius": "0x1", "capabilities": [] });
        assert!(from_json(payload_type::CLIENT_INFO, long).is_err());
        assert!(from_json(payload_type::ERROR, json!({ "errorCode": 1, "message": "" })).is_err());
        assert!(!is_known(payload_type::ERROR) && !is_known(7));
    }
}
