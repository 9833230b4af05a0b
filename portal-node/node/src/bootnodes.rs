//! Whether the peers to start from answer. One that is down, or is of another chain, is the commonest reason why a new node finds
//! nobody, and nothing else would tell.

use std::sync::Arc;
use std::time::Duration;

use content_types::NodeId;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use overlay::{Discovery, Enr};
use parking_lot::Mutex;

use crate::networks::Network;

/// Pauses before each attempt: peers that were started together find each other first.
const PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(5), Duration::from_secs(15)];
/// Pauses before the attempts that follow when none of them was there.
const AGAIN: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(30)];
/// The pause before each further one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What has been seen of a bootnode, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Silent,
    /// It speaks discv5 and none of the sub-networks.
    OtherNetwork,
    Speaks,
}

impl Answer {
    fn words(self) -> &'static str {
        match self {
            Self::Silent => "does not answer",
            Self::OtherNetwork => {
                "answers, and has nothing to do with this chain's history: it may be of another chain"
            }
            Self::Speaks => "answers",
        }
    }
}

/// What has become of the peers to start from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bootnodes {
    trouble: Arc<Mutex<Option<String>>>,
}

impl Bootnodes {
    /// Why they are of no use, while none of them is.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Says which of them are of no use, once, and while none of them is goes on asking: a peer that has never answered is no longer
    /// in any table by then, and nothing else would find one that comes up later.
    pub(crate) async fn look_after(self, records: Vec<Enr>, discovery: Discovery, networks: Vec<Arc<Network>>) {
        let own = discovery.node_id();
        let others = records.into_iter().filter(|enr| NodeId::from(enr.node_id().raw()) != own);
        let mut open: Vec<_> = others.map(|enr| (enr, Answer::Silent)).collect();
        let mut is_anybody_there = open.is_empty();
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            open = ask_all(open, &discovery, &networks).await;
            is_anybody_there |= open.iter().any(|(_, answer)| *answer == Answer::Speaks);
            open.retain(|(_, answer)| *answer < Answer::Speaks);
            if open.is_empty() {
                break;
            }
        }
        if !is_anybody_there {
            let each = open.iter().map(|(enr, answer)| format!("{} {}", address_of(enr), answer.words()));
            *self.trouble.lock() = Some(each.collect::<Vec<_>>().join("; "));
        }
        for (enr, answer) in &open {
            // With others there it is a remark; alone it is the reason why nobody is found.
            let (node_id, at, what) = (enr.node_id(), address_of(enr), answer.words());
            if is_anybody_there {
                tracing::info!(%node_id, at, "a bootnode {what}");
            } else {
                tracing::warn!(%node_id, at, "a bootnode {what}");
            }
        }
        if is_anybody_there {
            return;
        }
        for pause in AGAIN.into_iter().chain(std::iter::repeat(LONGEST_PAUSE)) {
            tokio::time::sleep(pause).await;
            open = ask_all(open, &discovery, &networks).await;
            if let Some((enr, _)) = open.iter().find(|(_, answer)| *answer == Answer::Speaks) {
                *self.trouble.lock() = None;
                tracing::info!(node_id = %enr.node_id(), at = address_of(enr), "a bootnode answers now");
                return;
            }
        }
    }
}

fn address_of(enr: &Enr) -> String {
    let v6 = || enr.udp6_socket().map(|at| at.to_string());
    enr.udp4_socket().map(|at| at.to_string()).or_else(v6).unwrap_or_else(|| "no address".into())
}

/// The same bootnodes, with the best that was seen of each.
async fn ask_all(open: Vec<(Enr, Answer)>, discovery: &Discovery, networks: &[Arc<Network>]) -> Vec<(Enr, Answer)> {
    let asked = open.into_iter().map(|(enr, before)| async move {
        let answer = ask(&enr, discovery, networks).await.max(before);
        (enr, answer)
    });
    join_all(asked).await
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
