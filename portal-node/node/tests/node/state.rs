//! The state network: what is offered with proofs, stored bare, and read back node by node.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use cairn_node::Node;
use cairn_node::rpc::calls::OfferContent;
use cairn_node::rpc::{PeerClient, SOCKET_FILE};
use cairn_node::state::{StateError, StateOrigin};
use cairn_proto::wire::AcceptCode;
use cairn_store::Item;
use cairn_synthetic::State;
use content_types::state::{Answer, ContentKey, Part, Proved};
use content_types::{Form, SubNetwork, legacy_history};
use futures::future::join_all;

use crate::support::{World, connect, stop, until};

/// The block whose state is read.
const BLOCK: u64 = 21;

/// A node that keeps state.
async fn keeper(world: &World, name: &str) -> Node {
    let mut config = world.config(name);
    config.shares = vec![(SubNetwork::State, 1)];
    Node::start(config).await.unwrap()
}

/// Offers all of a state to a peer, what it has no room for at the moment again, until it has answered to each.
async fn offer(from: &Node, to: &Node, contents: &[(ContentKey, Proved)]) -> Vec<AcceptCode> {
    let overlay = from.overlay(SubNetwork::State).unwrap();
    let mut codes = Vec::new();
    for batch in contents.chunks(64) {
        let items: Vec<_> = batch.iter().map(|(key, proved)| (key.encode(), proved.encode())).collect();
        codes.extend(loop {
            let codes = overlay.offer(to.enr(), items.clone()).await.unwrap();
            if !codes.contains(&AcceptCode::RateLimited) {
                break codes;
            }
        });
    }
    codes
}

fn is_held(node: &Node, key: &ContentKey) -> bool {
    node.store().contains(&(*key).into()).unwrap()
}

