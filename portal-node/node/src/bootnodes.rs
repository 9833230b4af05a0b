//! Whether the peers to start from answer. One that is down, or is of another chain, is the commonest reason why a new node finds
//! nobody, and nothing else would tell.

use std::sync::Arc;
use std::time::Duration;

use content_types::NodeId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use overlay::{Discovery, Enr};

use crate::networks::Network;

/// Pauses before each attempt: peers that were started together find each other first.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(15)];

/// What has been seen of a bootnode, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Silent,
    /// It speaks discv5 and none of the sub-networks.
    OtherNetwork,
    Speaks,
}

/// Says which of the bootnodes are of no use, once.
pub(crate) async fn look_after(bootnodes: Vec<Enr>, discovery: Discovery, networks: Vec<Arc<Network>>) {
    let own = discovery.node_id();
    let mut open: Vec<_> = bootnodes
        .into_iter()
        .filter(|enr| NodeId::from(enr.node_id().raw()) != own)
        .map(|enr| (enr, Answer::Silent))
        .collect();
    let mut is_anybody_there = open.is_empty();
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        let asked: FuturesUnordered<_> = open
            .into_iter()
            .map(|(enr, before)| {
                let (discovery, networks) = (&discovery, &networks);
                async move {
                    let answer = ask(&enr, discovery, networks).await.max(before);
                    (enr, answer)
                }
            })
            .collect();
        let asked: Vec<_> = asked.collect().await;
        is_anybody_there |= asked.iter().any(|(_, answer)| *answer == Answer::Speaks);
        open = asked.into_iter().filter(|(_, answer)| *answer < Answer::Speaks).collect();
        if open.is_empty() {
            break;
        }
    }
    for (enr, answer) in &open {
        let what = match answer {
            Answer::OtherNetwork => {
                "answers, and has nothing to do with this chain's history: it may be of another chain"
            }
            _ => "does not answer",
        };
        let (v4, v6) = (enr.udp4_socket(), enr.udp6_socket());
        let at =
            v4.map(|at| at.to_string()).or_else(|| v6.map(|at| at.to_string())).unwrap_or_else(|| "no address".into());
        // With others there it is a remark; alone it is the reason why nobody is found.
        if is_anybody_there {
            tracing::info!(node_id = %enr.node_id(), at, "a bootnode {what}");
        } else {
            tracing::warn!(node_id = %enr.node_id(), at, "a bootnode {what}");
        }
    }
}

async fn ask(enr: &Enr, discovery: &Discovery, networks: &[Arc<Network>]) -> Answer {
    let mut pings: FuturesUnordered<_> =
        networks.iter().map(|network| network.overlay().ping(enr.clone(), None)).collect();
    while let Some(pong) = pings.next().await {
        if pong.is_ok() {
            return Answer::Speaks;
        }
    }
    match discovery.ping(enr.clone()).await {
        Ok(_) => Answer::OtherNetwork,
        Err(_) => Answer::Silent,
    }
}
