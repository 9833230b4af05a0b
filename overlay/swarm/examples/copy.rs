//! What the machine can do: bytes from several processes to one over loopback, nothing checked, nothing kept. The floor for
//! `scripts/bench-swarm`.
//!
//! ```text
//! copy serve quic|tcp        prints its address, and serves
//! copy fetch quic|tcp BYTES ADDRESS…
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends by panicking, and prints")]

use std::{env, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The same datagrams as the swarm's.
const MAX_DATAGRAM: u16 = 8_900;
const CHUNK: usize = 512 << 10;

/// Who it is does not matter here.
fn keypair() -> libp2p_identity::Keypair {
    let secret = libp2p_identity::secp256k1::SecretKey::try_from_bytes([7; 32]).unwrap();
    libp2p_identity::secp256k1::Keypair::from(secret).into()
}

fn transport() -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MAX_DATAGRAM);
    let mut transport = TransportConfig::default();
    transport.mtu_discovery_config(Some(mtu));
    Arc::new(transport)
}

fn endpoint(server: Option<ServerConfig>) -> Endpoint {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MAX_DATAGRAM).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).unwrap()
}

async fn serve_quic() {
    let keypair = keypair();
    let crypto = QuicServerConfig::try_from(libp2p_tls::make_server_config(&keypair).unwrap()).unwrap();
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    let endpoint = endpoint(Some(config));
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
    let keypair = keypair();
    let crypto = QuicClientConfig::try_from(libp2p_tls::make_client_config(&keypair, None).unwrap()).unwrap();
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    let endpoint = endpoint(None);
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

async fn serve_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
        ["serve", "quic"] => serve_quic().await,
        ["serve", "tcp"] => serve_tcp().await,
        ["fetch", kind @ ("quic" | "tcp"), bytes, ref addresses @ ..] => {
            let bytes = bytes.parse::<u64>().unwrap() / addresses.len() as u64;
            let begun = Instant::now();
            let mut fetches = JoinSet::new();
            for address in addresses {
                let address = address.parse().unwrap();
                match kind {
                    "quic" => fetches.spawn(fetch_quic(address, bytes)),
                    _ => fetches.spawn(fetch_tcp(address, bytes)),
                };
            }
            fetches.join_all().await;
            println!("{:.3}", begun.elapsed().as_secs_f64());
        }
        _ => panic!("copy serve quic|tcp, or copy fetch quic|tcp BYTES ADDRESS…"),
    }
}