/// Everything of a state that `reader` reads is what it is.
async fn assert_reads_all(reader: &Node, state: &State) {
    let read = async |address, part| reader.state().read(BLOCK.into(), address, part).await.unwrap().answer;
    for account in state.accounts() {
        assert_eq!(read(account.address, Part::Account).await, Answer::Account(Some(account.account)));
        assert_eq!(read(account.address, Part::Code).await, Answer::Code(account.code.clone().into()));
        for (slot, value) in account.storage.iter().chain([&(U256::MAX, U256::ZERO)]) {
            assert_eq!(read(account.address, Part::Slot(*slot)).await, Answer::Slot(*value));
        }
    }
    assert_eq!(read(Address::ZERO, Part::Account).await, Answer::Account(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_offered_with_proofs_is_read_back_from_who_keeps_it() {
    let world = World::with_accounts(24);
    let seeder = world.start_seeder("seeder").await;
    let (keeper, reader) = (keeper(&world, "keeper").await, world.start("reader").await);
    connect(&keeper, &seeder).await;
    let state = world.chain.state(BLOCK);
    let contents = state.contents(world.chain.block_hash(BLOCK).unwrap());
    offer(&seeder, &keeper, &contents).await;
    until("all of it is kept", || contents.iter().all(|(key, _)| is_held(&keeper, key))).await;
    let again = offer(&seeder, &keeper, &contents).await;
    assert!(again.iter().all(|code| *code == AcceptCode::AlreadyStored), "{again:?}");

    connect(&reader, &seeder).await;
    connect(&reader, &keeper).await;
    let account = state.accounts().iter().find(|account| !account.storage.is_empty()).unwrap();
    let (slot, value) = account.storage[0];
    let read = async || reader.state().read(BLOCK.into(), account.address, Part::Slot(slot)).await.unwrap();
    let first = read().await;
    assert_eq!(first.answer, Answer::Slot(value));
    assert_eq!(first.header.hash(), world.chain.block_hash(BLOCK).unwrap());
    assert!(first.steps.len() > 2, "{:?}", first.steps);
    let of_keeper = [StateOrigin::Peer(keeper.node_id()), StateOrigin::Way(keeper.node_id())];
    assert!(first.steps.iter().all(|step| of_keeper.contains(&step.origin)), "{:?}", first.steps);
    let second = read().await;
    assert!(second.steps.iter().all(|step| step.origin == StateOrigin::Cache), "{:?}", second.steps);
    assert_reads_all(&reader, &state).await;

    // The first lookups have dialled. Over a connection each trie takes one answer of who has all of the way.
    let uncached = reader.state().without_cache();
    let connected = async {
        loop {
            let read = uncached.read(BLOCK.into(), account.address, Part::Slot(slot)).await.unwrap();
            assert_eq!(read.answer, Answer::Slot(value));
            let asked: Vec<_> = read.steps.iter().filter(|step| step.origin == of_keeper[0]).collect();
            if asked.len() < read.steps.len() {
                break asked.iter().map(|step| step.key).collect::<Vec<_>>();
            }
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(20), connected).await.expect("a connection");
    assert!(matches!(asked[..], [ContentKey::AccountTrieNode { .. }, ContentKey::StorageTrieNode { .. }]), "{asked:?}");
    for node in [reader, keeper, seeder] {
        stop(node).await;
    }
}

/// Each byte of an offer is held against the header, and what is missing is named.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_blocks_state_is_not_kept_and_what_is_missing_is_named() {
    let world = World::with_accounts(8);
    let seeder = world.start_seeder("seeder").await;
    let keeper = keeper(&world, "keeper").await;
    connect(&keeper, &seeder).await;
    let state = world.chain.state(BLOCK);
    let (here, before) = (world.chain.block_hash(BLOCK).unwrap(), world.chain.block_hash(BLOCK - 1).unwrap());
    let (key, proved) = state.contents(here).swap_remove(1);
    let refused = async |proved: Proved| keeper.validate(key.into(), Form::Offered, proved.encode()).await.unwrap_err();
    let Proved::AccountTrieNode { proof, .. } = proved.clone() else { panic!("the account trie comes first") };
    let of_another_block = refused(Proved::AccountTrieNode { proof: proof.clone(), block_hash: before }).await;
    assert!(of_another_block.is_invalid(), "{of_another_block}");
    let of_none = refused(Proved::AccountTrieNode { proof: proof[1..].to_vec(), block_hash: here }).await;
    assert!(of_none.is_invalid(), "{of_none}");
    let of_nobodys = refused(Proved::AccountTrieNode { proof, block_hash: B256::ZERO }).await;
    assert!(!of_nobodys.is_invalid(), "nobody has such a header, which nobody here can know: {of_nobodys}");

    // The root alone is known: the read ends at the first node below it.
    let (root, of_root) = state.contents(here).swap_remove(0);
    offer(&seeder, &keeper, &[(root, of_root)]).await;
    until("the root is kept", || is_held(&keeper, &root)).await;
    let reader = keeper.state().clone().with_patience(Duration::ZERO);
    let error = reader.read(BLOCK.into(), state.accounts()[0].address, Part::Account).await.unwrap_err();
    let StateError::NotFound { number: BLOCK, key, steps, .. } = &error else { panic!("{error}") };
    assert!(matches!(**key, ContentKey::AccountTrieNode { path, .. } if path.len() == 1), "{key:?}");
    assert_eq!(steps.iter().map(|step| step.origin).collect::<Vec<_>>(), [StateOrigin::Store]);
    stop(keeper).await;
    stop(seeder).await;
}

/// Who lacks a node on the way of a read gets it, with the proof that was collected on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_gives_what_it_found_to_those_on_the_way_who_lack_it() {
    let world = World::with_accounts(8);
    let seeder = world.start_seeder("seeder").await;
    let (has, lacks, reader) =
        (keeper(&world, "has").await, keeper(&world, "lacks").await, world.start("reader").await);
    connect(&has, &seeder).await;
    let state = world.chain.state(BLOCK);
    let contents = state.contents(world.chain.block_hash(BLOCK).unwrap());
    offer(&seeder, &has, &contents).await;
    until("all of it is kept", || contents.iter().all(|(key, _)| is_held(&has, key))).await;
    connect(&lacks, &seeder).await;
    connect(&reader, &seeder).await;
    connect(&reader, &lacks).await;
    connect(&reader, &has).await;
    assert!(!contents.iter().any(|(key, _)| is_held(&lacks, key)));
    assert_reads_all(&reader, &state).await;
    // Whom a lookup asks depends on who is near: some of it is enough.
    until("some of it is kept by the other", || contents.iter().any(|(key, _)| is_held(&lacks, key))).await;
    for node in [reader, lacks, has, seeder] {
        stop(node).await;
    }
}

/// The only neighbour is full, and keeps what is near it alone. Who keeps the rest is known to that neighbour.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_neighbour_keeps_is_given_to_who_is_found_around_it() {
    let world = World::with_accounts(80);
    let mut config = world.config("giver");
    (config.seeds, config.shares) = (vec![world.archives()], vec![(SubNetwork::State, 0)]);
    config.socket = Some(world.dir.path().join("giver").join(SOCKET_FILE));
    let giver = Node::start(config).await.unwrap();
    let hash = world.chain.block_hash(BLOCK).unwrap();
    let header = legacy_history::ContentKey::HeaderByHash(hash).into();
    until("hashes indexed", || giver.store().contains(&header).unwrap()).await;
    let contents = world.chain.state(BLOCK).contents(hash);
    let mut config = world.config("full");
    (config.shares, config.capacity) = (vec![(SubNetwork::State, 1)], 8_000);
    let full = Node::start(config).await.unwrap();
    for (key, proved) in &contents {
        full.store().put_batch(vec![Item::new(&(*key).into(), proved.encode())]).unwrap();
    }
    let radius = full.store().radius(SubNetwork::State);
    let covered =
        |key: &ContentKey| full.node_id().distance(&content_types::ContentKey::from(*key).content_id()) <= radius;
    assert!(
        contents.iter().any(|(key, _)| covered(key)) && contents.iter().any(|(key, _)| !covered(key)),
        "it is full"
    );
    let keeper = keeper(&world, "keeper").await;
    connect(&keeper, &full).await;
    connect(&giver, &full).await;

    let client = PeerClient::on_folder(&world.dir.path().join("giver")).unwrap().unwrap();
    let far: Vec<_> = contents.iter().filter(|(key, _)| !covered(key)).collect();
    assert!(far.len() > 2 * 64, "{}", far.len());
    // Several at once, as who has much to give does: none takes another's search for its own answer.
    let calls = far.chunks(64).map(async |items| {
        let items = items.iter().map(|(key, proved)| (key.encode(), proved.encode())).collect();
        client.ask(&OfferContent { network: SubNetwork::State, items }, Duration::from_secs(60)).await.unwrap()
    });
    for (outcome, items) in join_all(calls).await.into_iter().zip(far.chunks(64)) {
        assert_eq!((outcome.open.len(), outcome.placed), (0, items.len() as u64), "{outcome:?}");
    }
    assert!(far.iter().all(|(key, _)| is_held(&keeper, key)));
    for node in [giver, full, keeper] {
        stop(node).await;
    }
}
