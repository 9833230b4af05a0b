//! `cairn status`: what a running peer says of itself.

use bytesize::ByteSize;
use cairn_node::{ports::PortStatus, rpc::calls::GetStatus};

use super::running::RunningPeer;
use crate::{cli::StatusArgs, failure::Failure, output, settings::Settings};

pub(crate) async fn status(settings: &Settings, args: StatusArgs) -> Result<(), Failure> {
    let peer = RunningPeer::named(settings, args.rpc).await?;
    let status = peer.ask(GetStatus {}).await?;
    if settings.json {
        return output::json(&status);
    }
    let listen: Vec<_> = status.listen.iter().map(ToString::to_string).collect();
    output::line(format_args!("{} on {}, up {}", status.client_version, status.chain, hours(status.uptime_seconds)))?;
    output::line(format_args!("node ID                {}", status.node_id))?;
    output::line(format_args!("record                 {}", status.enr))?;
    output::line(format_args!("listens on             {}", listen.join(", ")))?;
    for port in &status.ports {
        output::line(format_args!("port of {:<13}  {}", port.service, mapping(port)))?;
    }
    output::line(format_args!("discv5                 {} peers", status.discovery_peers))?;
    if let Some(why) = &status.no_bootnode {
        output::line(format_args!("NO BOOTNODE            {why}"))?;
    }
    if let Some(why) = &status.not_storing {
        output::line(format_args!("NOTHING IS STORED      {why}"))?;
    }
    output::line(format_args!("archives               {} served in place", status.archives))?;
    if let Some(offered) = &status.offered {
        output::line(format_args!(
            "offered to peers       {} of {} blocks, {} waiting, {} refused, {} pieces open",
            offered.done, offered.blocks, offered.waiting, offered.refused, offered.open_pieces
        ))?;
    }
    if let Some(pull) = &status.pull {
        output::line(format_args!(
            "fetched from peers     {} of {} runs of 256 bodies or receipts within the radius, {}/s, {} peers hold others",
            pull.held,
            pull.wanted,
            ByteSize(pull.rate).display().si(),
            pull.peers
        ))?;
    }
    for network in &status.networks {
        output::line(format_args!(
            "{:<21}  {} peers, {} items, {} of {}, radius {:.2} % of the key space",
            network.network,
            network.peers,
            network.items,
            ByteSize(network.bytes).display().si(),
            ByteSize(network.capacity).display().si(),
            network.radius_fraction * 100.0
        ))?;
    }
    for list in &status.trust {
        let held = list.entries.map_or_else(|| "missing".to_owned(), |entries| format!("{entries} entries"));
        output::line(format_args!("{:<21}  {held}", list.list))?;
    }
    Ok(())
}

/// What the router does for a port.
fn mapping(port: &PortStatus) -> String {
    match (port.external, &port.mapped_by, &port.not_mapped) {
        (Some(external), by, _) => {
            format!("{external} by the router ({})", by.as_deref().unwrap_or("unknown"))
        }
        (None, _, Some(why)) => format!("{} here, not mapped by the router: {why}", port.local.port()),
        (None, _, None) => format!("{} here, the router is being asked", port.local.port()),
    }
}

fn hours(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_with_its_outer_address_or_why_there_is_none() {
        let asking = PortStatus {
            service: "quic".to_owned(),
            local: ([0, 0, 0, 0], 10_009).into(),
            external: None,
            mapped_by: None,
            not_mapped: None,
        };
        let external = Some(([8, 8, 8, 8], 20_001).into());
        let mapped = PortStatus { external, mapped_by: Some("upnp".to_owned()), ..asking.clone() };
        let refused = PortStatus { not_mapped: Some("no gateway answered".to_owned()), ..asking.clone() };
        assert_eq!(mapping(&asking), "10009 here, the router is being asked");
        assert_eq!(mapping(&mapped), "8.8.8.8:20001 by the router (upnp)");
        assert_eq!(mapping(&refused), "10009 here, not mapped by the router: no gateway answered");
    }
}
