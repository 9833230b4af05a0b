//! Takes connections for the JSON-RPC, each with a place of the one limiter's.
//!
//! A connection keeps its place while a call of it is being answered, however long that takes, and while bytes move. One that
//! stands still (idle, or in the middle of a request, or with an answer that nobody reads) loses it when all are taken and somebody
//! else comes.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_limits::{Holder, Limiter, Permit, Quota};
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::server::{Methods, ServerConfig, StopHandle, serve_with_graceful_shutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::gate::GateLayer;
use super::socket::OwnSocket;
use super::under_way::{CallsLayer, RequestsLayer};
use super::upgrade::UpgradeLayer;
use crate::placed::PlacedStream;

/// How long a connection may stand still before somebody else gets its place.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause after a connection could not be taken: for want of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Where connections come from.
pub(super) trait Acceptor: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection and its place; `None` if it got none, and is closed.
    fn accept(&self, places: &Limiter) -> impl Future<Output = io::Result<Option<(Self::Stream, Permit)>>> + Send;
}

impl Acceptor for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self, places: &Limiter) -> io::Result<Option<(TcpStream, Permit)>> {
        let (stream, address) = TcpListener::accept(self).await?;
        // A connection that its other end has given up already says so when it is read.
        let _ = stream.set_nodelay(true);
        Ok(places.try_take(Holder::address(address.ip()), 1).ok().map(|place| (stream, place)))
    }
}

impl Acceptor for OwnSocket {
    type Stream = UnixStream;

    async fn accept(&self, places: &Limiter) -> io::Result<Option<(UnixStream, Permit)>> {
        let Some(stream) = self.next().await? else { return Ok(None) };
        // It is the user's own command, which may open many: they wait, and those behind them in the system's queue.
        Ok(places.take(Holder::nobody(), 1).await.ok().map(|place| (stream, place)))
    }
}

/// What is served to each connection.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) methods: Methods,
    pub(super) config: ServerConfig,
    /// Keeps web pages out, where they could come.
    pub(super) gate: Option<GateLayer>,
}

/// So many connections at once.
pub(super) const fn places(max_connections: u32) -> Quota {
    Quota::new(max_connections as u64).yields_after(PATIENCE)
}

/// Takes connections until `stop`.
pub(super) async fn serve(listener: impl Acceptor, places: Quota, service: Service, stop: StopHandle) {
    let places = Limiter::new(places);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(&places) => accepted,
            () = stop.clone().shutdown() => return,
        };
        match accepted {
            Ok(Some((stream, place))) => {
                tokio::spawn(serve_connection(stream, Arc::new(place), service.clone(), stop.clone()));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "a connection to the JSON-RPC was not taken");
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    () = stop.clone().shutdown() => return,
                }
            }
        }
    }
}

async fn serve_connection<S>(stream: S, place: Arc<Permit>, service: Service, stop: StopHandle)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = PlacedStream::new(stream, Arc::clone(&place), None);
    let calls = CallsLayer::new(place, stream.is_unread());
    let Service { methods, config, gate } = service;
    let requests = tower::ServiceBuilder::new().layer(RequestsLayer::new()).option_layer(gate).layer(UpgradeLayer);
    let built = jsonrpsee::server::ServerBuilder::with_config(config)
        .to_service_builder()
        .set_rpc_middleware(RpcServiceBuilder::new().layer(calls))
        .set_http_middleware(requests)
        .build(methods, stop.clone());
    if let Err(error) = serve_with_graceful_shutdown(stream, built, stop.shutdown()).await {
        tracing::debug!(%error, "a connection to the JSON-RPC ended");
    }
}

#[cfg(test)]
mod tests {
    use jsonrpsee::RpcModule;
    use jsonrpsee::server::{ServerHandle, stop_channel};
    use soketto::handshake::{Client, ServerResponse};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

    use super::super::error::TOO_MANY_CALLS;
    use super::super::under_way::MAX_CALLS;
    use super::*;

    /// A server; `wait` is answered when there is a permit.
    struct World {
        entered: Arc<Semaphore>,
        answer: Arc<Semaphore>,
        _handle: ServerHandle,
    }

    impl World {
        fn over(listener: impl Acceptor, places: Quota) -> Self {
            let (entered, answer) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
            let mut module = RpcModule::new((Arc::clone(&entered), Arc::clone(&answer)));
            module.register_method("now", |_, _, _| 1).unwrap();
            let wait = async |_, semaphores: Arc<(Arc<Semaphore>, Arc<Semaphore>)>, _| {
                semaphores.0.add_permits(1);
                drop(semaphores.1.acquire().await);
                2
            };
            module.register_async_method("wait", wait).unwrap();
            let service = Service { methods: module.into(), config: ServerConfig::default(), gate: None };
            let (stop, _handle) = stop_channel();
            tokio::spawn(serve(listener, places, service, stop));
            Self { entered, answer, _handle }
        }
    }

    /// The same over TCP, with one place, which is lost at once by who stands still.
    struct TcpWorld {
        world: World,
        address: std::net::SocketAddr,
    }

    impl TcpWorld {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            Self { world: World::over(listener, Quota::new(1).yields_after(Duration::ZERO)), address }
        }

