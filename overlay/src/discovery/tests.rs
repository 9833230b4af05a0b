use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;
use cairn_proto::limits::Direction;

use super::*;
use crate::Transfers;

/// Streams at once, and bytes of each: some 7,000 packets within a moment.
const STREAMS: usize = 4;
const BYTES: usize = 2 << 20;

fn config(seed: u8) -> DiscoveryConfig {
    let mut config = DiscoveryConfig::new([seed; 32]);
    config.listen = ListenAddresses { v4: Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)), v6: None };
    config.nat = Nat::None;
    config.addresses = AddressPolicy::Local;
    config
}

/// discv5's configuration of a node with these addresses.
fn base(addresses: AddressPolicy) -> discv5::Config {
    let sockets = socket::Sockets::bind(&config(1).listen).unwrap();
    discv5_config(&DiscoveryConfig { addresses, ..config(1) }, sockets)
}

#[tokio::test]
async fn packets_are_filtered_on_the_internet_by_nothing_that_others_can_forge_cheaply() {
    assert!(!base(AddressPolicy::Local).enable_packet_filter);
    let base = base(AddressPolicy::Internet);
    assert!(base.enable_packet_filter && base.filter_rate_limiter.is_some());
    assert_eq!((base.filter_max_nodes_per_ip, base.filter_max_bans_per_ip), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_lets_an_honest_transfer_pass() {
    let start = async |seed| {
        let filtered = |base: &mut discv5::Config| filter_packets(base, PacketLimits::default());
        Discovery::start_with(config(seed), filtered).await.unwrap()
    };
    let (a, b) = (start(1).await, start(2).await);
    a.ping(b.local_enr()).await.unwrap();
    let (to_b, to_a) = (a.contact(&b.local_enr()).unwrap(), b.contact(&a.local_enr()).unwrap());
    let (from_a, from_b) =
        (Transfers::start(Arc::new(a.clone())).unwrap(), Transfers::start(Arc::new(b.clone())).unwrap());
    let value = Bytes::from(vec![7; BYTES]);
    let transfers = (0..STREAMS).map(|_| async {
        let slot = from_b.slot(Direction::Inbound, &to_a).await.unwrap();
        let mut accepted = from_b.accept(&to_a, slot).unwrap();
        let slot = from_a.slot(Direction::Outbound, &to_b).await.unwrap();
        let mut opened = from_a.connect(&to_b, accepted.connection_id(), slot).unwrap();
        let send = async {
            opened.write_all(value.clone()).await.unwrap();
            opened.finish().await.unwrap();
        };
        let receive = async {
            let mut received = 0;
            while let Some(chunk) = accepted.read_chunk().await.unwrap() {
                received += chunk.len();
            }
            received
        };
        let ((), received) = tokio::join!(send, receive);
        assert_eq!(received, BYTES);
    });
    futures::future::join_all(transfers).await;
}
