//! Whether the router maps the ports of the node's services. Asked for at each scrape.

use std::fmt;

use overlay::discovery::{MappingState, PortMapping};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use crate::ports::service_name;

/// The collector of a node's ports.
#[derive(Debug)]
pub(super) struct PortsSnapshot(pub(super) watch::Receiver<Vec<PortMapping>>);

impl Collector for PortsSnapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mappings = self.0.borrow().clone();
        let help =
            "1 if the router maps the port, by the protocol that `state` names; 0 if it does not, for that reason";
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor("port_mapped", help, None, kind)?;
        for mapping in &mappings {
            let (is_mapped, state) = match &mapping.state {
                MappingState::Asking => (0_i64, "asking"),
                MappingState::Mapped { by, .. } => (1, by.name()),
                MappingState::NotMapped(why) => (0, why.label()),
            };
            let labels = [("service", service_name(mapping)), ("state", state)];
            ConstGauge::new(is_mapped).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use overlay::discovery::{MappingFailure, MappingProtocol};

    use super::super::Metrics;
    use super::*;

    #[test]
    fn a_scrape_says_which_ports_are_mapped_and_why_others_are_not() {
        let local = "192.168.1.2:9009".parse().unwrap();
        let mapping = |service| PortMapping { service, local, state: MappingState::Asking };
        let (told, mappings) = watch::channel(vec![mapping("discv5"), mapping("quic"), mapping("kad")]);
        let metrics = Metrics::new();
        metrics.watch_ports(mappings);
        told.send_modify(|mappings| {
            let external = "8.8.8.8:9009".parse().unwrap();
            mappings[0].state = MappingState::Mapped { external, by: MappingProtocol::Pcp };
            mappings[1].state = MappingState::NotMapped(MappingFailure::Taken);
        });
        let text = metrics.encode().unwrap();
        let told: Vec<_> = text.lines().filter(|line| line.starts_with("cairn_port_mapped")).collect();
        let expected = [
            r#"cairn_port_mapped{service="discv5",state="pcp"} 1"#,
            r#"cairn_port_mapped{service="quic",state="taken"} 0"#,
            r#"cairn_port_mapped{service="tracker",state="asking"} 0"#,
        ];
        assert_eq!(told, expected);
    }
}
