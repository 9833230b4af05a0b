//! Answers what the header source asks of the legacy history network. The source holds the sending end of a channel and this
//! has the network: neither refers to the other, so both end when their owner lets go of them.

use overlay::Overlay;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::headers::HeaderQuery;

/// Answers queries for as long as this is awaited; how many at once is up to whoever asks. A query that nobody waits for any
/// more ends.
pub(crate) async fn answer_header_queries(network: Overlay, mut queries: mpsc::Receiver<HeaderQuery>) {
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            query = queries.recv() => match query {
                Some(query) => drop(under_way.spawn(answer(network.clone(), query))),
                None => return,
            },
            Some(_) = under_way.join_next() => {}
        }
    }
}

async fn answer(network: Overlay, query: HeaderQuery) {
    match query {
        HeaderQuery::OfPeer { peer, key, mut answer } => tokio::select! {
            given = network.content_of(&peer, key) => {
                let given = given.inspect_err(|error| tracing::debug!(%peer, %error, "no header from who offers its block"));
                let _ = answer.send(given.ok().flatten());
            }
            () = answer.closed() => {}
        },
        // Not `lookup_content`: this node was asked within the share of somebody, and is not to be asked again as if for a
        // user. When peers read too many archives, others have the header too.
        HeaderQuery::Search { key, mut answer } => tokio::select! {
            found = network.search_content(key) => drop(answer.send(found)),
            () = answer.closed() => {}
        },
    }
}
