//! What the state machine costs without any I/O: bytes through two connections that hand each other their packets.
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_utp::{Config, Connection, Output, Packet};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Moves `data` from an acceptor to an opener; each way takes `delay` of virtual time, and of the acceptor's packets
/// every `lose`th is lost.
fn transfer(config: Config, data: &Bytes, delay: Duration, lose: Option<usize>) -> u64 {
    let mut now = Instant::now();
    let mut opener = Connection::connect(config, 7, now, 1);
    let mut acceptor = Connection::accept(config, 7, now, 2);
    let mut to_write = data.clone();
    let (mut read, mut count) = (0, 0);
    while read < data.len() {
        for packet in output(&mut opener, now) {
            let _ = acceptor.handle_packet(now + delay, packet);
        }
        now += delay;
        acceptor.handle_timeout(now);
        while !to_write.is_empty() && acceptor.write_chunk(&mut to_write).is_ok() {}
        for packet in output(&mut acceptor, now) {
            count += 1;
            if lose.is_none_or(|lose| count % lose != 0) {
                let _ = opener.handle_packet(now + delay, packet);
            }
        }
        now += delay;
        opener.handle_timeout(now);
        while let Ok(Some(chunk)) = opener.read_chunk(usize::MAX) {
            read += chunk.len();
        }
    }
    acceptor.stats().packets_sent
}

fn output(connection: &mut Connection, now: Instant) -> Vec<Bytes> {
    let mut packet = Vec::with_capacity(2_048);
    let mut packets = Vec::new();
    loop {
        match connection.poll_output(now, Some(&mut packet)) {
            Output::Transmit(_) => {
                packets.push(Bytes::copy_from_slice(&packet));
                packet.clear();
            }
            Output::Event(_) => {}
            Output::Timeout(_) => return packets,
        }
    }
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    let data = Bytes::from(vec![0x5a; 20_000_000]);
    let delay = Duration::from_millis(2);
    for (name, lose) in [("lossless", None), ("1 % lost", Some(100)), ("5 % lost", Some(20))] {
        let config = Config::default();
        // One element is one data packet, whose acknowledgement is in the price.
        group.throughput(Throughput::Elements((data.len() / config.max_payload) as u64));
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("packets", name), |bencher| {
            bencher.iter(|| transfer(config, black_box(&data), delay, lose));
        });
    }
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let mut opener = Connection::connect(Config::default(), 7, Instant::now(), 1);
    let mut syn = Vec::new();
    opener.poll_output(Instant::now(), Some(&mut syn));
    let mut packet = syn.clone();
    packet.resize(1_173, 0);
    let packet = Bytes::from(packet);
    criterion.bench_function("decode", |bencher| bencher.iter(|| Packet::decode(black_box(packet.clone()))));
}

criterion_group!(benches, streams, codec);
criterion_main!(benches);
