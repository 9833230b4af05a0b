use super::*;
use crate::{HeaderError, ProofKind, SummariesCheckpoint};

fn parameters() -> ChainParameters {
    ChainSpec::mainnet().0
}

#[test]
fn built_in_chains_are_free_of_contradictions() {
    for spec in [ChainSpec::mainnet(), ChainSpec::sepolia()] {
        assert_eq!(ChainSpec::new(spec.0.clone()).as_ref(), Ok(&spec));
        assert_eq!(ChainSpec::from_json(&spec.to_json()), Ok(spec));
    }
}

/// Fork epochs of the beacon chains' configurations, 32 slots each.
#[test]
fn forks_fall_on_their_epochs() {
    let (mainnet, sepolia) = (ChainSpec::mainnet(), ChainSpec::sepolia());
    for (spec, time, epoch) in [
        (&mainnet, mainnet.0.shanghai_time, 194_048),
        (&mainnet, mainnet.0.cancun_time, 269_568),
        (&sepolia, sepolia.0.shanghai_time, 56_832),
        (&sepolia, sepolia.0.cancun_time, 132_608),
        (&sepolia, sepolia.0.amsterdam_time, 353_024),
    ] {
        assert_eq!(spec.slot_at(time.unwrap()), Some(epoch * 32), "{}", spec.name());
        assert_eq!(spec.slot_time(epoch * 32), time);
    }
}

#[test]
fn kinds_change_with_the_forks() {
    let mainnet = ChainSpec::mainnet();
    for (number, timestamp, kind) in [
        (0, 0, ProofKind::HistoricalHashes),
        (15_537_393, 1_663_224_162, ProofKind::HistoricalHashes),
        // A block before the merge is one whatever time it claims.
        (15_537_393, u64::MAX, ProofKind::HistoricalHashes),
        (15_537_394, 1_663_224_179, ProofKind::HistoricalRoots),
        (17_034_869, 1_681_338_443, ProofKind::HistoricalRoots),
        (17_034_870, 1_681_338_479, ProofKind::HistoricalSummariesCapella),
        (19_426_586, 1_710_338_123, ProofKind::HistoricalSummariesCapella),
        (19_426_587, 1_710_338_135, ProofKind::HistoricalSummariesDeneb),
    ] {
        assert_eq!(mainnet.proof_kind(number, timestamp), Ok(kind), "block {number}");
    }
    let fork_time = 1_791_294_816;
    let error = HeaderError::NoProofKind { number: 20_000_000, timestamp: fork_time, fork_time };
    assert_eq!(ChainSpec::sepolia().proof_kind(20_000_000, fork_time), Err(error));
}

#[test]
fn slots_and_periods() {
    let mainnet = ChainSpec::mainnet();
    assert_eq!(mainnet.slot_at(1_663_224_179), Some(4_700_013));
    assert_eq!(mainnet.slot_at(1_663_224_180), None);
    assert_eq!(mainnet.slot_at(0), None);
    assert_eq!(mainnet.slot_time(u64::MAX), None);
    assert_eq!(mainnet.capella_slot(), Some(758 * 8192));
    assert_eq!(mainnet.summary_index(758 * 8192 - 1), None);
    assert_eq!(mainnet.summary_index(758 * 8192), Some(0));
    assert_eq!(mainnet.summary_index(760 * 8192 - 1), Some(1));
}

#[test]
fn a_chain_that_has_not_merged() {
    let text = r#"{
        "name": "young",
        "chainId": 7,
        "genesisHash": "0x0000000000000000000000000000000000000000000000000000000000000001",
        "trustRoots": {}
    }"#;
    let spec = ChainSpec::from_json(text).unwrap();
    assert!(spec.is_pre_merge(u64::MAX));
    assert_eq!(spec.proof_kind(u64::MAX, u64::MAX), Ok(ProofKind::HistoricalHashes));
    assert_eq!((spec.slot_at(100), spec.slot_time(1), spec.summary_index(1)), (None, None, None));
    assert_eq!(ChainSpec::from_json(&spec.to_json()), Ok(spec));
}

