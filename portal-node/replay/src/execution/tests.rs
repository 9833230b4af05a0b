//! The state of a block against revm's own: contracts that write, call, make and destroy one another, under the rules of several
//! forks, and the root of what comes of it made anew from revm's accounts.

use alloy_consensus::{BlockBody, Header};
use alloy_evm::eth::EthEvmFactory;
use alloy_evm::eth::dao_fork::{DAO_HARDFORK_ACCOUNTS, DAO_HARDFORK_BENEFICIARY};
use alloy_evm::revm::bytecode::Bytecode;
use alloy_evm::revm::context::{BlockEnv, CfgEnv, TxEnv};
use alloy_evm::revm::database::State;
use alloy_evm::revm::database_interface::{DatabaseCommit, EmptyDB};
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_evm::revm::state as evm;
use alloy_evm::{Database, Evm as _, EvmEnv, EvmFactory as _};
use alloy_primitives::hex_literal::hex;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, TxKind, U256, keccak256};
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use proptest::prelude::*;

use super::block_state::BlockState;
use super::code_cache::CodeCache;
use super::execute;
use crate::block::Block;
use crate::rules::Rules;
use crate::state::{AccountChange, AccountInfo, LayeredView, apply};
use crate::store::{MemoryStore, Reached, Store as _};

const CONTRACTS: u8 = 4;
const SENDER: Address = Address::repeat_byte(0x5e);
const COINBASE: Address = Address::repeat_byte(0xcb);
const SPECS: [SpecId; 8] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::PETERSBURG,
    SpecId::BERLIN,
    SpecId::SHANGHAI,
    SpecId::PRAGUE,
];

/// A step of a contract's program.
#[derive(Debug, Clone)]
enum Op {
    Store {
        slot: u8,
        value: u8,
    },
    Call {
        to: u8,
        value: u8,
    },
    /// Makes the contract of [`init_code`]. With a salt it is always the same one.
    Create {
        value: u8,
        with_salt: bool,
    },
    Destroy {
        to: u8,
    },
    Fail,
}

/// A block's transaction: whom it calls, with how much, and what a unit of gas costs.
type Transaction = (u8, u8, u8);

/// Contracts, what the first ones make with a salt, a precompile, and accounts that are not there.
fn address(number: u8) -> Address {
    match number {
        0..CONTRACTS => Address::repeat_byte(0xc0 + number),
        4..6 => Address::repeat_byte(0xc0 + number - 4).create2(B256::ZERO, keccak256(init_code())),
        6 => Address::with_last_byte(3),
        7 => COINBASE,
        _ => Address::repeat_byte(number),
    }
}

/// Writes slot 1, and returns code that counts its calls in slot 2, and destroys itself if it is called with nothing.
fn init_code() -> Vec<u8> {
    let code = hex!("600254600101600255" "34600f5733ff" "5b00");
    [&hex!("6007600155" "70")[..], &code, &hex!("600052" "6011600ff3")].concat()
}

fn assemble(program: &[Op]) -> Vec<u8> {
    let mut code = Vec::new();
    let push_address = |code: &mut Vec<u8>, to: u8| {
        code.push(0x73);
        code.extend_from_slice(address(to).as_slice());
    };
    for op in program {
        match op {
            Op::Store { slot, value } => code.extend_from_slice(&[0x60, *value, 0x60, *slot, 0x55]),
            Op::Call { to, value } => {
                code.extend_from_slice(&[0x60, 0, 0x60, 0, 0x60, 0, 0x60, 0, 0x60, *value]);
                push_address(&mut code, *to);
                code.extend_from_slice(&[0x61, 0xc3, 0x50, 0xf1, 0x50]);
            }
            Op::Create { value, with_salt } => {
                let init = init_code();
                // The code at the front of the first word of the memory.
                let mut word = [0; 32];
                word[..init.len()].copy_from_slice(&init);
                code.push(0x7f);
                code.extend_from_slice(&word);
                code.extend_from_slice(&[0x60, 0, 0x52]);
                if *with_salt {
                    code.extend_from_slice(&[0x60, 0]);
                }
                code.extend_from_slice(&[
                    0x60,
                    init.len() as u8,
                    0x60,
                    0,
                    0x60,
                    *value,
                    0xf0 + 5 * u8::from(*with_salt),
                    0x50,
                ]);
            }
            Op::Destroy { to } => {
                push_address(&mut code, *to);
                code.push(0xff);
            }
            Op::Fail => code.push(0xfe),
        }
    }
    code
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..4, 0u8..3).prop_map(|(slot, value)| Op::Store { slot, value }),
        4 => (0u8..10, 0u8..2).prop_map(|(to, value)| Op::Call { to, value }),
        3 => (0u8..2, any::<bool>()).prop_map(|(value, with_salt)| Op::Create { value, with_salt }),
        1 => (0u8..10).prop_map(|to| Op::Destroy { to }),
        1 => Just(Op::Fail),
    ]
}

