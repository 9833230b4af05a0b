//! How much of what a connection sends may be on its way at once: the congestion controller of the swarm.
//!
//! What a swarm does to a network is its own case. Several seeders send to one home at the same time, all through the one link that
//! is slow, and each only sees its own part. A controller that takes every loss for a full path starves on a radio link that loses a
//! packet in a hundred. One that takes none for a sign, and keeps twice of what the path holds on its way, fills whatever waits
//! before the slow link, and with four of them a quarter of all packets is thrown away there and sent again. This one measures what
//! arrives ([`rate`]) and keeps a little more than the path holds on its way ([`control`]), whatever is lost at random; if
//! much more is lost than the path loses when it is idle, it holds less.
//!
//! QUIC's implementation asks a controller for its window alone and paces by that itself: a quarter more than a window in a
//! smoothed round trip. So the window is all that is decided here. It follows the ideas of BBR
//! (draft-ietf-ccwg-bbr) and the estimator of draft-cheng-iccrg-delivery-rate-estimation.

mod control;
mod rate;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

use control::Control;

/// Makes a controller for each path of an endpoint's connections.
#[derive(Debug)]
pub(crate) struct Congestion {
    /// Where in its cycle the next one begins, so that those of one endpoint do not all probe at once.
    next: AtomicU64,
}

impl Congestion {
    /// Controllers whose cycles begin at places that follow from `seed`.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { next: AtomicU64::new(seed) }
    }
}

impl ControllerFactory for Congestion {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(PathController(Control::new(now, mtu, self.next.fetch_add(1, Ordering::Relaxed))))
    }
}

/// [`Control`] as QUIC's implementation asks for it.
#[derive(Debug, Clone)]
struct PathController(Control);

impl Controller for PathController {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet: u64) {
        self.0.handle_sent(now, bytes);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _is_limited: bool, _rtt: &RttEstimator) {
        self.0.handle_acked(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, is_limited: bool, _largest: Option<u64>) {
        self.0.handle_acks_done(now, in_flight, is_limited);
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, is_persistent: bool, lost: u64) {
        self.0.handle_lost(lost, is_persistent);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.0.set_mtu(mtu);
    }

    fn window(&self) -> u64 {
        self.0.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.0.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
