//! `cairn state get`: accounts of one block out of the state network, each part proved from the block's header down.

use std::time::Duration;

use cairn_node::{
    Node,
    headers::BlockId,
    state::{AccountAnswer, StateError, StateOrigin, StateStep},
};
use content_types::ProvedHeader;
use serde_json::{Value, json};

use super::super::{accounts::ShownAccount, fetch, peer};
use crate::{cli::GetStateArgs, failure::Failure, output, settings::Settings};

/// What to do where the network lacks a part of the state.
const NO_STATE: &str = ": hardly any state is in the network: `cairn state replay --offer` brings it there, or ask again with more \
                        --timeout";

pub(in crate::commands) async fn get(settings: &Settings, args: GetStateArgs) -> Result<(), Failure> {
    let (node, _scratch) = peer::start_fetcher(settings, args.network.clone()).await?;
    let read = read(&node, &args).await;
    node.shutdown().await;
    let (header, accounts) = read?;
    let steps = || accounts.iter().flat_map(|account| &account.steps);
    if settings.json {
        return output::json(&json!({
            "block": header.number(),
            "blockHash": header.hash(),
            "stateRoot": header.header().state_root,
            "accounts": accounts.iter().map(|account| shown(account).json()).collect::<Vec<_>>(),
            "trace": args.trace.then(|| steps().map(traced).collect::<Vec<_>>()),
        }));
    }
    if args.trace {
        steps().for_each(output::remark);
    }
    output::line(format_args!("block {} ({})", header.number(), header.hash()))?;
    accounts.iter().try_for_each(|account| shown(account).print())
}

async fn read(node: &Node, args: &GetStateArgs) -> Result<(ProvedHeader, Vec<AccountAnswer>), Failure> {
    node.prepare_to_fetch().await;
    let patience = Duration::from_secs(args.timeout);
    let failure = |error: StateError| {
        if let StateError::NotFound { steps, .. } = &error
            && args.trace
        {
            steps.iter().for_each(output::remark);
        }
        fetch::no_state(error, NO_STATE)
    };
    let header = node.fetch().clone().with_patience(patience).header(args.block).await;
    let header = header.map_err(|error| failure(error.into()))?;
    let reader = node.state().clone().with_patience(patience);
    let mut accounts = Vec::new();
    for claim in args.wanted.claims() {
        // One block, whatever its number stands for later.
        accounts.push(reader.account(BlockId::Hash(header.hash()), &claim).await.map_err(failure)?);
    }
    Ok((header, accounts))
}

fn shown(of: &AccountAnswer) -> ShownAccount<'_> {
    ShownAccount { address: of.address, account: of.account, slots: of.slots.clone(), code: of.code.as_ref() }
}

fn traced(step: &StateStep) -> Value {
    let (origin, peer) = match step.origin {
        StateOrigin::Cache => ("cache", None),
        StateOrigin::Store => ("store", None),
        StateOrigin::Peer(peer) => ("peer", Some(peer)),
        StateOrigin::Way(peer) => ("way", Some(peer)),
    };
    json!({
        "key": alloy_primitives::Bytes::from(step.key.encode()),
        "origin": origin,
        "peer": peer.map(|peer| peer.to_string()),
        "micros": u64::try_from(step.time.as_micros()).unwrap_or(u64::MAX),
    })
}
