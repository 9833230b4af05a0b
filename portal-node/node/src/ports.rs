//! The UDP ports of a node's services, and what the router does for them.

use std::net::SocketAddr;

use overlay::discovery::{MappingState, PortMapping};
use serde::{Deserialize, Serialize};

/// The UDP port of the tracker in a node record, at the address of discv5.
pub(crate) const TRACKER_KEY: &str = "kad";

/// What the router does for one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    /// `discv5`, `quic` or `tracker`.
    pub service: String,
    /// Where it listens.
    pub local: SocketAddr,
    /// The outer address that leads there, if the router maps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<SocketAddr>,
    /// How the router was asked for it: `pcp`, `nat-pmp` or `upnp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped_by: Option<String>,
    /// Why none is, once the router was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_mapped: Option<String>,
}

impl From<&PortMapping> for PortStatus {
    fn from(mapping: &PortMapping) -> Self {
        let (external, mapped_by, not_mapped) = match &mapping.state {
            MappingState::Asking => (None, None, None),
            MappingState::Mapped { external, by } => {
                (Some(SocketAddr::V4(*external)), Some(by.name().to_owned()), None)
            }
            MappingState::NotMapped(why) => (None, None, Some(why.to_string())),
        };
        let (service, local) = (service_name(mapping).to_owned(), SocketAddr::V4(mapping.local));
        Self { service, local, external, mapped_by, not_mapped }
    }
}

/// What a service is called where people read of it.
pub(crate) fn service_name(mapping: &PortMapping) -> &'static str {
    if mapping.service == TRACKER_KEY { "tracker" } else { mapping.service }
}

#[cfg(test)]
mod tests {
    use overlay::discovery::{MappingFailure, MappingProtocol};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_came_of_asking_is_said_for_each_service() {
        let external = "8.8.8.8:20001".parse().unwrap();
        let said = |service, state| {
            let mapping = PortMapping { service, local: "0.0.0.0:10009".parse().unwrap(), state };
            serde_json::to_value(PortStatus::from(&mapping)).unwrap()
        };
        assert_eq!(said("discv5", MappingState::Asking), json!({ "service": "discv5", "local": "0.0.0.0:10009" }));
        assert_eq!(
            said("quic", MappingState::Mapped { external, by: MappingProtocol::NatPmp }),
            json!({ "service": "quic", "local": "0.0.0.0:10009", "external": "8.8.8.8:20001", "mappedBy": "nat-pmp" })
        );
        assert_eq!(
            said(TRACKER_KEY, MappingState::NotMapped(MappingFailure::NoGateway)),
            json!({ "service": "tracker", "local": "0.0.0.0:10009", "notMapped": "no gateway answered" })
        );
    }
}
