//! What is moved over QUIC, with whom, and what this node holds to serve. Asked for at each scrape; what only grows is counted
//! by the endpoint since its start.

use std::fmt;

use cairn_swarm::geometry::Component;
use cairn_swarm::quic::{StatsSource, SwarmStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Components by [`Component::index`], as labels.
const COMPONENTS: [&str; Component::COUNT] = ["headers", "bodies", "receipts"];

/// The collector of an endpoint.
#[derive(Debug)]
pub(super) struct SwarmSnapshot(pub(super) StatsSource);

impl Collector for SwarmSnapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // An endpoint that is gone has nothing to say; it is not one at zero.
        let Some(stats) = self.0.stats() else { return Ok(()) };
        let SwarmStats { sessions, served, waiting, serving, bars, uploaded, downloaded, held } = stats;
        for (name, help, value) in [
            ("swarm_connections", "Peers that are connected over QUIC", sessions),
            ("swarm_unchoked", "Peers that are served ranges now", served),
            ("swarm_choked", "Peers that want ranges and have to wait", waiting),
            ("swarm_serving", "Peers that serve this node", serving),
        ] {
            let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let bars = ConstCounter::new(bars);
        bars.encode(encoder.encode_descriptor("swarm_bars", "Bars put on peers", None, bars.metric_type())?)?;

        let kind = ConstCounter::new(0_u64).metric_type();
        let help = "Items sent to others, and answers received to requests for ranges";
        let mut family = encoder.encode_descriptor("swarm_transferred", help, Some(&Unit::Bytes), kind)?;
        for (direction, moved) in [("out", uploaded), ("in", downloaded)] {
            for (component, bytes) in COMPONENTS.into_iter().zip(moved) {
                let labels = [("direction", direction), ("component", component)];
                ConstCounter::new(bytes).encode(family.encode_family(&labels)?)?;
            }
        }
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor("swarm_held_runs", "Runs of 256 blocks held", None, kind)?;
        for (component, runs) in COMPONENTS.into_iter().zip(held) {
            let runs = ConstGauge::new(i64::try_from(runs).unwrap_or(i64::MAX));
            runs.encode(family.encode_family(&[("component", component)])?)?;
        }
        Ok(())
    }
}
