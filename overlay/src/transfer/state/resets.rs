//! Refusals: what tells a peer that a stream is unknown here, or will not be opened. A courtesy, so there are few of them at
//! a time and none when the peer, or everybody, is busy.

use std::collections::VecDeque;

use bytes::Bytes;
use cairn_utp::{Header, PacketType};

use crate::transfer::pace::{MAX_IN_FLIGHT, PacketPace};
use crate::transport::Contact;

/// Unanswered packets to a peer above which nothing is refused any more: a RESET must not take the place of a stream's
/// packets.
const MAX_UNANSWERED_TO_REFUSE: usize = 4;

/// RESETs that wait for the driver, which sends them before anything else. A lookup may leave as many announced streams as
/// it has asked peers at a time, and several end at once.
const MAX_WAITING: usize = 64;

/// The RESETs that wait to be sent.
#[derive(Default)]
pub(super) struct Resets {
    waiting: VecDeque<(Contact, Bytes)>,
}

impl Resets {
    /// Queues a RESET, or drops it when it would be in the way.
    pub(super) fn push(&mut self, to: Contact, reset: Header, pace: &PacketPace) {
        let to_peer = self.waiting.iter().filter(|(waiting, _)| waiting.endpoint() == to.endpoint()).count();
        if self.waiting.len() >= MAX_WAITING
            || pace.in_flight_to(&to.endpoint()) + to_peer >= MAX_UNANSWERED_TO_REFUSE
            || pace.in_flight() >= MAX_IN_FLIGHT / 2
        {
            return;
        }
        let mut packet = Vec::with_capacity(cairn_utp::HEADER_LEN);
        reset.encode(None, &[], &mut packet);
        self.waiting.push_back((to, packet.into()));
    }

    /// The next one to send.
    pub(super) fn pop(&mut self) -> Option<(Contact, Bytes)> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The RESET that tells a peer that the stream it announced with this connection ID will not be opened.
pub(super) fn declining(connection_id: u16) -> Header {
    Header {
        packet_type: PacketType::Reset,
        // What the acceptor receives on.
        connection_id: connection_id.wrapping_add(1),
        timestamp_microseconds: 0,
        timestamp_difference_microseconds: 0,
        wnd_size: 0,
        seq_nr: 0,
        ack_nr: 0,
    }
}
