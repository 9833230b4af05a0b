//! The tracker's task: it carries out what queue, lookups and hints decide, and saves the records now and then.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p_core::transport::TransportError;
use libp2p_identify as identify;
use libp2p_kad::QueryId;
use libp2p_swarm::{Swarm, SwarmEvent, dial_opts::DialOpts};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    Config, EraKey, Error, Provider, TrackedChain, TrackerStatus,
    addresses::{AddressReach, multiaddr, socket_address},
    behaviour::{Behaviour, BehaviourEvent, Event},
    command::{TrackerCommand, Wanted},
    hints::Hints,
    identity,
    lookups::Lookups,
    persist,
    provide::ProvideQueue,
    records::{EraRecord, state_file},
    swarm,
};

/// Records are saved at most so often: after a crash, their holders announce them again within half a day anyway.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How often all parts of the table are filled up.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);

/// With fewer peers in the table than these, the configured ones are asked again at each refresh.
const FEW_PEERS: usize = 8;

/// Queries end on time only if they are looked at: `libp2p-kad` sets no timer for them.
const QUERY_TICK: Duration = Duration::from_secs(1);

/// At the end, connections are closed for so long.
const MAX_FAREWELL: Duration = Duration::from_secs(1);

struct Task {
    swarm: Swarm<Behaviour>,
    chain: TrackedChain,
    reach: AddressReach,
    max_handshakes: u32,
    max_eras: u64,
    commands: mpsc::Receiver<TrackerCommand>,
    wanted: watch::Receiver<Wanted>,
    provide: ProvideQueue,
    announcing: HashMap<QueryId, u64>,
    lookups: Lookups,
    hints: Hints,
    is_reachable: bool,
    next_refresh: Instant,
    state_file: StateFile,
}

/// The state file and what of it is up to date.
struct StateFile {
    file: Option<PathBuf>,
    saved_revision: u64,
    next_save: Instant,
    saving: Option<JoinHandle<()>>,
}

/// Starts the task and returns the address that it listens on.
pub(crate) async fn start(
    config: Config,
    commands: mpsc::Receiver<TrackerCommand>,
    wanted: watch::Receiver<Wanted>,
) -> Result<SocketAddr, Error> {
    let keypair = identity::keypair(config.secret_key)?;
    let reach = AddressReach::of(config.listen.ip()).in_local_network(config.is_local);
    let (known, records) = prepare(&config).await;
    let mut swarm = swarm::build(&config, keypair, reach, known)?;
    restore(&mut swarm, records);
    let local_addr = listen(&mut swarm, config.listen).await?;

    let now = Instant::now();
    let usable = config.bootstrap.iter().filter_map(|(key, address)| {
        let is_covered = reach.covers(*address);
        if !is_covered {
            tracing::warn!(%address, "bootstrap peer not used: no address that a node at {} dials", config.listen);
        }
        Some((identity::peer_id(key)?, *address)).filter(|_| is_covered)
    });
    let mut task = Task {
        chain: config.chain,
        reach,
        max_handshakes: config.limits.handshakes,
        max_eras: config.limits.eras,
        commands,
        wanted,
        provide: ProvideQueue::new(config.limits.announcements, config.limits.records.of_peer),
        announcing: HashMap::new(),
        lookups: Lookups::new(&config.limits),
        hints: Hints::new(usable.collect(), now),
        is_reachable: config.reachable,
        next_refresh: now + REFRESH_INTERVAL,
        state_file: StateFile {
            file: config.state_file,
            saved_revision: swarm.behaviour_mut().dht.store().records.revision(),
            next_save: now + SAVE_INTERVAL,
            saving: None,
        },
        swarm,
    };
    task.set_announced(&config.announce);
    tokio::spawn(task.run());
    Ok(local_addr)
}

/// The keys of all eras, and the records of the last run.
async fn prepare(config: &Config) -> (BTreeSet<EraKey>, Vec<(EraKey, EraRecord)>) {
    let (chain, eras, file) = (config.chain, config.limits.eras, config.state_file.clone());
    let prepared = spawn_blocking(move || {
        let keys = (0..eras).map(|era| chain.era_key(era)).collect();
        (keys, file.map(|file| persist::load(&file, &chain)).unwrap_or_default())
    });
    prepared.await.unwrap_or_default()
}

