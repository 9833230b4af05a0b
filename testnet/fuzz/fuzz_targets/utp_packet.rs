//! uTP: the packet decoder, and two connections that are fed whatever the input says, between packets of each other.
#![no_main]

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_utp::{Config, Connection, Output, Packet};
use libfuzzer_sys::fuzz_target;

/// Far more packets than a full window holds.
const OUTPUT_LIMIT: usize = 5_000;

fn output(connection: &mut Connection, now: Instant) -> Vec<Bytes> {
    let mut packets = Vec::new();
    let mut packet = Vec::new();
    loop {
        match connection.poll_output(now, Some(&mut packet)) {
            Output::Transmit(_) => {
                packets.push(Bytes::from(std::mem::take(&mut packet)));
                assert!(packets.len() < OUTPUT_LIMIT);
            }
            Output::Event(_) => {}
            Output::Timeout(_) => return packets,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = Packet::decode(Bytes::copy_from_slice(data));

    let mut now = Instant::now();
    let config = Config { receive_buffer: 20_000, ..Config::default() };
    let mut ends = [Connection::connect(config, 7, now, 0xfffe), Connection::accept(config, 7, now, 0xfffe)];
    let mut rest = data;
    // Each step: what to do and to which side, a length, and as many bytes.
    while let Some((&[what, len], behind)) = rest.split_first_chunk::<2>() {
        let (bytes, behind) = behind.split_at(behind.len().min(len.into()));
        rest = behind;
        let side = usize::from(what & 1);
        match what >> 1 & 7 {
            0 => {
                now += Duration::from_millis(16 * u64::from(len));
                ends[side].handle_timeout(now);
            }
            1 => drop(ends[side].write(&vec![0; 256 * usize::from(len)])),
            2 => drop(ends[side].read_chunk(256 * usize::from(len))),
            3 => match len % 4 {
                0 => ends[side].reset(),
                1 => ends[side].close(now),
                _ => ends[side].finish(),
            },
            4 | 5 => {
                for packet in output(&mut ends[side], now) {
                    let _ = ends[1 - side].handle_packet(now, packet);
                }
            }
            6 => drop(ends[side].handle_packet(now, Bytes::copy_from_slice(bytes))),
            _ => {
                // One that gets past the version and the connection id.
                let mut packet = bytes.to_vec();
                if let Some(head) = packet.first_chunk_mut::<4>() {
                    head[0] = ((head[0] & 0xf0) % 0x50) | 1;
                    head[2..].copy_from_slice(&ends[side].receive_id().to_be_bytes());
                }
                let _ = ends[side].handle_packet(now, packet.into());
            }
        }
        // A carrier without room for packets still hears of events and the time.
        ends[side].poll_output(now, None);
    }
    for end in &mut ends {
        output(end, now);
    }
});
