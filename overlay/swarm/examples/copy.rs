//! What machine and path can do: bytes from several processes to one, nothing checked, nothing kept. The floor for
//! `scripts/bench-swarm`.
//!
//! ```text
//! copy serve quic-aes|quic-chacha|quic-bbr|tcp [IP]     prints its address, and serves
//! copy fetch quic|tcp BYTES ADDRESS…
//! ```
//!
//! QUIC's cipher is AES-128-GCM unless ChaCha20-Poly1305 is named, its congestion control CUBIC unless BBR is; TCP has no cipher, and
//! the system's congestion control.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends by panicking, and prints")]

use std::{
    env,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use cairn_tls::Certificate;
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig,
    congestion::BbrConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{CipherSuite, crypto::CryptoProvider, version::TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The same datagrams as the swarm's.
const MAX_DATAGRAM: u16 = 6_500;
const CHUNK: usize = 512 << 10;
/// Enough for 160 Mbit/s over 100 ms, from each. With more, a path that drops half of all packets makes more gaps than quinn allows.
const WINDOW: u32 = 2 << 20;

/// What the two sides speak.
const ALPN: &[u8] = b"copy";

/// Who it is does not matter here.
fn certificate() -> Certificate {
    let secret = libp2p_identity::secp256k1::SecretKey::try_from_bytes([7; 32]).unwrap();
    Certificate::generate(&libp2p_identity::secp256k1::Keypair::from(secret).into()).unwrap()
}

/// TLS with one cipher, whatever is best for this processor. The others stay in the list, because QUIC's first packets need AES.
fn server_tls(cipher: CipherSuite) -> rustls::ServerConfig {
    let mut provider = CryptoProvider::clone(&cairn_tls::provider());
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != cipher);
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(certificate().server_config(ALPN).unwrap().cert_resolver);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ignore_client_order = true;
    config
}

fn transport(is_bbr: bool) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MAX_DATAGRAM);
    let mut transport = TransportConfig::default();
    transport.mtu_discovery_config(Some(mtu));
    transport.stream_receive_window(WINDOW.into()).receive_window(WINDOW.into()).send_window(WINDOW.into());
    if is_bbr {
        transport.congestion_controller_factory(Arc::new(BbrConfig::default()));
    }
    Arc::new(transport)
}

fn endpoint(ip: IpAddr, server: Option<ServerConfig>) -> Endpoint {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MAX_DATAGRAM).unwrap();
    let socket = std::net::UdpSocket::bind((ip, 0)).unwrap();
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).unwrap()
}

async fn serve_quic(ip: IpAddr, cipher: CipherSuite, is_bbr: bool) {
    let crypto = QuicServerConfig::try_from(server_tls(cipher)).unwrap();
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport(is_bbr));
    let endpoint = endpoint(ip, Some(config));
    println!("{}", endpoint.local_addr().unwrap());
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await.unwrap();
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let mut left = receive_length(&mut receive).await;
                let chunk = Bytes::from(vec![7; CHUNK]);
                while left > 0 {
                    let piece = chunk.slice(..CHUNK.min(left as usize));
                    left -= piece.len() as u64;
                    if send.write_chunk(piece).await.is_err() {
                        return;
                    }
                }
                let _ = send.finish();
            }
        });
    }
}

async fn receive_length(receive: &mut quinn::RecvStream) -> u64 {
    let mut length = [0; 8];
    receive.read_exact(&mut length).await.unwrap();
    u64::from_le_bytes(length)
}

async fn fetch_quic(address: SocketAddr, bytes: u64) {
    let crypto = QuicClientConfig::try_from(certificate().client_config(None, ALPN).unwrap()).unwrap();
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(false));
    let any = if address.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let endpoint = endpoint(any.into(), None);
    let connection = endpoint.connect_with(config, address, "copy").unwrap().await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&bytes.to_le_bytes()).await.unwrap();
    send.finish().unwrap();
    let (mut chunks, mut got): ([Bytes; 64], u64) = (std::array::from_fn(|_| Bytes::new()), 0);
    while let Some(read) = receive.read_chunks(&mut chunks).await.unwrap() {
        got += chunks.iter().take(read).map(|chunk| chunk.len() as u64).sum::<u64>();
    }
    assert_eq!(got, bytes);
}

async fn serve_tcp(ip: IpAddr) {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut left = stream.read_u64_le().await.unwrap();
            let chunk = vec![7; CHUNK];
            while left > 0 {
                let piece = CHUNK.min(left as usize);
                if stream.write_all(&chunk[..piece]).await.is_err() {
                    return;
                }
                left -= piece as u64;
            }
        });
    }
}

async fn fetch_tcp(address: SocketAddr, bytes: u64) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_u64_le(bytes).await.unwrap();
    let (mut buffer, mut got) = (vec![0; CHUNK], 0);
    while got < bytes {
        got += stream.read(&mut buffer).await.unwrap() as u64;
    }
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", kind, ref ip @ ..] => {
            let ip = ip.first().map_or(Ipv4Addr::LOCALHOST.into(), |ip| ip.parse().unwrap());
            match kind {
                "tcp" => serve_tcp(ip).await,
                "quic-chacha" => serve_quic(ip, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, false).await,
                _ => serve_quic(ip, CipherSuite::TLS13_AES_128_GCM_SHA256, kind == "quic-bbr").await,
            }
        }
        ["fetch", kind, bytes, ref addresses @ ..] => {
            let bytes = bytes.parse::<u64>().unwrap() / addresses.len() as u64;
            let begun = Instant::now();
            let mut fetches = JoinSet::new();
            for address in addresses {
                let address = address.parse().unwrap();
                match kind {
                    "tcp" => fetches.spawn(fetch_tcp(address, bytes)),
                    _ => fetches.spawn(fetch_quic(address, bytes)),
                };
            }
            fetches.join_all().await;
            println!("{:.3}", begun.elapsed().as_secs_f64());
        }
        _ => panic!("copy serve quic-aes|quic-chacha|quic-bbr|tcp [IP], or copy fetch quic|tcp BYTES ADDRESS…"),
    }
}
