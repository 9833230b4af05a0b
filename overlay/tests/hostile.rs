//! Peers that take places and give nothing for them, on a simulated network with a paused clock. All of them are on one local
//! network, where no limit for a subnet holds: what each node ID may have, and loses, has to be enough.
#![allow(clippy::unwrap_used)] // A test that fails to set up has failed.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::wire::{Content, FindContent, MAX_OFFERED_KEYS, Offer, Request, Response};
use cairn_utp::{Header, PacketType};
use common::{CHAIN_ID, Peer, Setup, enr, key, protocol, value};
use overlay::Transport;
use overlay::service::FindContentAnswer;
use overlay::transport::{Enr, ProtocolId, SimulatedNetwork, SimulatedTransport};

const DELAY: Duration = Duration::from_millis(20);
const LONG: usize = 70_000;

/// Values that are asked for by an honest peer at once.
const WANTED: usize = 32;

/// A node that serves long values, and an honest peer that has never spoken to it.
fn server_and_client(network: &Arc<SimulatedNetwork>) -> (Peer, Peer, Vec<Bytes>) {
    let server = Peer::simulated(network, 1, Setup::default());
    let client = Peer::simulated(network, 2, Setup::default());
    let keys: Vec<_> = (0..WANTED).map(|number| key(format!("item {number}"))).collect();
    keys.iter().for_each(|key| server.memory.put(key, value(key, LONG)));
    (server, client, keys)
}

/// Length of what is offered, in bytes.
const ITEM: usize = 20_000;

/// What an honest seeder may take, in simulated time.
const SEEDING: Duration = Duration::from_secs(30);

/// What an honest peer has to get everything, in simulated time: what is refused is asked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fetches all of `keys` at once from one node.
async fn fetch_all(client: &Peer, server: &Peer, keys: &[Bytes]) {
    let fetches = keys.iter().map(|key| async move {
        loop {
            match client.overlay.find_content(server.enr(), key.clone()).await {
                Ok(FindContentAnswer::Content { value: found, .. }) => return assert!(found == value(key, LONG)),
                Ok(FindContentAnswer::Enrs(_)) | Err(_) => tokio::time::sleep(DELAY).await,
            }
        }
    });
    tokio::time::timeout(PATIENCE, futures::future::join_all(fetches)).await.expect("everything");
}

/// A node ID in the attacker's hand.
struct Hostile {
    transport: Arc<SimulatedTransport>,
    victim: Enr,
}

impl Hostile {
    fn join(network: &Arc<SimulatedNetwork>, seed: u64, victim: &Peer) -> Self {
        let transport = Arc::new(network.join(enr(seed, 1, CHAIN_ID)).unwrap());
        Self { transport, victim: victim.enr() }
    }

    async fn talk(&self, request: Request) -> Option<Response> {
        let contact = self.transport.contact(&self.victim)?;
        let answer = self.transport.talk(&contact, &protocol(), request.encode().unwrap()).await.ok()?;
        Response::decode(&answer).ok()
    }

    /// Has a stream announced; its connection ID.
    async fn announced(&self, key: &Bytes) -> Option<u16> {
        match self.talk(Request::FindContent(FindContent { content_key: key.clone() })).await? {
            Response::Content(Content::ConnectionId(id)) => Some(id),
            _ => None,
        }
    }

    /// Asks for long values again and again and opens no stream.
    async fn open_nothing(self, keys: Vec<Bytes>) {
        loop {
            for key in &keys {
                self.announced(key).await;
            }
        }
    }

    /// Opens all the streams that it can have and acknowledges nothing of what comes on them.
    async fn take_nothing(self, keys: Vec<Bytes>) {
        let contact = self.transport.contact(&self.victim).unwrap();
        loop {
            for key in &keys {
                let Some(connection_id) = self.announced(key).await else { continue };
                let syn = Header {
                    packet_type: PacketType::Syn,
                    connection_id,
                    timestamp_microseconds: 0,
                    timestamp_difference_microseconds: 0,
                    wnd_size: 1 << 20,
                    seq_nr: 1,
                    ack_nr: 0,
                };
                let mut packet = Vec::new();
                syn.encode(None, &[], &mut packet);
                self.transport.send(&contact, &ProtocolId::UTP, packet.into()).await;
            }
        }
    }
}

impl Hostile {
    /// Offers everything again and again and sends nothing of what is accepted.
    async fn send_nothing(self, keys: Vec<Bytes>) {
        loop {
            for keys in keys.chunks(MAX_OFFERED_KEYS) {
                self.talk(Request::Offer(Offer { content_keys: keys.to_vec() })).await;
            }
        }
    }
}

/// Offers everything, and again what is not taken yet, until all is there.
async fn seed(seeder: &Peer, to: &Peer, keys: &[Bytes]) {
    loop {
        let open: Vec<_> = keys.iter().filter(|key| !to.memory.holds(key)).collect();
        if open.is_empty() {
            return;
        }
        for keys in open.chunks(MAX_OFFERED_KEYS) {
            let items = keys.iter().map(|key| (Bytes::clone(key), value(key, ITEM))).collect();
            let _ = seeder.overlay.offer(to.enr(), items).await;
        }
        tokio::time::sleep(DELAY).await;
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_send_nothing_of_what_they_offer_keep_no_honest_offer_out() {
    for attackers in [5, 50] {
        let network = SimulatedNetwork::new(DELAY, 0.0, 1);
        let empty = Peer::simulated(&network, 1, Setup::default());
        let seeder = Peer::simulated(&network, 2, Setup::default());
        let keys: Vec<_> = (0..1024).map(|number| key(number.to_string())).collect();
        let hostile = (0..attackers).map(|seed| Hostile::join(&network, 100 + seed, &empty));
        let attacks: Vec<_> = hostile.map(|hostile| tokio::spawn(hostile.send_nothing(keys.clone()))).collect();
        attack_has_begun().await;
        tokio::time::timeout(SEEDING, seed(&seeder, &empty, &keys)).await.expect("everything");
        attacks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Lets simulated time pass until the attack has taken what it can get.
async fn attack_has_begun() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn those_who_take_nothing_keep_nobody_from_being_served() {
    for attackers in [4, 40] {
        let network = SimulatedNetwork::new(DELAY, 0.0, 1);
        let (server, client, keys) = server_and_client(&network);
        let hostile = (0..attackers).map(|seed| Hostile::join(&network, 100 + seed, &server));
        let attacks: Vec<_> = hostile.map(|hostile| tokio::spawn(hostile.take_nothing(keys.clone()))).collect();
        attack_has_begun().await;
        fetch_all(&client, &server, &keys).await;
        attacks.iter().for_each(tokio::task::JoinHandle::abort);
        fetch_all(&client, &server, &keys).await;
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_open_nothing_keep_nobody_from_being_served() {
    for attackers in [16, 100] {
        let network = SimulatedNetwork::new(DELAY, 0.0, 1);
        let (server, client, keys) = server_and_client(&network);
        let hostile = (0..attackers).map(|seed| Hostile::join(&network, 100 + seed, &server));
        let attacks: Vec<_> = hostile.map(|hostile| tokio::spawn(hostile.open_nothing(keys.clone()))).collect();
        attack_has_begun().await;
        fetch_all(&client, &server, &keys).await;
        attacks.iter().for_each(tokio::task::JoinHandle::abort);
        fetch_all(&client, &server, &keys).await;
    }
}
