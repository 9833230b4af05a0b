//! A small chain that can be executed: blocks without transactions that pay their miners. It has its own genesis file, trust list and
//! archive; what its blocks bring to the state is known from a replay in memory.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    ops::{ControlFlow, RangeInclusive},
    path::{Path, PathBuf},
};

use alloy_consensus::{BlockBody, EMPTY_OMMER_ROOT_HASH, Header, TxEnvelope};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use cairn_archive::{
    Receipts,
    write::{ArchiveWriter, Plan},
};
use cairn_replay::{
    BatchLimits, Block, Changes, Genesis, Replay, Rules, error::Trouble, offers::Offers, store::MemoryStore,
};
use content_types::{
    ChainSpec, TrustRoots,
    block::ReceiptsEncoding,
    chain::ChainParameters,
    header::{EpochRecord, HeaderRecord},
    state,
    trust::PreMergeAccumulator,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::Call;

const CHAIN_ID: u64 = 7_077;
/// What the miner of a block gets, and of each account of the genesis.
const REWARD: u128 = 5_000_000_000_000_000_000;
const RICH: u64 = 1_000_000;
/// Whoever mines; their turns come in a circle.
const MINERS: u64 = 50;

/// A chain and its files.
pub(crate) struct Executed {
    headers: Vec<Header>,
    /// What blocks bring, by their numbers.
    changes: Vec<Changes>,
    folder: TempDir,
}

pub(crate) fn miner(block: u64) -> Address {
    address("miner", block % MINERS)
}

fn address(what: &str, number: u64) -> Address {
    Address::from_word(keccak256(format!("{what} {number}")))
}

impl Executed {
    /// Block 0 with so many accounts, one of which has code and a slot, and blocks up to `last`.
    pub(crate) fn new(accounts: u64, last: u64) -> Self {
        let mut alloc: BTreeMap<String, _> = (0..accounts)
            .map(|number| (address("account", number).to_string(), json!({ "balance": RICH.to_string() })))
            .collect();
        let slot = json!({ B256::ZERO.to_string(): B256::with_last_byte(9).to_string() });
        alloc.insert(Self::contract().to_string(), json!({ "balance": "0x1", "code": "0x6001", "storage": slot }));
        let config = json!({ "chainId": CHAIN_ID, "homesteadBlock": 0 });
        let genesis =
            json!({ "config": config, "gasLimit": "0x1388", "difficulty": "0x1", "alloc": alloc }).to_string();

        let read = Genesis::from_json(&genesis).unwrap();
        let rules = Rules::from_config(read.config.as_ref().unwrap()).unwrap();
        let mut headers = vec![read.header(&rules)];
        let mut replay = Replay::open(MemoryStore::default(), rules, read, BatchLimits::default()).unwrap();
        let mut changes = Vec::new();
        for number in 1..=last {
            let parent = headers.last().unwrap();
            let mut header = Header {
                number,
                parent_hash: parent.hash_slow(),
                beneficiary: miner(number),
                ommers_hash: EMPTY_OMMER_ROOT_HASH,
                receipts_root: EMPTY_ROOT_HASH,
                difficulty: U256::from(1),
                timestamp: number,
                ..Header::default()
            };
            // The error says what the root has to be.
            let mut run = |header: &Header| {
                let block = Block::from_parts(header.clone(), BlockBody::default());
                replay.run(std::iter::once(Ok::<_, Infallible>(block)), |brought| {
                    changes.push(brought);
                    ControlFlow::Continue(())
                })
            };
            match run(&header).unwrap_err().trouble {
                Trouble::StateRoot { actual, .. } => header.state_root = actual,
                trouble => panic!("{trouble}"),
            }
            run(&header).unwrap();
            headers.push(header);
        }

        let folder = tempfile::tempdir().unwrap();
        let executed = Self { headers, changes, folder };
        fs::write(executed.path("genesis.json"), genesis).unwrap();
        executed.write_trust();
        executed.write_archive("archives", 0..=last);
        executed
    }

    /// The account with code and a slot, 9 in slot 0.
    pub(crate) fn contract() -> Address {
        address("contract", 0)
    }

    fn records(&self) -> Vec<HeaderRecord> {
        let record = |header: &Header| HeaderRecord {
            block_hash: header.hash_slow(),
            total_difficulty: U256::from(header.number + 1),
        };
        self.headers.iter().map(record).collect()
    }

    fn write_trust(&self) {
        let roots = [EpochRecord::new(self.records()).unwrap().into_tree().root()];
        let spec = ChainSpec::new(ChainParameters {
            name: "executed".to_owned(),
            chain_id: CHAIN_ID,
            genesis_hash: self.headers[0].hash_slow(),
            merge_block: None,
            shanghai_time: None,
            cancun_time: None,
            amsterdam_time: None,
            beacon: None,
            trust_roots: TrustRoots { pre_merge: PreMergeAccumulator::root_of(&roots), ..TrustRoots::default() },
        });
        fs::write(self.path("chain.json"), spec.unwrap().to_json()).unwrap();
        fs::create_dir(self.path("trust")).unwrap();
        let list = PreMergeAccumulator::encode(&roots);
        fs::write(self.path("trust").join("historical_hashes_accumulator.ssz"), list).unwrap();
    }

    /// Writes blocks into an era1 file in the folder of that name.
    pub(crate) fn write_archive(&self, folder: &str, blocks: RangeInclusive<u64>) -> PathBuf {
        fs::create_dir_all(self.path(folder)).unwrap();
        let mut writer = ArchiveWriter::create(self.path(folder), Plan::era1("executed", blocks.clone())).unwrap();
        let body = alloy_rlp::encode(BlockBody::<TxEnvelope>::default());
        let receipts = Receipts { encoding: ReceiptsEncoding::Slim, bytes: vec![alloy_rlp::EMPTY_LIST_CODE].into() };
        for number in blocks {
            writer.put_header(&alloy_rlp::encode(&self.headers[number as usize])).unwrap();
            writer.put_body(number, &body).unwrap();
            writer.put_receipts(number, &receipts).unwrap();
            writer.put_total_difficulty(number, U256::from(number + 1)).unwrap();
        }
        writer.finish().unwrap()
    }

    /// A path in this chain's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn hash(&self, block: u64) -> B256 {
        self.headers[block as usize].hash_slow()
    }

    pub(crate) fn state_root(&self, block: u64) -> B256 {
        self.headers[block as usize].state_root
    }

    /// What a miner has at a block.
    pub(crate) fn mined(of: Address, block: u64) -> U256 {
        U256::from(REWARD) * U256::from((1..=block).filter(|number| miner(*number) == of).count())
    }

    /// The keys of all that these blocks bring.
    pub(crate) fn keys(&self, blocks: RangeInclusive<u64>) -> Vec<state::ContentKey> {
        let of_blocks = self.changes.iter().filter(|changes| blocks.contains(&changes.number));
        of_blocks
            .flat_map(|changes| Offers::of(changes).iter().map(|offer| offer.unwrap().0).collect::<Vec<_>>())
            .collect()
    }

    /// `cairn` with this chain and its trust list, and data in the folder `data`.
    pub(crate) fn cairn(&self, data: &str) -> Call {
        let call = Call::new(self.path("home")).arg("--chain").arg(self.path("chain.json"));
        call.arg("--trust").arg(self.path("trust")).arg("--data-dir").arg(self.path(data))
    }

    /// `cairn state replay` of these archives.
    pub(crate) fn replay(&self, data: &str, archives: &Path) -> Call {
        self.cairn(data).args(["state", "replay", "--genesis"]).arg(self.path("genesis.json")).arg(archives)
    }
}
