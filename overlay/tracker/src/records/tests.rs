//! The records against a model: every bound holds whatever is inserted, and what has to go goes in the right order.

use proptest::prelude::*;

use super::*;

const SMALL: RecordLimits = RecordLimits { total: 12, of_era: 6, of_answer: 3, of_subnet: 2, of_peer: 4 };
const NOW: u64 = 1_700_000_000;

fn records(limits: RecordLimits) -> EraRecords {
    EraRecords::new(b"this node", limits)
}

fn key(era: u8) -> EraKey {
    [era; 32]
}

/// A provider at 20.0.`subnet`.`host`.
fn record(peer: u8, subnet: u8, renewed: u64) -> EraRecord {
    EraRecord { provider: [peer; 33], addresses: vec![SocketAddr::from(([20, 0, subnet, peer], 9000))], renewed }
}

/// Each of these peers of the era was reached at its address.
fn reach(records: &mut EraRecords, era: u8, peers: impl IntoIterator<Item = u8>, at: u64) {
    for peer in peers {
        let address = records.of_provider(&key(era), &[peer; 33], at).unwrap().addresses[0];
        records.reached(&[peer; 33], address, at);
    }
}

fn providers(records: &EraRecords, era: u8, now: u64) -> BTreeSet<u8> {
    records.providers(&key(era), now).map(|record| record.provider[0]).collect()
}

/// The eras 0..count, nearest to this node first.
fn nearest_first(records: &EraRecords, count: u8) -> Vec<u8> {
    let mut eras: Vec<u8> = (0..count).collect();
    eras.sort_by_key(|era| records.distance(&key(*era)));
    eras
}

#[test]
fn a_record_lasts_a_day_after_its_last_renewal() {
    let mut records = records(SMALL);
    records.insert(key(1), record(1, 1, NOW), NOW).unwrap();
    records.insert(key(1), record(1, 1, NOW + 60), NOW + 60).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(providers(&records, 1, NOW + 59 + LIFETIME).len(), 1);
    assert!(providers(&records, 1, NOW + 60 + LIFETIME).is_empty());
    records.expire(NOW + 60 + LIFETIME);
    assert_eq!((records.len(), records.eras.len(), records.of_peer.len()), (0, 0, 0));
}

#[test]
fn a_subnet_has_few_places_in_an_era_and_the_machine_itself_has_all() {
    let mut records = records(SMALL);
    for peer in 0..2 {
        records.insert(key(1), record(peer, 7, NOW), NOW).unwrap();
    }
    reach(&mut records, 1, 0..2, NOW);
    assert_eq!(records.insert(key(1), record(2, 7, NOW), NOW), Err(RecordRefused::SubnetFull));
    assert_eq!(records.insert(key(2), record(2, 7, NOW), NOW), Ok(()));
    // One that missed its renewal gives up its place.
    let later = NOW + STALE_AFTER;
    records.insert(key(1), record(1, 7, later), later).unwrap();
    assert_eq!(records.insert(key(1), record(2, 7, later), later), Ok(()));
    assert_eq!(providers(&records, 1, later), BTreeSet::from([1, 2]));
    for peer in 10..14 {
        let local = EraRecord { addresses: vec!["127.0.0.1:1".parse().unwrap()], ..record(peer, 0, later) };
        records.insert(key(1), local, later).unwrap();
    }
    assert_eq!(providers(&records, 1, later).len(), SMALL.of_era);
}

#[test]
fn a_renewal_cannot_move_into_a_crowded_subnet() {
    let mut records = records(SMALL);
    for (peer, subnet) in [(0, 7), (1, 7), (2, 8)] {
        records.insert(key(1), record(peer, subnet, NOW), NOW).unwrap();
    }
    reach(&mut records, 1, 0..3, NOW);
    assert_eq!(records.insert(key(1), record(2, 7, NOW), NOW), Err(RecordRefused::SubnetFull));
    assert_eq!(records.insert(key(1), record(2, 8, NOW + 1), NOW + 1), Ok(()));
    assert_eq!(records.len(), 3);
}

#[test]
fn a_full_era_takes_from_the_crowded_for_the_lonely() {
    let mut records = records(RecordLimits { of_subnet: 3, ..SMALL });
    for (peer, subnet) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3), (5, 4)] {
        records.insert(key(1), record(peer, subnet, NOW + u64::from(peer)), NOW + 9).unwrap();
    }
    reach(&mut records, 1, 0..6, NOW + 9);
    assert_eq!(records.insert(key(1), record(6, 5, NOW + 9), NOW + 9), Ok(()));
    reach(&mut records, 1, [6], NOW + 9);
    assert_eq!(providers(&records, 1, NOW + 9), BTreeSet::from([1, 2, 3, 4, 5, 6]), "the oldest of the heaviest");
    assert_eq!(
        records.insert(key(1), record(7, 2, NOW + 9), NOW + 9),
        Err(RecordRefused::EraFull),
        "as crowded itself"
    );
}

