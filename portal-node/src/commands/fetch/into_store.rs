//! `cairn fetch --into-store`: a range into the store of the peer that runs. Only that peer may write into it, and only it
//! knows how much room there is; this asks it, and shows how far it is. It ends with whoever asked for it.

use std::{collections::BTreeMap, time::Duration};

use cairn_node::{
    rpc::calls::FetchIntoStore,
    swarm::{StoreFetchPhase, StoreFetchState},
};
use indicatif::HumanBytes;

use crate::{
    cli::FetchArgs,
    commands::running::RunningPeer,
    failure::Failure,
    output,
    progress::{Board, Stand},
    settings::Settings,
};

/// How often the peer is asked how far it is.
const ASK_INTERVAL: Duration = Duration::from_millis(300);

pub(super) async fn fetch(settings: &Settings, args: &FetchArgs) -> Result<(), Failure> {
    let range = args.range();
    let patience = u16::try_from(args.from_peers.timeout).unwrap_or(u16::MAX);
    let call = FetchIntoStore { first: range.first, last: range.last, patience: Some(patience) };
    let peer = RunningPeer::named(settings, args.rpc.clone()).await?;
    let mut board = Board::new(args.from_peers.per_peer);
    let state = loop {
        let state = peer.ask(call).await?;
        if state.phase != StoreFetchPhase::Running {
            break state;
        }
        board.show(&BTreeMap::from([(0, stand(&state))]), &state.peers);
        tokio::time::sleep(ASK_INTERVAL).await;
    };
    drop(board);
    let StoreFetchState { items, stored, outside, unserved, .. } = state;
    if settings.json {
        output::json(&state)?;
    } else {
        output::line(format_args!(
            "{stored} of {items} items were stored, {} were there, {outside} are not for this peer to keep",
            items.saturating_sub(stored + outside + unserved)
        ))?;
    }
    if outside > 0 {
        output::remark("a peer keeps what lies within its radius; it keeps more with a larger --capacity");
    }
    if let Some(error) = state.error {
        return Err(Failure::Network(format!("the peer's fetch ended: {error}; the same command goes on with it")));
    }
    if unserved > 0 {
        return Err(Failure::NotFound(format!(
            "nobody serves {unserved} of {items} items (waited {patience} s); what came is kept, and the same command goes \
             on with it"
        )));
    }
    Ok(())
}

fn stand(state: &StoreFetchState) -> Stand {
    let rate: u64 = state.peers.iter().map(|peer| peer.rate).sum();
    Stand {
        what: format!("into the store, {} peers, {}/s", state.peers.len(), HumanBytes(rate)),
        items: state.items,
        done: state.done,
    }
}
