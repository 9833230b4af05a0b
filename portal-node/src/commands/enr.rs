//! `cairn enr`: a node record and what it says.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use cairn_node::{identity, rpc::calls::OwnRecord};
use overlay::Enr;
use serde_json::json;

use super::{blocking, running::RunningPeer};
use crate::{cli::EnrArgs, failure::Failure, output, settings::Settings};

pub(crate) async fn enr(settings: &Settings, args: EnrArgs) -> Result<(), Failure> {
    let is_decoded = args.decode.is_some();
    let record = match (args.decode, args.rpc) {
        (Some(record), _) => record,
        (None, Some(url)) => {
            let own = RunningPeer::at(url)?.ask(OwnRecord {}).await?;
            own.enr
                .parse()
                .map_err(|error| Failure::Network(format!("the peer answers with no node record: {error}")))?
        }
        (None, None) => {
            let data_dir = settings.data_dir()?;
            let key = settings.key(args.key);
            blocking(move || saved(&data_dir, key.as_deref())).await?
        }
    };
    match () {
        () if settings.json => output::json(&described(&record)),
        () if is_decoded => print_fields(&record),
        () => output::line(record.to_base64()),
    }
}

/// The record in the data folder, which has to be of the key in `key_file` if one is named.
fn saved(data_dir: &Path, key_file: Option<&Path>) -> Result<Enr, Failure> {
    let record = identity::saved_record(data_dir).ok_or_else(|| {
        Failure::Io(format!(
            "no node record in {} yet: it is made when the peer runs for the first time (`cairn run`)",
            data_dir.display()
        ))
    })?;
    let Some(key_file) = key_file else { return Ok(record) };
    // A key that is not there would be made.
    fs::metadata(key_file).map_err(|error| Failure::io(key_file, error))?;
    let key = identity::load_or_create_key(key_file).map_err(|error| Failure::of_files(&error))?;
    let own = Enr::builder().build(&key).map_err(|error| Failure::Internal(error.to_string()))?;
    if own.node_id() != record.node_id() {
        return Err(Failure::Invalid(format!(
            "the node record in {} is not of the key in {}: it is made anew when the peer runs with that key \
             (`cairn run --key`)",
            data_dir.display(),
            key_file.display()
        )));
    }
    Ok(record)
}

fn print_fields(record: &Enr) -> Result<(), Failure> {
    output::line(format_args!("node ID   0x{}", hex(&record.node_id().raw())))?;
    output::line(format_args!("sequence  {}", record.seq()))?;
    let v4 = record.ip4().map(|ip| (IpAddr::V4(ip), record.udp4()));
    let v6 = record.ip6().map(|ip| (IpAddr::V6(ip), record.udp6()));
    let addresses: Vec<_> = v4.into_iter().chain(v6).collect();
    for (ip, port) in &addresses {
        match port {
            Some(port) => output::line(format_args!("UDP       {}", SocketAddr::new(*ip, *port)))?,
            None => output::line(format_args!("address   {ip}, without a UDP port"))?,
        }
    }
    if addresses.is_empty() { output::line("UDP       no address") } else { Ok(()) }
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
