//! Whatever comes, in whatever order: no panic, no endless output; and over whatever link, the streams arrive.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_utp::{Config, Connection, Header, Output, PacketType, SelectiveAck};
use proptest::prelude::*;
use simulation::{LinkConfig, Simulation};

/// Any one call could make a connection send; a window's worth of packets and some is the most it may.
const OUTPUT_LIMIT: usize = 5_000;

#[derive(Clone, Debug)]
enum Step {
    /// Bytes that may or may not be a packet.
    Raw(Vec<u8>),
    /// A packet that gets past the connection id, with numbers relative to those in use.
    Forged {
        packet_type: PacketType,
        seq_nr: i16,
        ack_nr: i16,
        wnd_size: u32,
        mask: Option<Vec<[u8; 4]>>,
        payload: usize,
    },
    /// Everything that each side has sent reaches the other, but for every `lose`th packet.
    Exchange {
        lose: usize,
    },
    Wait(u64),
    Write(usize),
    Read(usize),
    Finish,
    Close,
    Reset,
}

fn any_step() -> impl Strategy<Value = Step> {
    let near = prop_oneof![-40..40_i16, any::<i16>()];
    let types = [PacketType::Data, PacketType::Fin, PacketType::State, PacketType::Reset, PacketType::Syn];
    let weights = [8, 2, 8, 1, 1];
    let packet_type = proptest::strategy::Union::new_weighted(weights.into_iter().zip(types.map(Just)).collect());
    let mask = proptest::option::of(proptest::collection::vec(any::<[u8; 4]>(), 1..8));
    let forged = (packet_type, near.clone(), near, prop_oneof![0..5_000_u32, any::<u32>()], mask, 0..2_000_usize)
        .prop_map(|(packet_type, seq_nr, ack_nr, wnd_size, mask, payload)| Step::Forged {
            packet_type,
            seq_nr,
            ack_nr,
            wnd_size,
            mask,
            payload,
        });
    prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..64).prop_map(Step::Raw),
        8 => forged,
        8 => (1..10_usize).prop_map(|lose| Step::Exchange { lose }),
        4 => (0..5_000_u64).prop_map(Step::Wait),
        4 => (0..300_000_usize).prop_map(Step::Write),
        2 => (0..300_000_usize).prop_map(Step::Read),
        1 => Just(Step::Finish),
        1 => Just(Step::Close),
        1 => Just(Step::Reset),
    ]
}

/// When the connection wants to be called again, whether or not its packets have left.
fn timeout(connection: &mut Connection, now: Instant) -> Option<Instant> {
    loop {
        if let Output::Timeout(at) = connection.poll_output(now, None) {
            return at;
        }
    }
}

/// The two ends, and the numbers in use as an eavesdropper sees them.
struct Ends {
    now: Instant,
    connections: [Connection; 2],
    last_sent: [Option<Header>; 2],
}

impl Ends {
    fn new(seq_nr: u16) -> Self {
        let now = Instant::now();
        let config = Config { receive_buffer: 20_000, ..Config::default() };
        let connections = [Connection::connect(config, 7, now, seq_nr), Connection::accept(config, 7, now, !seq_nr)];
        Self { now, connections, last_sent: [None; 2] }
    }

    fn output(&mut self, side: usize) -> Vec<Bytes> {
        let mut packets = Vec::new();
        let mut packet = Vec::new();
        let mut events = 0;
        loop {
            match self.connections[side].poll_output(self.now, Some(&mut packet)) {
                Output::Transmit(_) => {
                    self.last_sent[side] = Some(Header::decode(&packet).unwrap());
                    packets.push(Bytes::from(std::mem::take(&mut packet)));
                    assert!(packets.len() < OUTPUT_LIMIT);
                }
                Output::Event(_) => {
                    events += 1;
                    assert!(events <= 10);
                }
                Output::Timeout(_) => return packets,
            }
        }
    }

