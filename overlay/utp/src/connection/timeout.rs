//! What time does to a connection.

use std::time::Instant;

use super::{Connection, ConnectionState, LossRecovery};
use crate::CloseReason;

impl Connection {
    /// When [`handle_timeout`](Self::handle_timeout) has to be called; changes with every other call. After that call it
    /// lies in the future, even if what became due could not be sent yet.
    pub(super) fn timeout(&self) -> Option<Instant> {
        match &self.state {
            ConnectionState::SynSent(syn) if syn.due => Some(syn.deadline),
            ConnectionState::SynSent(syn) => Some(syn.deadline.min(syn.retransmit_at)),
            ConnectionState::SynExpected { deadline } => Some(*deadline),
            ConnectionState::Connected { .. } => {
                let idle = self.last_received + self.config.idle_timeout;
                let others = [self.acks.deadline(), self.loss_deadline(), self.window_probe.at];
                Some(others.into_iter().flatten().fold(idle, Instant::min))
            }
            ConnectionState::Lingering { until } => {
                Some(self.acks.deadline().map_or(*until, |deadline| deadline.min(*until)))
            }
            ConnectionState::Closed { .. } => None,
        }
    }

    /// Does what was due at `now`. Calling it early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            ConnectionState::SynSent(syn) => {
                if syn.deadline <= now {
                    self.end_by_peer(CloseReason::ConnectTimeout);
                } else if syn.retransmit_at <= now {
                    syn.due = true;
                }
            }
            ConnectionState::SynExpected { deadline } => {
                if *deadline <= now {
                    self.end_by_peer(CloseReason::ConnectTimeout);
                }
            }
            ConnectionState::Connected { .. } => {
                if self.last_received + self.config.idle_timeout <= now {
                    self.end_by_peer(CloseReason::IdleTimeout);
                    return;
                }
                self.acks.handle_timeout(now);
                if self.loss_deadline().is_some_and(|deadline| deadline <= now) {
                    self.handle_loss_timeout(now);
                }
                if self.window_probe.at.is_some_and(|at| at <= now) {
                    self.window_probe.at = None;
                    self.window_probe.due = true;
                }
            }
            ConnectionState::Lingering { until } => {
                if *until <= now {
                    self.end_by_peer(CloseReason::Finished);
                } else {
                    self.acks.handle_timeout(now);
                }
            }
            ConnectionState::Closed { .. } => {}
        }
    }

    /// When to look after the packets in flight: first one that was overtaken becomes lost, then the tail is probed,
    /// then everything is sent again.
    fn loss_deadline(&self) -> Option<Instant> {
        if self.in_flight.loss_time().is_some() {
            return self.in_flight.loss_time();
        }
        if self.in_flight.bytes() == 0 {
            return None;
        }
        let retransmission = &self.retransmission;
        let wait = if retransmission.probed { self.rtt.rto(retransmission.backoff) } else { self.rtt.probe_timeout() };
        Some(retransmission.since + wait)
    }

    fn handle_loss_timeout(&mut self, now: Instant) {
        // When we come late, a probe still gets its time before everything is sent again.
        self.retransmission.since = now;
        if self.in_flight.loss_time().is_some() {
            let lost = self.in_flight.detect_lost(now, self.rtt.loss_delay());
            self.handle_lost(lost);
        } else if !self.retransmission.probed {
            self.retransmission.probed = true;
            self.in_flight.probe();
        } else {
            self.retransmission.backoff += 1;
            self.stats.timeouts += 1;
            self.in_flight.lose_all();
            // A peer whose window is closed drops what it has no room for: that says nothing about the link.
            if self.peer_window > 0 {
                self.congestion.handle_timeout();
                self.recovery = LossRecovery { until: self.in_flight.next_transmission(), ..LossRecovery::default() };
            }
        }
    }
}
