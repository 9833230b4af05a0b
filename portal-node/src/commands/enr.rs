//! `cairn enr`: a node record and what it says.

use overlay::Enr;
use serde_json::json;

use super::{blocking, peer};
use crate::{cli::EnrArgs, failure::Failure, output, settings::Settings};

pub(crate) async fn enr(settings: &Settings, args: EnrArgs) -> Result<(), Failure> {
    let record = match (args.decode, args.rpc) {
        (Some(text), _) => peer::record(&text)?,
        (None, Some(url)) => {
            let info: serde_json::Value = peer::ask(&url, "discv5_nodeInfo", json!([])).await?;
            peer::record(info.get("enr").and_then(|enr| enr.as_str()).unwrap_or_default())?
        }
        (None, None) => {
            let data_dir = settings.data_dir.clone();
            blocking(move || {
                cairn_node::identity::saved_record(&data_dir).ok_or_else(|| {
                    Failure::Io(format!(
                        "no node record in {} yet: it is made when the peer runs for the first time (`cairn run`)",
                        data_dir.display()
                    ))
                })
            })
            .await?
        }
    };
    if settings.json { output::json(&described(&record)) } else { output::line(record.to_base64()) }
}

fn described(record: &Enr) -> serde_json::Value {
    json!({
        "enr": record.to_base64(),
        "nodeId": format!("0x{}", hex(&record.node_id().raw())),
        "seq": record.seq(),
        "ip": record.ip4(),
        "udp": record.udp4(),
        "ip6": record.ip6(),
        "udp6": record.udp6(),
    })
}

fn hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode(bytes)
}