/// Takes over the records of the last run.
fn restore(swarm: &mut Swarm<Behaviour>, records: Vec<(EraKey, EraRecord)>) {
    let store = swarm.behaviour_mut().dht.store();
    let now = store.now();
    for (key, record) in records {
        if store.is_known(&key) {
            // What has expired, or has no room under smaller limits, is left out.
            let _ = store.records.insert(key, record, now);
        }
    }
}

async fn listen(swarm: &mut Swarm<Behaviour>, address: SocketAddr) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Listen { address, source };
    swarm.listen_on(multiaddr(address)).map_err(|error| match error {
        TransportError::Other(source) => failed(source),
        other => Error::Transport(other.to_string()),
    })?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address: at, .. } => {
                let port = socket_address(&at).map_or(address.port(), |at| at.port());
                return Ok(SocketAddr::new(address.ip(), port));
            }
            SwarmEvent::ListenerClosed { reason: Err(source), .. } => return Err(failed(source)),
            _ => {}
        }
    }
}

impl Task {
    async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.advance(now);
            let wake = tokio::time::Instant::from_std(self.next_wake(now));
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(command) = self.commands.recv() => self.on_command(command),
                changed = self.wanted.changed() => {
                    if changed.is_err() || self.wanted.borrow().is_stopped {
                        break;
                    }
                    self.on_wanted();
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.finish_saving().await;
        self.save(Instant::now());
        self.finish_saving().await;
        // Those who are told need not find out by a time-out.
        let _ = tokio::time::timeout(MAX_FAREWELL, self.disconnect()).await;
    }

    async fn finish_saving(&mut self) {
        if let Some(saving) = self.state_file.saving.take() {
            let _ = saving.await;
        }
    }

    async fn disconnect(&mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        while self.swarm.connected_peers().next().is_some() {
            self.swarm.select_next_some().await;
        }
    }

    /// Starts whatever is due.
    fn advance(&mut self, now: Instant) {
        let has_peers = self.swarm.behaviour_mut().dht.peers() > 0;
        // Half of the handshakes are left to lookups.
        while self.swarm.network_info().connection_counters().num_pending_outgoing() < self.max_handshakes / 2
            && let Some((peer, address)) = self.hints.next(has_peers, now)
        {
            if !self.swarm.is_connected(&peer) && !self.swarm.behaviour_mut().dht.contains(peer) {
                let options = DialOpts::peer_id(peer).addresses(vec![multiaddr(address)]).build();
                // It fails when the peer is being dialled already.
                let _ = self.swarm.dial(options);
            }
        }
        let dht = &mut self.swarm.behaviour_mut().dht;
        while let Some(request) = self.lookups.next(has_peers, now) {
            let query = dht.look_up(self.chain.era_key(request.era));
            self.lookups.start(query, request);
        }
        while has_peers && let Some(era) = self.provide.next(now) {
            match dht.announce(self.chain.era_key(era)) {
                Some(query) => drop(self.announcing.insert(query, era)),
                None => self.provide.finish(era, false, now),
            }
        }
        if now >= self.next_refresh {
            self.next_refresh = now + REFRESH_INTERVAL;
            dht.refresh();
            if dht.peers() < FEW_PEERS {
                self.hints.remind();
            }
        }
        if now >= self.state_file.next_save {
            self.save(now);
        }
    }

    /// When something is due even if nothing happens.
    fn next_wake(&mut self, now: Instant) -> Instant {
        let has_peers = self.swarm.behaviour_mut().dht.peers() > 0;
        let mut due = vec![self.next_refresh, self.state_file.next_save];
        due.extend(self.lookups.next_due());
        due.extend(self.provide.next_due().filter(|_| has_peers));
        due.extend(self.hints.next_due().filter(|_| !has_peers));
        due.extend(self.has_queries().then(|| now + QUERY_TICK));
        due.into_iter().min().unwrap_or(now)
    }

