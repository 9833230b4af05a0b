//! What is a state rather than an event: peers, and what the store holds. Asked for at each scrape.

use std::fmt;

use content_types::Distance;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// State of one sub-network at the time of a scrape.
#[derive(Clone, Debug)]
pub(crate) struct NetworkState {
    pub(crate) network: &'static str,
    pub(crate) peers: usize,
    pub(crate) bytes: u64,
    pub(crate) items: u64,
    pub(crate) capacity: u64,
    pub(crate) radius: Distance,
}

impl NetworkState {
    /// The part of the key space within the radius, 0 to 1, by the highest 64 bits, which is precise enough.
    pub(crate) fn radius_fraction(&self) -> f64 {
        let [a, b, c, d, e, f, g, h, ..] = self.radius.to_be_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) as f64 / u64::MAX as f64
    }
}

/// Asks for the state of every sub-network.
pub(crate) struct Snapshot(Box<dyn Fn() -> Vec<NetworkState> + Send + Sync>);

impl Snapshot {
    pub(crate) fn new(ask: impl Fn() -> Vec<NetworkState> + Send + Sync + 'static) -> Self {
        Self(Box::new(ask))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let states = (self.0)();
        let bytes = Some(Unit::Bytes);
        gauge(&mut encoder, &states, "peers", "Peers in the routing table", None, |state| state.peers as f64)?;
        gauge(&mut encoder, &states, "store", "Content held, without archives", bytes.as_ref(), |state| {
            state.bytes as f64
        })?;
        gauge(&mut encoder, &states, "store_capacity", "Room for content", bytes.as_ref(), |state| {
            state.capacity as f64
        })?;
        gauge(&mut encoder, &states, "store_items", "Pieces of content held", None, |state| state.items as f64)?;
        gauge(&mut encoder, &states, "store_radius_log2", "Highest bit of the radius", None, |state| {
            state.radius.log2().map_or(-1.0, f64::from)
        })?;
        gauge(
            &mut encoder,
            &states,
            "store_radius_fraction",
            "Part of the key space within the radius",
            None,
            NetworkState::radius_fraction,
        )?;
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    states: &[NetworkState],
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: impl Fn(&NetworkState) -> f64,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, ConstGauge::new(0.0_f64).metric_type())?;
    for state in states {
        ConstGauge::new(value(state)).encode(family.encode_family(&[("network", state.network)])?)?;
    }
    Ok(())
}