#[test]
fn malformed_files_say_what_is_wrong() {
    let text = ChainSpec::mainnet().to_json();
    for (from, to, message) in [
        ("\"chainId\": 1,", "", "missing field `chainId`"),
        ("\"chainId\": 1,", "\"chainId\": 1, \"chainID\": 1,", "unknown field `chainID`"),
        ("\"genesisTime\"", "\"genesis\"", "unknown field `genesis`"),
        ("\"preMerge\"", "\"premerge\"", "unknown field `premerge`"),
        ("\"count\": 643", "\"count\": -1", "invalid value: integer `-1`"),
        ("0xd4e5", "0xd4", "invalid string length"),
        ("\"name\": \"mainnet\"", "\"name\": 1", "invalid type: integer `1`, expected a string"),
        ("{", "", "invalid type: string \"name\""),
    ] {
        assert!(text.contains(from), "{from}");
        let error = ChainSpec::from_json(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn contradictions() {
    type Change = fn(&mut ChainParameters);
    let needs = |field, needed| ChainSpecError::Needs { field, needed };
    let empty_root = |root, reason| ChainSpecError::EmptyRoot { root, reason };
    let cases: [(Change, ChainSpecError); 17] = [
        (|p| p.name = "Main net".into(), ChainSpecError::Name("Main net".into())),
        (|p| p.name.clear(), ChainSpecError::Name(String::new())),
        (|p| p.name = "a".repeat(33), ChainSpecError::Name("a".repeat(33))),
        (|p| p.beacon = None, needs("mergeBlock", "beacon")),
        (|p| p.merge_block = None, needs("beacon", "mergeBlock")),
        (|p| (p.merge_block, p.beacon) = (None, None), needs("shanghaiTime", "mergeBlock")),
        (|p| p.shanghai_time = None, needs("cancunTime", "shanghaiTime")),
        (|p| (p.cancun_time, p.amsterdam_time) = (None, p.cancun_time), needs("amsterdamTime", "cancunTime")),
        (
            |p| p.cancun_time = p.shanghai_time.map(|time| time - 12),
            ChainSpecError::ForkOrder { earlier: "shanghaiTime", later: "cancunTime" },
        ),
        (
            |p| p.amsterdam_time = p.cancun_time.map(|time| time - 12),
            ChainSpecError::ForkOrder { earlier: "cancunTime", later: "amsterdamTime" },
        ),
        (|p| p.beacon = Some(BeaconClock { genesis_time: 0, seconds_per_slot: 0 }), ChainSpecError::NoSlotTime),
        (
            |p| p.shanghai_time = Some(1_606_824_022),
            ChainSpecError::NotAtSlot { field: "shanghaiTime", time: 1_606_824_022 },
        ),
        (
            |p| p.cancun_time = p.cancun_time.map(|time| time + 1),
            ChainSpecError::NotAtSlot { field: "cancunTime", time: 1_710_338_136 },
        ),
        (
            |p| p.shanghai_time = p.shanghai_time.map(|time| time + 12),
            ChainSpecError::CapellaInsidePeriod { slot: 758 * 8192 + 1 },
        ),
        (|p| p.merge_block = Some(0), empty_root("trustRoots.preMerge", "the chain merged with block 0")),
        (
            |p| p.shanghai_time = Some(1_606_824_023),
            empty_root("trustRoots.historicalRoots", "Capella began with slot 0"),
        ),
        (
            |p| p.trust_roots.summaries = Some(SummariesCheckpoint { count: 0, root: B256::ZERO }),
            empty_root("trustRoots.summaries", "its count is 0"),
        ),
    ];
    for (change, expected) in cases {
        let mut changed = parameters();
        change(&mut changed);
        assert_eq!(ChainSpec::new(changed), Err(expected));
    }

    let unmerged = |trust_roots| ChainParameters {
        merge_block: None,
        shanghai_time: None,
        cancun_time: None,
        beacon: None,
        trust_roots,
        ..parameters()
    };
    let roots = TrustRoots { historical_roots: Some(B256::ZERO), ..TrustRoots::default() };
    let error = empty_root("trustRoots.historicalRoots", "the chain has not merged");
    assert_eq!(ChainSpec::new(unmerged(roots)), Err(error));
    let roots = TrustRoots { summaries: parameters().trust_roots.summaries, ..TrustRoots::default() };
    let error = empty_root("trustRoots.summaries", "Capella has not begun");
    assert_eq!(ChainSpec::new(unmerged(roots)), Err(error));
}