#[test]
fn a_renewal_in_a_full_era_drives_nobody_out() {
    let mut records = records(SMALL);
    for (peer, subnet) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)] {
        records.insert(key(1), record(peer, subnet, NOW), NOW).unwrap();
    }
    let later = NOW + STALE_AFTER;
    records.insert(key(1), record(5, 5, later), later).unwrap();
    assert_eq!(providers(&records, 1, later), (0..6).collect());
}

/// As many false providers as one likes, in subnets of their own: at none of their addresses anybody answers.
#[test]
fn false_providers_keep_no_newcomer_out() {
    let mut records = records(RecordLimits { total: 100, ..SMALL });
    for peer in 0..30 {
        records.insert(key(1), record(peer, peer, NOW + u64::from(peer)), NOW + u64::from(peer)).unwrap();
    }
    assert_eq!(providers(&records, 1, NOW + 30).len(), SMALL.of_era);
    records.insert(key(1), record(100, 100, NOW + 30), NOW + 30).unwrap();
    assert!(records.wants_proof(&key(1), &[100; 33], NOW + 30));
    reach(&mut records, 1, [100], NOW + 30);
    assert!(!records.wants_proof(&key(1), &[100; 33], NOW + 30));
    // Once it was called back, thirty more do not drive it out.
    for peer in 30..60 {
        records.insert(key(1), record(peer, peer, NOW + u64::from(peer)), NOW + u64::from(peer)).unwrap();
    }
    assert!(providers(&records, 1, NOW + 60).contains(&100));
    // Until it is gone itself.
    records.not_reached(&[100; 33]);
    for peer in 60..90 {
        records.insert(key(1), record(peer, peer, NOW + u64::from(peer)), NOW + u64::from(peer)).unwrap();
    }
    assert!(!providers(&records, 1, NOW + 90).contains(&100));
}

#[test]
fn among_those_who_answer_places_are_had_by_turns() {
    let mut records = records(RecordLimits { total: 100, ..SMALL });
    for peer in 0..6 {
        records.insert(key(1), record(peer, peer, NOW), NOW).unwrap();
        reach(&mut records, 1, [peer], NOW + u64::from(peer));
    }
    let newcomer = |at| record(100, 100, at);
    let early = NOW + limits::PLACE_AFTER_REACHED - 1;
    assert_eq!(records.insert(key(1), newcomer(early), early), Err(RecordRefused::EraFull));
    let now = early + 1;
    assert_eq!(records.insert(key(1), newcomer(now), now), Ok(()));
    assert_eq!(providers(&records, 1, now), BTreeSet::from([1, 2, 3, 4, 5, 100]), "the one reached longest ago");
    // The next one takes the place of whoever did not answer yet, not another one's.
    assert_eq!(records.insert(key(1), record(101, 101, now), now), Ok(()));
    assert_eq!(providers(&records, 1, now), BTreeSet::from([1, 2, 3, 4, 5, 101]));
}

#[test]
fn a_peer_counts_as_reached_where_its_record_says() {
    let mut records = records(SMALL);
    for peer in 0..6 {
        records.insert(key(1), record(peer, peer, NOW), NOW).unwrap();
    }
    records.reached(&[3; 33], "20.0.3.3:9001".parse().unwrap(), NOW);
    records.reached(&[9; 33], "20.0.9.9:9000".parse().unwrap(), NOW);
    assert_eq!(records.of_peer.len(), 6, "nothing is kept of whoever announces nothing");
    assert!(records.wants_proof(&key(1), &[3; 33], NOW));
    reach(&mut records, 1, [3], NOW);
    let renewed = NOW + PROVED_AGAIN_AFTER;
    records.insert(key(1), record(3, 3, renewed), renewed).unwrap();
    assert_eq!(records.of_peer[&[3; 33]].reached.map(|(_, at)| at), Some(NOW), "a renewal forgets nothing");
    assert!(!records.wants_proof(&key(1), &[3; 33], renewed - 1));
    assert!(records.wants_proof(&key(1), &[3; 33], renewed));
}

#[test]
fn an_answer_names_those_who_were_reached_and_the_others_by_turns() {
    let mut records = records(SMALL);
    for peer in 0..6 {
        records.insert(key(1), record(peer, peer, NOW), NOW).unwrap();
    }
    reach(&mut records, 1, [2], NOW);
    let mut named = BTreeSet::new();
    for _ in 0..6 {
        let answer: Vec<_> = records.answer(&key(1), NOW).iter().map(|record| record.provider[0]).collect();
        assert_eq!((answer.len(), answer[0]), (3, 2));
        named.extend(answer);
    }
    assert_eq!(named, (0..6).collect());
    assert!(records.answer(&key(2), NOW).is_empty());
}

#[test]
fn a_peer_announces_so_many_eras() {
    let mut records = records(SMALL);
    for era in 0..4 {
        records.insert(key(era), record(1, 1, NOW), NOW).unwrap();
    }
    assert_eq!(records.insert(key(4), record(1, 1, NOW), NOW), Err(RecordRefused::PeerFull));
    assert_eq!(records.insert(key(3), record(1, 1, NOW), NOW), Ok(()), "a renewal");
}

/// Fills `records` with one record for each of the eras.
fn fill(records: &mut EraRecords, eras: &[u8]) {
    for era in eras {
        records.insert(key(*era), record(*era, *era, NOW), NOW).unwrap();
    }
}

