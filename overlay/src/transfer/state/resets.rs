//! RESETs without a stream of their own: what tells a peer that a stream is unknown here, or that the one that it announced
//! will not be opened.
//!
//! The first is a courtesy, given when nobody is busy. The second is owed: the peer keeps a place for the stream, of the few
//! that it has for us, until it is told or has waited for long. Who asks several peers at once and takes the first answer leaves
//! dozens of such places a second; were some not given back, the peer would soon have none left and answer like one that has
//! nothing.

use std::collections::VecDeque;

use bytes::Bytes;
use cairn_limits::{Counts, Quota};
use cairn_utp::{Header, PacketType};

use crate::transfer::pace::{MAX_IN_FLIGHT, PacketPace};
use crate::transport::Contact;

/// Unanswered packets to a peer above which it is shown no courtesy: a RESET must not take the place of a stream's packets.
const MAX_UNANSWERED_TO_REFUSE: usize = 4;

/// Courtesies that wait for the driver, which sends them before anything else.
const MAX_REFUSALS: usize = 64;

/// What is owed and waits for its peer to have room for a packet. No peer keeps more places for us than that, and what does not
/// fit it gives up by itself in time.
const OWED: Quota = Quota::new(512).of_peer(64);

/// The RESETs that wait to be sent.
#[derive(Default)]
pub(super) struct Resets {
    refusals: VecDeque<(Contact, Bytes)>,
    declined: VecDeque<(Contact, Bytes)>,
    owed: Counts,
}

impl Resets {
    /// Queues what tells a peer that a stream is unknown here, or leaves it when that would be in the way.
    pub(super) fn refuse(&mut self, to: Contact, reset: Header, pace: &PacketPace) {
        let to_peer = self.refusals.iter().filter(|(waiting, _)| waiting.endpoint() == to.endpoint()).count();
        if self.refusals.len() < MAX_REFUSALS
            && pace.in_flight_to(&to.endpoint()) + to_peer < MAX_UNANSWERED_TO_REFUSE
            && pace.in_flight() < MAX_IN_FLIGHT / 2
        {
            self.refusals.push_back((to, encoded(&reset)));
        }
    }

    /// Queues what tells a peer that the stream that it announced with this connection ID will not be opened.
    pub(super) fn decline(&mut self, to: Contact, connection_id: u16) {
        let holder = to.endpoint().holder();
        if self.owed.check(&OWED, OWED.of_peer, &holder, 1).is_ok() {
            self.owed.add(&holder, 1);
            self.declined.push_back((to, encoded(&declining(connection_id))));
        }
    }

    /// The next one that there is room for.
    pub(super) fn pop(&mut self, pace: &PacketPace) -> Option<(Contact, Bytes)> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Some(refusal);
        }
        let next = self.declined.iter().position(|(to, _)| has_room(to, pace))?;
        let (to, packet) = self.declined.remove(next)?;
        self.owed.remove(&to.endpoint().holder(), 1);
        Some((to, packet))
    }

    /// Whether one could be sent now.
    pub(super) fn is_ready(&self, pace: &PacketPace) -> bool {
        !self.refusals.is_empty() || self.declined.iter().any(|(to, _)| has_room(to, pace))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.refusals.is_empty() && self.declined.is_empty()
    }
}

fn has_room(to: &Contact, pace: &PacketPace) -> bool {
    pace.room_to(&to.endpoint()) > 0
}

fn encoded(reset: &Header) -> Bytes {
    let mut packet = Vec::with_capacity(cairn_utp::HEADER_LEN);
    reset.encode(None, &[], &mut packet);
    packet.into()
}

fn declining(connection_id: u16) -> Header {
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
