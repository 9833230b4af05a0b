//! Keeps the routing table alive: does what the table asks for, and tells it of peers that come up.

use std::sync::Arc;

use cairn_proto::routing::{Peer, Upkeep};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::inner::RunningOverlay;
use crate::transport::PeerEvent;

/// Pings and looks up as the table wants it.
pub(super) async fn maintain(inner: Arc<RunningOverlay>) {
    let mut peers = None;
    loop {
        let now = Instant::now().into_std();
        let (next, stats) = {
            let mut table = inner.table.lock();
            (table.poll_output(now, inner.config.ping_extensions, &mut rand::rng()), table.stats())
        };
        if peers.replace(stats.live) != Some(stats.live) {
            inner.observer.peers(stats.live);
        }
        match next {
            Upkeep::Ping { peer, payload_type } => {
                let payload = inner.ping_payload(payload_type);
                let pinging = inner.clone();
                inner.spawn(async move {
                    if let Err(error) = pinging.ping(&peer, Some(payload)).await {
                        tracing::trace!(peer = %peer.node_id(), %error, "ping");
                    }
                });
            }
            Upkeep::Lookup { target } => {
                let looking = inner.clone();
                inner.spawn(async move {
                    looking.lookup_nodes(target).await;
                });
            }
            Upkeep::Timeout(due) => {
                let due = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = inner.table_changed.notified() => {}
                }
            }
        }
    }
}

/// Tells the table of sessions and records that the base protocol comes by.
pub(super) async fn listen(inner: Arc<RunningOverlay>) {
    let mut events = inner.transport.peer_events();
    loop {
        match events.recv().await {
            Ok(PeerEvent::Session(contact)) => inner.mention_contact(&contact),
            Ok(PeerEvent::Discovered(enr)) => inner.mention(&Arc::new(enr)),
            // Others will come up.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Takes peers out of the table that any of the node's networks has barred: what is asked and told goes to whom the table has.
pub(super) async fn drop_the_barred(inner: Arc<RunningOverlay>) {
    let mut bars = inner.config.book.bars();
    while bars.changed().await.is_ok() {
        bars.mark_unchanged();
        let now = Instant::now().into_std();
        let mut table = inner.table.lock();
        let is_barred = |peer: &Peer| {
            let ip = peer.seen_at().map(|address| address.ip());
            inner.config.book.barred_for(now, &peer.node_id(), ip).is_some()
        };
        let barred: Vec<_> = table.peers().filter(|peer| is_barred(peer)).map(Peer::node_id).collect();
        barred.iter().for_each(|id| drop(table.remove(id)));
        drop(table);
        inner.table_changed.notify_one();
    }
}