/// Calls every transaction of a block, and says which were valid.
fn run<D>(db: D, spec: SpecId, number: u64, transactions: &[Transaction], nonce: &mut u64) -> Vec<Option<bool>>
where
    D: Database + DatabaseCommit,
{
    let block = BlockEnv {
        number: U256::from(number),
        beneficiary: COINBASE,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    let mut evm = EthEvmFactory::default().create_evm(db, EvmEnv::new(CfgEnv::new_with_spec(spec), block));
    let mut outcomes = Vec::new();
    for (to, value, price) in transactions {
        let transaction = TxEnv {
            caller: SENDER,
            kind: TxKind::Call(address(*to)),
            value: U256::from(*value),
            gas_limit: 1_000_000,
            gas_price: u128::from(*price),
            nonce: *nonce,
            chain_id: None,
            ..TxEnv::default()
        };
        let outcome = evm.transact_commit(transaction).ok();
        *nonce += u64::from(outcome.is_some());
        outcomes.push(outcome.map(|result| result.is_success()));
    }
    outcomes
}

/// The root of all that revm's state has.
fn reference_root(state: &State<EmptyDB>) -> B256 {
    let accounts = state.cache.accounts.iter().filter_map(|(address, cached)| {
        let account = cached.account.as_ref()?;
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        let leaf = TrieAccount {
            nonce: account.info.nonce,
            balance: account.info.balance,
            storage_root: storage_root_unhashed(slots.map(|(slot, value)| (B256::from(*slot), *value))),
            code_hash: account.info.code_hash,
        };
        Some((*address, leaf))
    });
    state_root_unhashed(accounts)
}

/// Runs blocks on both states, and holds one against the other behind each.
fn compare(spec: SpecId, programs: &[Vec<Op>], blocks: &[Vec<Transaction>]) {
    let mut reference = State::builder().with_database(EmptyDB::new()).build();
    let store = MemoryStore::default();
    let mut view = LayeredView::new(store.snapshot().unwrap());
    let mut changes = Vec::new();
    for (number, program) in (0..).zip(programs) {
        let code = assemble(program);
        let raw = Bytecode::new_raw(code.clone().into());
        let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
        let info = AccountInfo { nonce: 1, balance: U256::from(3), code_hash };
        let slots = [(U256::from(1), U256::from(9)), (U256::from(2), U256::from(8))];
        let at = address(number);
        reference.insert_account_with_storage(
            at,
            evm::AccountInfo::new(info.balance, info.nonce, code_hash, raw),
            slots.into_iter().collect(),
        );
        let mut hashed = slots.map(|(slot, value)| (keccak256(B256::from(slot)), value)).to_vec();
        hashed.sort_unstable();
        changes.push(AccountChange {
            hash: keccak256(at),
            before: None,
            after: Some(info),
            is_wiped: false,
            slots: hashed,
        });
        view.collecting.add_code(code_hash, code.into());
    }
    let rich = AccountInfo { nonce: 0, balance: U256::from(1u64 << 60), code_hash: KECCAK256_EMPTY };
    reference.insert_account(SENDER, evm::AccountInfo::from_balance(rich.balance));
    changes.push(AccountChange {
        hash: keccak256(SENDER),
        before: None,
        after: Some(rich),
        is_wiped: false,
        slots: Vec::new(),
    });
    changes.sort_unstable_by_key(|change| change.hash);

    let mut at = Reached { number: 0, hash: B256::ZERO, state_root: EMPTY_ROOT_HASH, tries: 0 };
    let (mut nonce, mut reference_nonce) = (0, 0);
    let mut codes = CodeCache::new();
    let mut blocks = blocks.iter();
    loop {
        let applied = apply(&view, at.state_root, at.tries, &changes).unwrap();
        assert_eq!(applied.root, reference_root(&reference));
        view.collecting.add(&applied);
        at = Reached { number: at.number + 1, state_root: applied.root, tries: applied.tries, ..at };
        if at.number.is_multiple_of(2) {
            let pending = std::mem::take(&mut view.collecting);
            store.commit(&pending.to_batch(), at).unwrap();
            view = LayeredView::new(store.snapshot().unwrap());
        }
        let Some(block) = blocks.next() else { break };
        let mut state = BlockState::new(&view, &mut codes);
        let outcomes = run(&mut state, spec, at.number, block, &mut nonce);
        let (new, new_codes) = state.into_changes();
        let expected = run(&mut reference, spec, at.number, block, &mut reference_nonce);
        assert_eq!(outcomes, expected);
        changes = new;
        for (hash, code) in new_codes {
            view.collecting.add_code(hash, code);
        }
    }
}

/// One block destroys a contract with storage, makes it again and calls it: nothing of the old storage may be seen.
#[test]
fn what_is_made_again_in_the_same_block_begins_anew() {
    let programs = [vec![Op::Create { value: 0, with_salt: true }]];
    let (make, count, destroy) = ((0, 0, 1), (4, 1, 1), (4, 0, 1));
    for spec in [SpecId::PETERSBURG, SpecId::BERLIN, SpecId::SHANGHAI] {
        for is_split in [false, true] {
            let first = vec![make, count, count];
            let rest = [vec![destroy, make], if is_split { vec![] } else { vec![count] }].concat();
            let blocks = [first, rest, vec![count, destroy], vec![make], vec![destroy, make, count, destroy]];
            compare(spec, &programs, &blocks);
        }
    }
}

/// Mainnet's block 1,920,000 moves what the DAO's accounts have (EIP-779), and no other block does.
#[test]
fn the_daos_fork_moves_its_balances_at_its_block_alone() {
    let has = |balance: u64| AccountInfo { nonce: 0, balance: U256::from(balance), code_hash: KECCAK256_EMPTY };
    let drained = &DAO_HARDFORK_ACCOUNTS[..2];
    let account = |(at, balance): (&Address, u64)| AccountChange {
        hash: keccak256(at),
        before: None,
        after: Some(has(balance)),
        is_wiped: false,
        slots: Vec::new(),
    };
    let mut accounts: Vec<_> = drained.iter().zip([7, 11]).map(account).collect();
    accounts.sort_unstable_by_key(|change| change.hash);
    let store = MemoryStore::default();
    let mut view = LayeredView::new(store.snapshot().unwrap());
    let applied = apply(&view, EMPTY_ROOT_HASH, 0, &accounts).unwrap();
    view.collecting.add(&applied);

    for (number, moves) in [(1_919_999, false), (1_920_000, true), (1_920_001, false)] {
        let header = Header { number, gas_limit: 5_000_000, beneficiary: COINBASE, ..Header::default() };
        let block = Block::from_parts(header, BlockBody::default()).recover().unwrap();
        let executed =
            execute(&Rules::mainnet(), &block, &view, &mut CodeCache::new(), (applied.root, applied.tries)).unwrap();
        let after = |address: &Address| {
            let change = executed.changes.iter().find(|change| change.hash == keccak256(address));
            change.map(|change| change.after.map_or(U256::ZERO, |account| account.balance))
        };
        let expected = moves.then_some(U256::ZERO);
        assert_eq!((after(&drained[0]), after(&drained[1])), (expected, expected), "block {number}");
        assert_eq!(after(&DAO_HARDFORK_BENEFICIARY), moves.then(|| U256::from(18)), "block {number}");
        assert!(after(&COINBASE).is_some(), "the reward");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn blocks_do_to_our_state_what_they_do_to_revms(
        spec in prop::sample::select(&SPECS[..]),
        programs in prop::collection::vec(prop::collection::vec(op(), 0..6), CONTRACTS as usize),
        blocks in prop::collection::vec(prop::collection::vec((0u8..10, 0u8..2, 0u8..2), 1..5), 1..5),
    ) {
        compare(spec, &programs, &blocks);
    }
}
