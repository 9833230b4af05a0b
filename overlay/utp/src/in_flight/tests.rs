//! Loss detection, one rule at a time.

use super::*;

const RTT: Duration = Duration::from_millis(40);
const LOSS_DELAY: Duration = Duration::from_millis(45);

/// Ten packets of 100 bytes sent at once, and the first number.
fn ten_sent(now: Instant) -> (PacketsInFlight, SeqNr) {
    let first = SeqNr::first(u16::MAX - 3);
    let mut in_flight = PacketsInFlight::new(first);
    for _ in 0..10 {
        in_flight.push(now, Bytes::from_static(&[0; 100]), SentKind::Data);
    }
    (in_flight, first)
}

/// Acknowledges nothing but the packets at `places`, the first of which is 0.
fn selective(in_flight: &mut PacketsInFlight, now: Instant, first: SeqNr, places: &[u32]) -> Acked {
    let mask: u32 = places.iter().map(|place| 1 << (place - 1)).sum();
    let mask = SelectiveAck::new(Bytes::copy_from_slice(&mask.to_le_bytes())).unwrap();
    in_flight.handle_ack(now, first.previous(), Some(&mask), RTT)
}

fn retransmitted(in_flight: &mut PacketsInFlight, now: Instant, first: SeqNr) -> Vec<usize> {
    std::iter::from_fn(|| in_flight.retransmit(now)).filter_map(|(seq_nr, ..)| seq_nr.since(first)).collect()
}

/// Ten packets, of which the peer lacked the first, so that it was sent again at the time given.
fn first_sent_again() -> (PacketsInFlight, SeqNr, Instant) {
    let sent = Instant::now();
    let (mut in_flight, first) = ten_sent(sent);
    let now = sent + RTT;
    selective(&mut in_flight, now, first, &[1, 2, 3]);
    in_flight.detect_lost(now, LOSS_DELAY);
    assert_eq!(retransmitted(&mut in_flight, now, first), [0]);
    (in_flight, first, now)
}

#[test]
fn a_packet_is_lost_when_three_sent_later_have_arrived() {
    let sent = Instant::now();
    let (mut in_flight, first) = ten_sent(sent);
    let now = sent + RTT;
    let acked = selective(&mut in_flight, now, first, &[1, 2]);
    assert_eq!((acked.packets, acked.bytes, acked.rtt), (2, 200, Some(RTT)));
    assert_eq!(in_flight.detect_lost(now, LOSS_DELAY).packets, 0);
    assert_eq!(selective(&mut in_flight, now, first, &[1, 2, 3]).packets, 1);
    assert_eq!(in_flight.detect_lost(now, LOSS_DELAY).packets, 1);
    assert_eq!(in_flight.bytes(), 600);
    assert_eq!(retransmitted(&mut in_flight, now, first), [0]);
    assert_eq!((in_flight.bytes(), in_flight.span_bytes()), (700, 1_000));
}

#[test]
fn a_packet_that_was_overtaken_is_lost_when_its_time_has_run_out() {
    let sent = Instant::now();
    let (mut in_flight, first) = ten_sent(sent);
    selective(&mut in_flight, sent + RTT, first, &[1]);
    assert_eq!(in_flight.detect_lost(sent + RTT, LOSS_DELAY).packets, 0);
    assert_eq!(in_flight.loss_time(), Some(sent + LOSS_DELAY));
    assert_eq!(in_flight.detect_lost(sent + LOSS_DELAY, LOSS_DELAY).packets, 1);
}

#[test]
fn what_no_acknowledgement_spoke_of_is_not_lost_by_it() {
    let (mut in_flight, first, now) = first_sent_again();
    // The retransmission, sent last, has arrived; the peer says nothing about what it has beyond the fourth.
    in_flight.handle_ack(now + RTT, first.add(3), None, RTT);
    assert_eq!(in_flight.detect_lost(now + RTT, LOSS_DELAY).packets, 0);
    assert_eq!(in_flight.loss_time(), None);
}

#[test]
fn a_lost_retransmission_is_found_by_what_was_sent_after_it() {
    let (mut in_flight, first, mut now) = first_sent_again();
    for _ in 0..3 {
        in_flight.push(now, Bytes::from_static(&[0; 100]), SentKind::Data);
    }
    now += RTT;
    selective(&mut in_flight, now, first, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(in_flight.detect_lost(now, LOSS_DELAY).packets, 1);
    assert_eq!(retransmitted(&mut in_flight, now, first), [0]);
}

#[test]
fn a_packet_that_was_only_late_teaches_patience() {
    let (mut in_flight, first, now) = first_sent_again();
    // Too soon after it was sent again: this is the first transmission's acknowledgement, and says nothing about
    // what was sent between the two.
    let acked = in_flight.handle_ack(now + RTT / 8, first.add(3), None, RTT);
    assert_eq!((acked.late, acked.rtt), (1, None));
    selective(&mut in_flight, now + RTT / 8, first.add(4), &[1, 2, 3, 4]);
    assert_eq!(in_flight.detect_lost(now + RTT / 8, RTT * 2).packets, 0);
    assert!(in_flight.loss_time().is_some());
}

#[test]
fn everything_is_given_back_when_everything_arrived() {
    let sent = Instant::now();
    let (mut in_flight, first) = ten_sent(sent);
    in_flight.lose_all();
    assert_eq!(in_flight.bytes(), 0);
    assert_eq!(retransmitted(&mut in_flight, sent, first), (0..10).collect::<Vec<_>>());
    let acked = in_flight.handle_ack(sent + RTT, first.add(9), None, RTT);
    assert_eq!((acked.packets, acked.bytes, acked.rtt), (10, 1_000, None));
    assert!(in_flight.is_empty());
    assert_eq!((in_flight.bytes(), in_flight.span_bytes()), (0, 0));
    assert_eq!(in_flight.next_seq_nr(), first.add(10));
}