    fn apply(&mut self, side: usize, step: &Step) {
        let connection = &mut self.connections[side];
        match step {
            Step::Raw(bytes) => drop(connection.handle_packet(self.now, Bytes::copy_from_slice(bytes))),
            Step::Forged { packet_type, seq_nr, ack_nr, wnd_size, mask, payload } => {
                let [ours, theirs] = [self.last_sent[side], self.last_sent[1 - side]];
                let number = |header: Option<Header>, ahead: i16| {
                    header.map_or(0, |header| header.seq_nr).wrapping_add_signed(ahead)
                };
                let mut connection_id = connection.receive_id();
                if *packet_type == PacketType::Syn {
                    connection_id = connection_id.wrapping_sub(1);
                }
                let header = Header {
                    packet_type: *packet_type,
                    connection_id,
                    timestamp_microseconds: *wnd_size,
                    timestamp_difference_microseconds: wnd_size.rotate_left(16),
                    wnd_size: *wnd_size,
                    seq_nr: number(theirs, *seq_nr),
                    ack_nr: number(ours, *ack_nr),
                };
                let mask = mask.as_ref().map(|words| SelectiveAck::new(words.concat().into()).unwrap());
                let mut packet = Vec::new();
                header.encode(mask.as_ref(), &vec![0; *payload], &mut packet);
                let _ = connection.handle_packet(self.now, packet.into());
            }
            Step::Exchange { lose } => {
                for from in [side, 1 - side] {
                    for (index, packet) in self.output(from).into_iter().enumerate() {
                        if index % lose != lose - 1 {
                            let _ = self.connections[1 - from].handle_packet(self.now, packet);
                        }
                    }
                }
            }
            Step::Wait(milliseconds) => {
                self.now += Duration::from_millis(*milliseconds);
                connection.handle_timeout(self.now);
                assert!(timeout(connection, self.now).is_none_or(|at| at > self.now));
            }
            Step::Write(bytes) => drop(connection.write(&vec![0; *bytes])),
            Step::Read(bytes) => drop(connection.read_chunk(*bytes)),
            Step::Finish => connection.finish(),
            Step::Close => connection.close(self.now),
            Step::Reset => connection.reset(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_packets_never_panic(
        seq_nr in any::<u16>(),
        steps in proptest::collection::vec((0..2_usize, any_step()), 1..80),
    ) {
        let mut ends = Ends::new(seq_nr);
        for (side, step) in steps {
            ends.apply(side, &step);
            for side in [0, 1] {
                ends.output(side);
                let connection = &mut ends.connections[side];
                prop_assert!(connection.writable() <= Config::default().send_buffer);
                prop_assert!(connection.close_reason().is_none() || timeout(connection, ends.now).is_none());
            }
        }
    }
}

prop_compose! {
    fn any_link()(
        rate in 50e3..50e6,
        delay in 0..100_u64,
        queue in 5_000..500_000_usize,
        loss in prop_oneof![Just(0.0), 0.0..0.3],
        reorder in prop_oneof![Just(0.0), 0.0..0.3],
        reorder_delay in 0..50_u64,
        duplicate in prop_oneof![Just(0.0), 0.0..0.3],
    ) -> LinkConfig {
        let (delay, reorder_delay) = (Duration::from_millis(delay), Duration::from_millis(reorder_delay));
        LinkConfig { rate, delay, queue, loss, reorder, reorder_delay, duplicate, damage: 0.0 }
    }
}

prop_compose! {
    fn any_config()(
        max_payload in prop_oneof![Just(1_153), 150..4_000_usize],
        receive_buffer in 0..200_000_usize,
        send_buffer in 0..200_000_usize,
        ack_every in 1..64_u32,
        ack_delay in 0..100_u64,
    ) -> Config {
        let patient = Duration::from_secs(600);
        let ack_delay = Duration::from_millis(ack_delay);
        let timeouts = Config { connect_timeout: patient, idle_timeout: patient, ..Config::default() };
        Config { max_payload, receive_buffer, send_buffer, ack_every, ack_delay, ..timeouts }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn over_any_link_both_streams_arrive(
        link in any_link(),
        config in any_config(),
        (up, down) in (0..300_000_usize, 0..300_000_usize),
        slow_reader in proptest::option::of((1..20_000_usize, 1..50_u64)),
        seed in any::<u64>(),
    ) {
        let mut simulation = Simulation::new(config, link, seed);
        simulation.opener().write_all(up);
        simulation.acceptor().write_all(down);
        simulation.opener().slow_reader = slow_reader.map(|(bytes, pause)| (bytes.max(1_000), Duration::from_millis(pause)));
        simulation.run_to_end(HOUR);
        // The end of the connection does not wait for the reader.
        simulation.run_until(HOUR, |simulation| simulation.openers[0].read_end);
        let (opener, acceptor) = (&simulation.openers[0], &simulation.acceptors[0]);
        prop_assert!(acceptor.read_end);
        prop_assert_eq!((opener.read, acceptor.read), (down, up));
    }

    #[test]
    fn damaged_packets_never_panic_and_both_sides_end(damage in 0.01..0.5, seed in any::<u64>()) {
        let link = LinkConfig { damage, loss: 0.01, ..LinkConfig::default() };
        let mut simulation = Simulation::new(Config::default(), link, seed);
        for peer in simulation.openers.iter_mut().chain(&mut simulation.acceptors) {
            peer.intact = false;
            peer.write_all(100_000);
        }
        simulation.run_to_end(HOUR);
    }
}
