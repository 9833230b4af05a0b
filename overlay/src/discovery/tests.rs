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

#[tokio::test]
async fn the_record_names_the_outer_ports_as_long_as_they_are_mapped() {
    let mut with_services = config(3);
    with_services.service_ports = vec![("quic", 10_009), ("kad", 11_009)];
    let key = key_of(&with_services).unwrap();
    let lan = SocketAddr::from(([192, 168, 1, 2], 9009));
    let ports = nat::ports_to_map(Nat::Auto, &[lan], &with_services.service_ports);
    let node = Discovery::start(with_services).await.unwrap();
    assert!(node.port_mappings().borrow().is_empty(), "on loopback nothing is mapped");
    let tell = |told| node.inner.ports_told(&ports, told, &key);
    let told = || {
        let enr = node.local_enr_updates().borrow().clone();
        let port = |key: &str| enr.get_decodable::<u16>(key).unwrap().unwrap();
        (enr.udp4_socket().map(|address| address.to_string()), port("quic"), port("kad"))
    };
    let outer = |port| SocketAddrV4::new([8, 8, 8, 8].into(), port);
    tell(nat::Told::Reached(0, outer(9010)));
    tell(nat::Told::Reached(1, outer(20_001)));
    tell(nat::Told::Reached(2, outer(11_009)));
    assert_eq!(told(), (Some("8.8.8.8:9010".to_owned()), 20_001, 11_009));
    tell(nat::Told::Lost(1, outer(20_001)));
    tell(nat::Told::Lost(2, outer(11_009)));
    assert_eq!(told(), (Some("8.8.8.8:9010".to_owned()), 10_009, 11_009));
    // Peers have told another address since.
    node.announce_udp(SocketAddr::from(([9, 9, 9, 9], 9009)));
    tell(nat::Told::Lost(0, outer(9010)));
    assert_eq!(told().0.as_deref(), Some("9.9.9.9:9009"));
    tell(nat::Told::Lost(0, SocketAddrV4::new([9, 9, 9, 9].into(), 9009)));
    assert_eq!(told().0, None);
    node.shutdown().await;
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
