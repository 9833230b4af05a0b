//! What changes in the local record while the node runs: the addresses at which others reach it.

use std::net::{SocketAddr, SocketAddrV4};

use discv5::Discv5;
use enr::CombinedKey;

use super::RunningDiscovery;
use super::nat::{MappingState, PortMapping, Told};

impl RunningDiscovery {
    /// Puts an address into the record. Returns whether that is a change.
    pub(super) fn announce(&self, address: SocketAddr, tcp: bool) -> bool {
        let changed = self.with_discv5(|discv5| discv5.update_local_enr_socket(address, tcp)).unwrap_or(false);
        self.publish_local_enr();
        changed
    }

    /// What a router has done for `ports`: the first is that of discv5, the others go into the record by their keys.
    pub(super) fn ports_told(&self, ports: &[PortMapping], told: Told, key: &CombinedKey) {
        match told {
            Told::States(states) => self.states_told(states),
            Told::Reached(index, external) => {
                let Some(PortMapping { service, .. }) = ports.get(index) else { return };
                tracing::info!(service, %external, "the router maps a UDP port to this node");
                match index {
                    0 => drop(self.announce(external.into(), false)),
                    _ => self.announce_service(service, external.port()),
                }
            }
            Told::Lost(index, external) => {
                let Some(PortMapping { service, local, .. }) = ports.get(index) else { return };
                tracing::info!(service, %external, "the router maps a UDP port to this node no more");
                match index {
                    0 => self.withdraw(external, key),
                    // Behind no NAT, or one that keeps ports, it is reached at its own.
                    _ => self.announce_service(service, local.port()),
                }
            }
        }
    }

    fn states_told(&self, states: Vec<MappingState>) {
        self.port_mappings.send_if_modified(|mappings| {
            let mut is_new = false;
            for (mapping, state) in mappings.iter_mut().zip(states) {
                is_new |= mapping.state != state;
                mapping.state = state;
            }
            is_new
        });
    }

    /// Takes a UDP address out of the local record, if it still is the one that stands there: peers may have told another.
    fn withdraw(&self, address: SocketAddrV4, key: &CombinedKey) {
        self.with_discv5(|discv5| {
            let enr = discv5.external_enr();
            let mut enr = enr.write();
            if enr.udp4_socket() == Some(address)
                && let Err(error) = enr.remove_udp_socket(key)
            {
                tracing::warn!(%error, "an address that was lost is still announced");
            }
        });
        self.publish_local_enr();
    }

    /// Puts the port of a service into the record.
    fn announce_service(&self, service: &'static str, port: u16) {
        if let Some(Err(error)) = self.with_discv5(|discv5| discv5.enr_insert(service, &port)) {
            tracing::warn!(?error, service, "the record names another port than the router maps");
        }
        self.publish_local_enr();
    }

    /// Tells those who watch the record if it is a newer one.
    pub(super) fn publish_local_enr(&self) {
        if let Some(enr) = self.with_discv5(Discv5::local_enr) {
            self.local_enr.send_if_modified(|published| {
                let newer = enr.seq() > published.seq();
                if newer {
                    *published = enr;
                }
                newer
            });
        }
    }
}
