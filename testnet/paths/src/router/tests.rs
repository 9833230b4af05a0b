use proptest::prelude::*;

use super::*;

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const C: HostId = HostId(2);

fn address(host: HostId) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host.0 as u8 + 1)
}

/// As much of a packet as the router looks at, then a number.
fn packet(to: HostId, number: u32, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes.max(24)];
    packet[0] = 0x45;
    packet[16..20].copy_from_slice(&address(to).octets());
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[20..24].try_into().unwrap())
}

fn hosts(link: LinkSpec) -> Vec<HostSpec> {
    [A, B, C].map(|host| HostSpec::new([address(host)]).with_link(link)).to_vec()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Everything that is still under way, in order.
fn drain(router: &mut Router) -> Vec<Handover> {
    let mut handed = Vec::new();
    while let Some(deadline) = router.next_deadline() {
        while let Some(handover) = router.poll_output(deadline) {
            handed.push(handover);
        }
    }
    handed
}

#[test]
fn a_packet_takes_the_delay_of_its_path_and_not_less() {
    let mut router = Router::new(hosts(LinkSpec::UNLIMITED), PathSpec::default(), 1);
    router.set_paths(A, B, PathSpec::round_trip(millis(50)));
    let start = Instant::now();
    router.handle_packet(start, A, packet(B, 0, 100));
    router.handle_packet(start, A, packet(C, 1, 100));
    let at_once = router.poll_output(start).unwrap();
    assert_eq!((at_once.to, number(&at_once.packet)), (C, 1));
    let due = start + millis(25);
    assert_eq!(router.next_deadline(), Some(due));
    assert_eq!(router.poll_output(due - Duration::from_nanos(1)), None);
    assert_eq!(router.poll_output(due), Some(Handover { to: B, due, packet: packet(B, 0, 100) }));
    assert_eq!((router.poll_output(due + millis(1_000)), router.next_deadline()), (None, None));
    assert_eq!(router.counts(A, B), Counts { packets: 1, bytes: 100, ..Counts::default() });
    assert_eq!(router.counts(B, A), Counts::default());
}

#[test]
fn both_links_take_their_time_and_a_late_look_adds_none() {
    let mut router =
        Router::new(hosts(LinkSpec { rate: Some(100_000), queue: 10_000 }), PathSpec::round_trip(millis(20)), 1);
    let start = Instant::now();
    for sent in 0..3 {
        router.handle_packet(start, A, packet(B, sent, 1_000));
    }
    // 10 ms each on the link up, 10 ms on the way, 10 ms each on the link down, on which nothing meets anything.
    assert_eq!(router.poll_output(start + millis(29)), None);
    let late = start + millis(5_000);
    let due: Vec<_> = std::iter::from_fn(|| router.poll_output(late)).map(|handover| handover.due - start).collect();
    assert_eq!(due, [millis(30), millis(40), millis(50)]);
}

#[test]
fn who_shares_a_link_down_shares_its_rate() {
    let mut hosts = hosts(LinkSpec::UNLIMITED);
    hosts[C.0].down = LinkSpec { rate: Some(1_000_000), queue: 20_000 };
    let mut router = Router::new(hosts, PathSpec::round_trip(millis(10)), 1);
    let start = Instant::now();
    for sent in 0..50 {
        router.handle_packet(start, A, packet(C, sent, 1_000));
        router.handle_packet(start, B, packet(C, sent, 1_000));
    }
    let handed = drain(&mut router);
    assert_eq!(handed.len(), 20, "no more may wait");
    assert_eq!(handed.last().unwrap().due, start + millis(5 + 20));
    let both = [router.counts(A, C), router.counts(B, C)];
    assert_eq!(both.map(|counts| (counts.packets, counts.dropped)), [(10, 40); 2]);
}

#[test]
fn what_leads_nowhere_strays() {
    let mut router = Router::new(hosts(LinkSpec::UNLIMITED), PathSpec::default(), 1);
    let now = Instant::now();
    let mut six = packet(B, 0, 40);
    six[0] = 0x60;
    for stray in [Vec::new(), vec![0x45; 19], six, packet(HostId(9), 0, 40)] {
        router.handle_packet(now, A, stray);
    }
    router.handle_packet(now, HostId(7), packet(B, 0, 40));
    assert_eq!((router.strayed(), router.next_deadline()), (5, None));
    assert_eq!(router.counts(HostId(7), B), Counts::default());
}

#[test]
fn no_more_is_held_than_there_is_room_for() {
    let mut router = Router::new(hosts(LinkSpec::UNLIMITED), PathSpec::round_trip(millis(60_000)), 1);
    let (now, bytes, count) = (Instant::now(), 60_000, MAX_BYTES / 60_000);
    for sent in 0..count as u32 + 5 {
        router.handle_packet(now, A, packet(B, sent, bytes));
    }
    assert_eq!(router.counts(A, B).dropped, 5);
    assert_eq!(drain(&mut router).len(), count);
    router.handle_packet(now + millis(60_000), A, packet(B, 0, bytes));
    assert_eq!(drain(&mut router).len(), 1, "there is room again");
}

/// Which of so many packets from A to B get through, `others` of another path before each.
fn survivors(seed: u64, loss: u32, count: u32, others: u32) -> Vec<u32> {
    let mut router = Router::new(hosts(LinkSpec::UNLIMITED), PathSpec { delay: millis(5), loss }, seed);
    let now = Instant::now();
    for sent in 0..count {
        for _ in 0..others {
            router.handle_packet(now, B, packet(C, 0, 40));
        }
        router.handle_packet(now, A, packet(B, sent, 40));
    }
    drain(&mut router).into_iter().filter(|handed| handed.to == B).map(|handed| number(&handed.packet)).collect()
}

#[test]
fn as_much_is_lost_as_the_path_says() {
    let count = 100_000;
    for loss in [1_000, 10_000, 200_000] {
        let lost = f64::from(count) - survivors(7, loss, count, 0).len() as f64;
        let expected = f64::from(count) * f64::from(loss) / f64::from(MILLION);
        // Five standard deviations.
        assert!((lost - expected).abs() < 5.0 * expected.sqrt(), "{lost} lost, {expected} expected");
    }
    assert_eq!(survivors(7, 0, 1_000, 0).len(), 1_000);
    assert_eq!(survivors(7, MILLION, 1_000, 0), []);
}

proptest! {
    /// What is lost follows from the seed, and nothing on other paths changes it.
    #[test]
    fn losses_follow_from_the_seed(seed: u64, loss in 50_000u32..500_000, others in 0u32..3) {
        let alone = survivors(seed, loss, 300, 0);
        prop_assert_eq!(&alone, &survivors(seed, loss, 300, others));
        prop_assert_ne!(&alone, &survivors(seed ^ 1, loss, 300, 0));
    }

    /// Whatever comes when from whom: each packet is handed over once, dropped or lost; each path keeps the order; nothing is there
    /// before its delay has passed; and how often somebody looks changes nothing.
    #[test]
    fn packets_come_once_in_order_and_in_time(
        seed: u64,
        loss in 0u32..300_000,
        rate in prop::option::of(10_000u64..10_000_000),
        delays in prop::array::uniform3(0u64..100),
        sent in prop::collection::vec((0u64..5_000, 0usize..3, 0usize..3, 24usize..1_500, any::<bool>()), 1..200),
    ) {
        let make = || {
            let mut router = Router::new(hosts(LinkSpec { rate, queue: 5_000 }), PathSpec { delay: millis(3), loss }, seed);
            for (pair, delay) in [(A, B), (B, C), (A, C)].into_iter().zip(delays) {
                router.set_paths(pair.0, pair.1, PathSpec { delay: millis(delay), loss });
            }
            router
        };
        let start = Instant::now();
        let (mut often, mut once) = (make(), make());
        let (mut now, mut times, mut handed) = (start, Vec::new(), Vec::new());
        for (number, (gap, from, to, bytes, looks)) in sent.iter().copied().enumerate() {
            now += Duration::from_micros(gap);
            times.push(now);
            for router in [&mut often, &mut once] {
                router.handle_packet(now, HostId(from), packet(HostId(to), number as u32, bytes));
            }
            while let Some(handover) = looks.then(|| often.poll_output(now)).flatten() {
                handed.push(handover);
            }
        }
        handed.extend(drain(&mut often));
        prop_assert_eq!(&handed, &drain(&mut once));

        let mut last = HashMap::new();
        for Handover { to, due, packet } in &handed {
            let number = number(packet);
            let (_, from, sent_to, bytes, _) = sent[number as usize];
            prop_assert_eq!((to.0, packet.len()), (sent_to, bytes));
            let delay = often.paths[from * 3 + sent_to].spec.delay;
            prop_assert!(*due >= times[number as usize] + delay);
            prop_assert!(last.insert((from, sent_to), number).is_none_or(|before| before < number));
        }
        let mut total = Counts::default();
        for (from, to) in [A, B, C].into_iter().flat_map(|from| [A, B, C].map(|to| (from, to))) {
            total += often.counts(from, to);
        }
        prop_assert_eq!(total.packets, handed.len() as u64);
        prop_assert_eq!(total.packets + total.lost + total.dropped, sent.len() as u64);
        prop_assert_eq!((often.bytes, often.underway.len()), (0, 0));
    }
}