#[test]
fn the_farthest_gives_way_to_the_nearer() {
    let mut records = records(SMALL);
    let eras = nearest_first(&records, 13);
    fill(&mut records, &eras[1..]);
    assert_eq!(records.insert(key(eras[0]), record(200, 200, NOW), NOW), Ok(()));
    assert!(providers(&records, eras[12], NOW).is_empty());
    assert_eq!(records.insert(key(eras[12]), record(201, 201, NOW), NOW), Err(RecordRefused::Full));
    assert_eq!(records.len(), SMALL.total);
}

#[test]
fn whoever_missed_its_renewal_goes_before_the_farthest() {
    let mut records = records(SMALL);
    let eras = nearest_first(&records, 13);
    let later = NOW + STALE_AFTER;
    records.insert(key(eras[0]), record(eras[0], 1, NOW), NOW).unwrap();
    for era in &eras[1..12] {
        records.insert(key(*era), record(*era, *era, later), later).unwrap();
    }
    assert_eq!(records.insert(key(eras[12]), record(eras[12], 200, later), later), Ok(()));
    assert!(providers(&records, eras[0], later).is_empty());
}

#[test]
fn of_the_farthest_era_the_heaviest_subnet_gives_way() {
    let mut records = records(RecordLimits { of_era: 12, ..SMALL });
    let eras = nearest_first(&records, 2);
    for peer in 0..12 {
        // The peers 4 and 5 share a subnet.
        records.insert(key(eras[1]), record(peer, if peer == 5 { 4 } else { peer }, NOW), NOW).unwrap();
    }
    records.insert(key(eras[0]), record(100, 100, NOW), NOW).unwrap();
    let left = providers(&records, eras[1], NOW);
    assert_eq!(left.len(), 11);
    assert!(!(left.contains(&4) && left.contains(&5)));
}

#[test]
fn a_clock_that_goes_backwards_makes_nothing_immortal() {
    let mut records = records(SMALL);
    records.insert(key(1), record(1, 1, NOW + 1_000_000), NOW).unwrap();
    assert!(providers(&records, 1, NOW + LIFETIME).is_empty());
    assert_eq!(records.insert(key(2), record(1, 1, NOW), NOW + LIFETIME), Err(RecordRefused::Expired));
}

#[test]
fn a_clock_that_jumps_loses_no_record() {
    let mut records = records(SMALL);
    let (ahead, behind) = (NOW + 3600, NOW + 3600 - 24 * 3600);
    records.insert(key(1), record(1, 1, NOW), NOW).unwrap();
    records.insert(key(1), record(2, 2, ahead), ahead).unwrap();
    for now in [ahead, behind] {
        assert_eq!(providers(&records, 1, now).len(), 2, "at {now}");
    }
    // Who announces anew after it went back stays as long as anybody, and the other leaves a day late at most.
    records.insert(key(1), record(1, 1, behind), behind).unwrap();
    assert_eq!(providers(&records, 1, behind + LIFETIME - 1).len(), 2);
    assert_eq!(providers(&records, 1, behind + LIFETIME), [2].into());
    assert!(providers(&records, 1, ahead + LIFETIME).is_empty());
}

proptest! {
    #[test]
    fn every_bound_holds_and_the_indices_agree(
        steps in prop::collection::vec((0_u8..10, 0_u8..20, 0_u8..5, 0_u64..20_000), 0..300),
    ) {
        let mut records = records(SMALL);
        let mut now = NOW;
        for (era, peer, subnet, wait) in steps {
            now += wait;
            let is_in = records.insert(key(era), record(peer, subnet, now), now).is_ok();
            prop_assert_eq!(is_in, providers(&records, era, now).contains(&peer)
                && records.providers(&key(era), now).any(|r| r.provider[0] == peer && r.renewed == now));

            prop_assert!(records.len() <= SMALL.total);
            let mut by_age = BTreeSet::new();
            let mut of_peer = BTreeMap::<PublicKey, usize>::new();
            let counted = records.of_peer.iter().map(|(provider, peer)| (*provider, peer.records));
            let counted: BTreeMap<_, _> = counted.collect();
            for (place, era) in &records.eras {
                prop_assert_eq!(*place, records.distance(&era.key));
                prop_assert!((1..=SMALL.of_era).contains(&era.providers.len()));
                for record in &era.providers {
                    prop_assert!(!record.has_expired(now));
                    by_age.insert((record.renewed, *place, record.provider));
                    *of_peer.entry(record.provider).or_default() += 1;
                }
                for subnet in 0..5 {
                    let of_subnet = era.providers.iter().filter(|r| matches!(
                        r.addresses[0].ip(), std::net::IpAddr::V4(ip) if ip.octets()[2] == subnet));
                    prop_assert!(of_subnet.count() <= SMALL.of_subnet);
                }
            }
            prop_assert!(of_peer.values().all(|count| *count <= SMALL.of_peer));
            prop_assert_eq!(&by_age, &records.by_age);
            prop_assert_eq!(of_peer, counted);
        }
    }
}
