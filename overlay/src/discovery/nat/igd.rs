//! A router that speaks UPnP's Internet Gateway Device protocol.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, GetExternalIpError, PortMappingProtocol, RequestError, SearchOptions};

use super::mapper::{PortMapper, address_towards};
use super::mapping::{Granted, MapRequest, MappingFailure, Removal};

/// The name under which a router lists the mapping.
const DESCRIPTION: &str = "cairn";

/// A lease without end, for routers that know no other. It is renewed and removed like one with an end.
const PERMANENT: u32 = 0;

/// The gateway, searched for once by multicast and again when it did not answer.
#[derive(Default)]
pub(super) struct Igd {
    gateway: Option<Gateway<Tokio>>,
}

impl PortMapper for Igd {
    async fn map(&mut self, request: MapRequest) -> Result<Granted, MappingFailure> {
        let gateway = match self.gateway.take() {
            Some(gateway) => gateway,
            None => search_gateway(SearchOptions::default()).await.map_err(|error| {
                tracing::debug!(%error, "no router found by UPnP");
                MappingFailure::NoGateway
            })?,
        };
        let answer = ask(&gateway, request).await;
        if answer != Err(MappingFailure::NoGateway) {
            self.gateway = Some(gateway);
        }
        answer
    }

    async fn unmap(&mut self, removal: Removal) {
        if let Some(gateway) = &self.gateway
            && let Err(error) = gateway.remove_port(PortMappingProtocol::UDP, removal.external.port()).await
        {
            tracing::debug!(%error, "port mapping not removed");
        }
    }
}

async fn ask(gateway: &Gateway<Tokio>, request: MapRequest) -> Result<Granted, MappingFailure> {
    let MapRequest { local, outer_port, lease, .. } = request;
    let inside = address_towards(gateway.addr).await.map_err(|_| MappingFailure::NoGateway)?;
    let inside = SocketAddr::new(inside, local.port());
    let address = gateway.get_external_ip().await.map_err(|error| match error {
        GetExternalIpError::RequestError(error) => of_request(error),
        refusal => MappingFailure::refused(refusal),
    })?;
    let IpAddr::V4(address) = address else {
        return Err(MappingFailure::refused(format_args!("the router's outer address {address} is not IPv4")));
    };
    let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
    let add = |seconds| gateway.add_port(PortMappingProtocol::UDP, outer_port, inside, seconds, DESCRIPTION);
    let added = match add(seconds).await {
        Err(AddPortError::OnlyPermanentLeasesSupported) => add(PERMANENT).await,
        added => added,
    };
    added.map_err(|error| match error {
        AddPortError::PortInUse => MappingFailure::Taken,
        AddPortError::RequestError(error) => of_request(error),
        refusal => MappingFailure::refused(refusal),
    })?;
    Ok(Granted { external: SocketAddrV4::new(address, outer_port), lease })
}

/// What the router says is a refusal; anything else means that there is none, or none any more.
fn of_request(error: RequestError) -> MappingFailure {
    match error {
        RequestError::ErrorCode(code, text) => MappingFailure::refused(format_args!("error {code}, {text}")),
        RequestError::UnsupportedAction(_) | RequestError::InvalidResponse(_) => MappingFailure::refused(error),
        error => {
            tracing::debug!(%error, "the router does not answer by UPnP");
            MappingFailure::NoGateway
        }
    }
}