    fn has_queries(&self) -> bool {
        self.lookups.is_running() || !self.announcing.is_empty()
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        if let SwarmEvent::ListenerClosed { reason, .. } = &event {
            tracing::warn!(?reason, "the tracker's port was closed: others cannot reach this node until a restart");
        }
        let SwarmEvent::Behaviour(event) = event else { return };
        let dht = &mut self.swarm.behaviour_mut().dht;
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let protocols = info.protocols.iter().map(AsRef::as_ref);
                dht.identified(peer_id, protocols, &info.listen_addrs);
            }
            BehaviourEvent::Dht(Event::Found { query, providers }) => {
                let mut wants_more = true;
                for (peer, addresses) in providers {
                    let Some(public_key) = identity::public_key(&peer) else { continue };
                    if peer != *self.swarm.local_peer_id() {
                        wants_more = self.lookups.found(&query, Provider { public_key, addresses });
                    }
                }
                if !wants_more {
                    self.swarm.behaviour_mut().dht.finish(query);
                }
            }
            BehaviourEvent::Dht(Event::LookedUp { query }) => self.lookups.finish(&query),
            BehaviourEvent::Dht(Event::Announced { query, is_taken }) => {
                if let Some(era) = self.announcing.remove(&query) {
                    self.provide.finish(era, is_taken, Instant::now());
                }
            }
            _ => {}
        }
    }

    fn on_command(&mut self, command: TrackerCommand) {
        let now = Instant::now();
        match command {
            TrackerCommand::LookUp(request) => self.lookups.push(request, now),
            TrackerCommand::AddPeer(key, address) => {
                let peer = identity::peer_id(&key).filter(|_| self.reach.covers(address));
                if let Some(peer) = peer.filter(|peer| peer != self.swarm.local_peer_id()) {
                    self.hints.push(peer, address, now);
                }
            }
            TrackerCommand::Status(answer) => {
                let status = self.status();
                let _ = answer.send(status);
            }
        }
    }

    fn status(&mut self) -> TrackerStatus {
        let connections = self.swarm.connected_peers().count();
        let dht = &mut self.swarm.behaviour_mut().dht;
        TrackerStatus {
            peers: dht.peers(),
            connections,
            records: dht.store().records.len(),
            provided: self.provide.len(),
            announced: self.provide.announced(),
            reachable: self.is_reachable,
        }
    }

    fn on_wanted(&mut self) {
        let now = Instant::now();
        let wanted = self.wanted.borrow_and_update().clone();
        let eras = wanted.eras.range(..self.max_eras).copied().collect();
        if self.is_reachable != wanted.is_reachable {
            self.is_reachable = wanted.is_reachable;
            self.swarm.behaviour_mut().dht.set_reachable(wanted.is_reachable);
        }
        if self.set_announced(&wanted.announced) {
            self.provide.renew_all(now);
        }
        self.provide.replace(&eras, now);
        let keys = self.provide.eras().map(|era| self.chain.era_key(era)).collect();
        self.swarm.behaviour_mut().dht.store().set_own(keys);
    }

    /// Announces these addresses, or none as long as nobody can reach us; whether that is a change.
    fn set_announced(&mut self, addresses: &[SocketAddr]) -> bool {
        let wanted: Vec<_> = addresses
            .iter()
            .filter(|address| self.is_reachable && self.reach.covers(**address))
            .map(|address| multiaddr(*address))
            .collect();
        let present: Vec<_> = self.swarm.external_addresses().cloned().collect();
        for address in present.iter().filter(|address| !wanted.contains(address)) {
            self.swarm.remove_external_address(address);
        }
        for address in wanted.iter().filter(|address| !present.contains(address)) {
            self.swarm.add_external_address(address.clone());
        }
        wanted.len() != present.len() || wanted.iter().any(|address| !present.contains(address))
    }

    /// Drops what has expired, and saves the records if they have changed and are not just being saved.
    fn save(&mut self, now: Instant) {
        self.state_file.next_save = now + SAVE_INTERVAL;
        let store = self.swarm.behaviour_mut().dht.store();
        let time = store.now();
        store.records.expire(time);
        let revision = store.records.revision();
        let is_saving = self.state_file.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        if revision == self.state_file.saved_revision || is_saving {
            return;
        }
        let Some(file) = self.state_file.file.clone() else { return };
        // Some milliseconds for a full store, less than a copy for another thread would take.
        let bytes = state_file::encode(&self.chain, store.records.iter());
        self.state_file.saved_revision = revision;
        self.state_file.saving = Some(spawn_blocking(move || {
            if let Err(error) = persist::save(&file, &bytes) {
                tracing::warn!(file = %file.display(), %error, "tracker state not saved");
            }
        }));
    }
}
