//! What is known of one peer of a download.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{DownloadConfig, RequestId, bitmap::Bitmap, window::Window};

/// How long a peer is left alone that refused a request, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Requests to a peer of which nothing was checked and kept yet. Whatever it sends until then may be for nothing, and what it
/// claims to send may be long. An honest peer loses nothing: its slow start begins with as many.
const STRANGERS_REQUESTS: usize = 2;

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a peer holds of a download, how well it delivers, and what it is asked for now.
#[derive(Debug)]
pub(super) struct DownloadPeer {
    /// The wanted runs that it holds.
    pub(super) held: Bitmap,
    /// Those that it turned out not to hold, or not so that they can be used, whatever it says.
    pub(super) denied: Bitmap,
    /// Whether it counts as a holder: it is new, or has delivered lately.
    pub(super) is_credible: bool,
    /// When something of it was checked and kept last, or when it was connected.
    pub(super) last_delivery: Instant,
    /// Whether anything of it ever was.
    pub(super) has_delivered: bool,
    pub(super) is_choked: bool,
    pub(super) window: Window,
    /// The requests to it that are under way, the oldest first.
    pub(super) requests: VecDeque<RequestId>,
    /// Bytes that they are still believed to bring.
    pub(super) in_flight: u64,
    /// Bytes that it has sent.
    pub(super) received: u64,
    pub(super) last_bytes: Instant,
    /// Whether something was taken over from it since it last sent anything: nothing is hoped of it meanwhile.
    pub(super) has_failed: bool,
    max_requests: usize,
    paused_until: Option<Instant>,
    next_pause: Duration,
}

impl DownloadPeer {
    pub(super) fn new(now: Instant, config: &DownloadConfig, runs: usize, max_requests: usize, rtt: Duration) -> Self {
        let mut window = Window::new(now, config);
        window.set_rtt(rtt);
        Self {
            held: Bitmap::new(runs),
            denied: Bitmap::new(runs),
            is_credible: true,
            last_delivery: now,
            has_delivered: false,
            is_choked: true,
            window,
            requests: VecDeque::new(),
            in_flight: 0,
            received: 0,
            last_bytes: now,
            has_failed: false,
            max_requests,
            paused_until: None,
            next_pause: FIRST_PAUSE,
        }
    }

    /// Whether it may be asked for more.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        !self.is_choked
            && self.paused_until.is_none_or(|until| now >= until)
            && self.requests.len() < if self.has_delivered { self.max_requests } else { STRANGERS_REQUESTS }
            && self.in_flight < self.window.bytes()
    }

    /// How long it would need for so many bytes, hoping for the best of one that has shown nothing yet.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        if self.has_failed { self.window.time_for(bytes) } else { self.window.hoped_time_for(bytes) }
    }

    /// How much to ask for in one request: so that two at least are under way, and all of the window is in use before the
    /// requests run out.
    pub(super) fn part_bytes(&self, config: &DownloadConfig) -> u64 {
        let window = self.window.bytes();
        let requests = u64::try_from(self.max_requests).unwrap_or(u64::MAX).max(1);
        config.part_bytes.min(window / 2).max(window / requests)
    }

    /// Bytes came, some of which its requests were believed to bring.
    pub(super) fn handle_bytes(&mut self, now: Instant, bytes: u64, expected: u64, config: &DownloadConfig) {
        self.last_bytes = now;
        self.has_failed = false;
        self.received = self.received.saturating_add(bytes);
        self.in_flight = self.in_flight.saturating_sub(expected);
        self.window.handle_bytes(bytes, config);
    }

    /// Something of it was checked and kept.
    pub(super) fn handle_delivered(&mut self, now: Instant) {
        self.last_delivery = now;
        self.has_delivered = true;
    }

    /// It answered a request in full.
    pub(super) fn handle_served(&mut self) {
        self.next_pause = FIRST_PAUSE;
    }

    /// It refused, or failed: it is left alone for a while.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + self.next_pause);
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
    }
}
