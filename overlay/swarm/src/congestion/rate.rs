//! What of a path's rate the acknowledgements show: how many bytes arrived between two moments, and in how long.
//!
//! The interval is the longer one of that in which the bytes were sent and that in which they were acknowledged: acknowledgements
//! that come in a bunch would make the path look faster than it is, and so would packets that were sent in one.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Sends that are remembered, at most. What is beyond gives no samples.
const MAX_SENDS: usize = 4_096;

/// What was known when packets were sent.
#[derive(Debug, Clone, Copy)]
struct Send {
    at: Instant,
    /// Bytes that had been acknowledged, and when the last of them were.
    delivered: u64,
    delivered_at: Instant,
    /// When what was acknowledged last had been sent.
    first_sent_at: Instant,
    /// Whether there was less to send than the path takes.
    is_limited: bool,
}

/// What acknowledgements that came together show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Bytes a second; `None` if it took no time that can be measured.
    pub(super) rate: Option<u64>,
    /// From when the newest packet that was acknowledged was sent until now.
    pub(super) rtt: Duration,
    /// Whether there was less to send than the path takes, so that it may be faster than this.
    pub(super) is_limited: bool,
    /// Whether a round trip has passed since the last sample of which this was said.
    pub(super) ends_round: bool,
    /// Bytes that were acknowledged with it.
    pub(super) acked: u64,
}

/// The estimator of one path.
#[derive(Debug, Clone)]
pub(super) struct DeliveryRate {
    sends: VecDeque<Send>,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    in_flight: u64,
    /// What is sent until so much was delivered is limited by what there is to send.
    limited_until: Option<u64>,
    /// A round ends when something that was sent after so much was delivered is acknowledged.
    round_end: u64,
    newest: Option<Send>,
    acked: u64,
}

impl DeliveryRate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sends: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            in_flight: 0,
            limited_until: None,
            round_end: 0,
            newest: None,
            acked: 0,
        }
    }

    pub(super) fn handle_sent(&mut self, now: Instant, bytes: u64) {
        if self.in_flight == 0 {
            // The pause before says nothing of the path.
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        self.in_flight = self.in_flight.saturating_add(bytes);
        if self.sends.back().is_some_and(|last| last.at >= now) {
            return;
        }
        if self.sends.len() == MAX_SENDS {
            self.sends.pop_front();
        }
        self.sends.push_back(Send {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            is_limited: self.limited_until.is_some(),
        });
    }

    pub(super) fn handle_acked(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered = self.delivered.saturating_add(bytes);
        self.acked = self.acked.saturating_add(bytes);
        self.delivered_at = now;
        let place = self.sends.partition_point(|send| send.at < sent);
        let of = self.sends.get(place).filter(|send| send.at == sent);
        if let Some(of) = of
            && self.newest.is_none_or(|newest| newest.at <= of.at)
        {
            self.newest = Some(*of);
        }
    }

    pub(super) fn handle_lost(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// All that is acknowledged at this moment was told. `in_flight` is what is still on its way, bytes; `is_limited` says that there is
    /// nothing to send although the window would allow it.
    pub(super) fn sample(&mut self, now: Instant, in_flight: u64, is_limited: bool) -> Option<Sample> {
        self.in_flight = in_flight;
        let acked = std::mem::take(&mut self.acked);
        self.limited_until = self.limited_until.filter(|until| self.delivered <= *until);
        if is_limited {
            self.limited_until = Some(self.delivered.saturating_add(in_flight).max(1));
        }
        let newest = self.newest.take()?;
        self.first_sent_at = newest.at;
        // A part of what was sent at that moment may be still to come.
        while self.sends.front().is_some_and(|send| send.at < newest.at) {
            self.sends.pop_front();
        }
        let sending = newest.at.saturating_duration_since(newest.first_sent_at);
        let arriving = now.saturating_duration_since(newest.delivered_at);
        let nanos = sending.max(arriving).as_nanos();
        let bytes = u128::from(self.delivered - newest.delivered);
        let rate = (bytes * 1_000_000_000).checked_div(nanos).map(|rate| u64::try_from(rate).unwrap_or(u64::MAX));
        let ends_round = newest.delivered >= self.round_end;
        if ends_round {
            self.round_end = self.delivered;
        }
        let rtt = now.saturating_duration_since(newest.at);
        Some(Sample { rate, rtt, is_limited: newest.is_limited, ends_round, acked })
    }
}