        async fn web_socket(&self) -> WebSocket {
            let socket = TcpStream::connect(self.address).await.unwrap();
            let mut client = Client::new(socket.compat(), "localhost", "/");
            assert!(matches!(client.handshake().await.unwrap(), ServerResponse::Accepted { .. }));
            let (calls, answers) = client.into_builder().finish();
            WebSocket { calls, answers }
        }

        /// Sends the first `part` of a request, in tenths of its body.
        async fn send(&self, method: &str, tenths: usize) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // Who gets no place may notice here.
            let _ = stream.write_all(&request(method, tenths)).await;
            stream
        }
    }

    /// A request with so many tenths of its body.
    fn request(method: &str, tenths: usize) -> Vec<u8> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body.as_bytes()[..body.len() * tenths / 10]].concat()
    }

    /// All that comes until the connection is closed.
    async fn received(mut stream: impl AsyncRead + Unpin) -> String {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn who_stands_still_in_the_middle_of_a_request_makes_room() {
        let world = TcpWorld::new().await;
        let slow = world.send("now", 5).await;
        let answer = received(world.send("now", 10).await).await;
        assert!(answer.contains(r#""result":1"#), "{answer}");
        assert_eq!(received(slow).await, "");
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_keeps_its_place() {
        let world = TcpWorld::new().await;
        let waiting = world.send("wait", 10).await;
        drop(world.world.entered.acquire().await);
        assert_eq!(received(world.send("now", 10).await).await, "", "there was a place");
        world.world.answer.add_permits(1);
        let answer = received(waiting).await;
        assert!(answer.contains(r#""result":2"#), "{answer}");
    }

    /// A client's end of a connection.
    struct WebSocket {
        calls: soketto::Sender<Compat<TcpStream>>,
        answers: soketto::Receiver<Compat<TcpStream>>,
    }

    impl WebSocket {
        async fn call(&mut self, method: &str) {
            let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
            self.calls.send_text(call).await.unwrap();
            self.calls.flush().await.unwrap();
        }

        /// The next answer; `None` when the connection has ended.
        async fn answer(&mut self) -> Option<String> {
            let mut message = Vec::new();
            self.answers.receive_data(&mut message).await.ok()?;
            Some(String::from_utf8(message).unwrap())
        }
    }

    #[tokio::test]
    async fn a_web_socket_that_stands_still_makes_room() {
        let world = TcpWorld::new().await;
        let mut idle = world.web_socket().await;
        idle.call("now").await;
        assert!(idle.answer().await.unwrap().contains(r#""result":1"#));
        let answer = received(world.send("now", 10).await).await;
        assert!(answer.contains(r#""result":1"#), "{answer}");
        assert_eq!(idle.answer().await, None, "its place was somebody else's");
    }

    #[tokio::test]
    async fn a_handshake_that_is_refused_has_the_status_of_a_refusal() {
        let world = TcpWorld::new().await;
        let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (headers, status) in [
            (format!("{key}sec-websocket-version: 13\r\n"), "101 Switching Protocols"),
            (format!("{key}sec-websocket-version: 8\r\n"), "426 Upgrade Required"),
            (key.to_owned(), "400 Bad Request"),
            ("sec-websocket-version: 13\r\n".to_owned(), "400 Bad Request"),
            ("sec-websocket-key: short\r\nsec-websocket-version: 13\r\n".to_owned(), "400 Bad Request"),
        ] {
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            let head = format!(
                "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n{headers}\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = vec![0; 1024];
            let read = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
            assert!(answer.starts_with(&format!("http/1.1 {}\r\n", status.to_lowercase())), "{headers}: {answer}");
            assert_eq!(answer.contains("sec-websocket-version: 13\r\n"), status.starts_with("426"), "{answer}");
        }
    }

    #[tokio::test]
    async fn calls_of_one_connection_are_bounded() {
        let world = TcpWorld::new().await;
        let mut many = world.web_socket().await;
        for _ in 0..MAX_CALLS {
            many.call("wait").await;
        }
        drop(world.world.entered.acquire_many(MAX_CALLS as u32).await);
        many.call("now").await;
        let refused = many.answer().await.unwrap();
        assert!(refused.contains(&TOO_MANY_CALLS.to_string()), "{refused}");
        world.world.answer.add_permits(MAX_CALLS);
        for _ in 0..MAX_CALLS {
            assert!(many.answer().await.unwrap().contains(r#""result":2"#));
        }
        many.call("now").await;
        assert!(many.answer().await.unwrap().contains(r#""result":1"#));
    }

    #[tokio::test]
    async fn the_users_own_commands_wait_for_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cairn.sock");
        let world = World::over(OwnSocket::listen(&path).unwrap(), places(1));
        let send = async |method| {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(&request(method, 10)).await.unwrap();
            received(stream).await
        };
        let answers = async {
            drop(world.entered.acquire().await);
            let mut late = std::pin::pin!(send("now"));
            // Long enough for it to be taken, and for who is sent away to notice.
            for _ in 0..100 {
                assert!(futures::poll!(&mut late).is_pending(), "it has no place yet");
                tokio::task::yield_now().await;
            }
            world.answer.add_permits(1);
            late.await
        };
        let (first, late) = futures::join!(send("wait"), answers);
        assert!(first.contains(r#""result":2"#), "{first}");
        assert!(late.contains(r#""result":1"#), "{late}");
    }
}
