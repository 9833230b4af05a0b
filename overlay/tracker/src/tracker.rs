//! The handle of a running tracker.

use std::{collections::BTreeSet, net::SocketAddr};

use futures::{
    Stream,
    channel::mpsc::{self as stream},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Config, Error, Provider, PublicKey, TrackerStatus,
    command::{TrackerCommand, Wanted},
    lookups::LookupRequest,
    task,
};

/// Hints and lookups on their way to the task. When it lags behind, hints are dropped, and lookups find nothing.
const MAX_COMMANDS: usize = 256;

/// A running tracker. It stops when this is dropped; [`shutdown`](Self::shutdown) also waits until its state is saved.
#[derive(Debug)]
pub struct Tracker {
    local_addr: SocketAddr,
    max_providers: usize,
    commands: mpsc::Sender<TrackerCommand>,
    /// What is wanted of the task as long as nothing else is wanted: the last word counts, and none gets lost.
    wanted: watch::Sender<Wanted>,
}

impl Tracker {
    /// Opens the port and starts the tracker's task on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// When the secret key is none, or the port cannot be opened. A state file that cannot be used is none.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let (commands, command_receiver) = mpsc::channel(MAX_COMMANDS);
        let first = Wanted {
            eras: BTreeSet::new(),
            is_reachable: config.reachable,
            announced: config.announce.clone(),
            is_stopped: false,
        };
        let (wanted, wanted_receiver) = watch::channel(first);
        let max_providers = config.limits.providers;
        let local_addr = task::start(config, command_receiver, wanted_receiver).await?;
        Ok(Self { local_addr, max_providers, commands, wanted })
    }

    /// The UDP address that the tracker listens on. With an unspecified address in the configuration, only the port
    /// says something.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Replaces the set of eras that this node announces. Each is announced as soon as it is its turn, and again every
    /// twelve hours. Records of eras that are no longer in the set expire within a day.
    ///
    /// At most as many as others accept of one peer ([`RecordLimits::of_peer`](crate::RecordLimits::of_peer)), the
    /// lowest of them; and only those below [`TrackerLimits::eras`](crate::TrackerLimits::eras).
    pub fn provide(&self, eras: BTreeSet<u64>) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.eras != eras;
            wanted.eras = eras;
            is_new
        });
    }

    /// Who provides an era, as they are found, each once and never this node itself. The stream ends when the nearest
    /// peers were asked, after [`TrackerLimits::providers`](crate::TrackerLimits::providers), or when the time is up. To drop it ends
    /// the lookup.
    pub fn providers(&self, era: u64) -> impl Stream<Item = Provider> + Send + Unpin + 'static {
        let (sender, providers) = stream::channel(self.max_providers);
        // When this fails, the sender is gone and the stream over.
        let _ = self.commands.try_send(TrackerCommand::LookUp(LookupRequest { era, providers: sender }));
        providers
    }

    /// A peer that may take part, for instance from its node record. It is dialled, and enters the routing table once
    /// it has answered.
    pub fn add_peer(&self, public_key: PublicKey, address: SocketAddr) {
        let _ = self.commands.try_send(TrackerCommand::AddPeer(public_key, address));
    }

    /// Says whether others can reach this node. If so, it keeps records and answers; if not, it only asks.
    pub fn set_reachable(&self, reachable: bool) {
        self.wanted.send_if_modified(|wanted| std::mem::replace(&mut wanted.is_reachable, reachable) != reachable);
    }

    /// Replaces the addresses at which others reach this node. The eras are announced anew.
    pub fn set_announced(&self, addresses: Vec<SocketAddr>) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = wanted.announced != addresses;
            wanted.announced = addresses;
            is_new
        });
    }

    /// How the tracker is doing; nothing after [`shutdown`](Self::shutdown).
    pub async fn status(&self) -> Option<TrackerStatus> {
        let (sender, status) = oneshot::channel();
        self.commands.send(TrackerCommand::Status(sender)).await.ok()?;
        status.await.ok()
    }

    /// Stops the tracker and waits until its records are on the disk.
    pub async fn shutdown(&self) {
        self.wanted.send_modify(|wanted| wanted.is_stopped = true);
        self.wanted.closed().await;
    }
}
