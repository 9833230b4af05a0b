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
use jsonrpsee::core::middleware::{Batch, Notification, RpcServiceBuilder, RpcServiceT};
use jsonrpsee::server::{Methods, ServerConfig, StopHandle, serve_with_graceful_shutdown};
use jsonrpsee::types::Request;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::gate::GateLayer;
use crate::placed::PlacedStream;

/// How long a connection may stand still before somebody else gets its place.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pause after a connection could not be taken: for want of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Where connections come from.
pub(super) trait Acceptor: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and whose it is.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Holder)>> + Send;
}

impl Acceptor for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Holder)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // A connection that its other end has given up already says so when it is read.
        let _ = stream.set_nodelay(true);
        Ok((stream, Holder::address(address.ip())))
    }
}

impl Acceptor for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Holder)> {
        Ok((UnixListener::accept(self).await?.0, Holder::nobody()))
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
            accepted = listener.accept() => accepted,
            () = stop.clone().shutdown() => return,
        };
        match accepted {
            // Without a place it is closed at once.
            Ok((stream, holder)) => {
                if let Ok(place) = places.try_take(holder, 1) {
                    tokio::spawn(serve_connection(stream, Arc::new(place), service.clone(), stop.clone()));
                }
            }
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
    let calls = Arc::new(Calls { place: Arc::clone(&place), under_way: Mutex::new(0) });
    let counted = RpcServiceBuilder::new().layer_fn(move |inner| CountedCalls { inner, calls: Arc::clone(&calls) });
    let Service { methods, config, gate } = service;
    let built = jsonrpsee::server::ServerBuilder::with_config(config)
        .to_service_builder()
        .set_rpc_middleware(counted)
        .set_http_middleware(tower::ServiceBuilder::new().option_layer(gate))
        .build(methods, stop.clone());
    let stream = PlacedStream::new(stream, place, None);
    if let Err(error) = serve_with_graceful_shutdown(stream, built, stop.shutdown()).await {
        tracing::debug!(%error, "a connection to the JSON-RPC ended");
    }
}

/// The calls of a connection. While one is under way, it is this node that somebody waits for.
struct Calls {
    place: Arc<Permit>,
    under_way: Mutex<usize>,
}

impl Calls {
    fn begin(self: &Arc<Self>) -> CallUnderWay {
        let mut under_way = self.under_way.lock();
        *under_way += 1;
        if *under_way == 1 {
            self.place.set_yielding(false);
        }
        CallUnderWay(Arc::clone(self))
    }
}

/// A call that is worked on. While there is one, the connection keeps its place.
struct CallUnderWay(Arc<Calls>);

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock();
        *under_way -= 1;
        if *under_way == 0 {
            self.0.place.set_yielding(true);
        }
    }
}

/// Counts calls on their way to the methods.
#[derive(Clone)]
struct CountedCalls<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S: RpcServiceT + Clone + Send + Sync + 'static> RpcServiceT for CountedCalls<S> {
    type MethodResponse = S::MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = S::MethodResponse> + Send + 'a {
        let (inner, under_way) = (self.inner.clone(), self.calls.begin());
        async move {
            let answer = inner.call(request).await;
            drop(under_way);
            answer
        }
    }

    fn batch<'a>(&self, requests: Batch<'a>) -> impl Future<Output = S::BatchResponse> + Send + 'a {
        let (inner, under_way) = (self.inner.clone(), self.calls.begin());
        async move {
            let answer = inner.batch(requests).await;
            drop(under_way);
            answer
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = S::NotificationResponse> + Send + 'a {
        self.inner.notification(notification)
    }
}

#[cfg(test)]
mod tests {
    use jsonrpsee::RpcModule;
    use jsonrpsee::server::{ServerHandle, stop_channel};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;

    use super::*;

    /// A server with one place, which is lost at once by who stands still; `wait` is answered when there is a permit.
    struct World {
        address: std::net::SocketAddr,
        entered: Arc<Semaphore>,
        answer: Arc<Semaphore>,
        _handle: ServerHandle,
    }

    impl World {
        async fn new() -> Self {
            let (entered, answer) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
            let mut module = RpcModule::new((Arc::clone(&entered), Arc::clone(&answer)));
            module.register_method("now", |_, _, _| 1).unwrap();
            let wait = async |_, semaphores: Arc<(Arc<Semaphore>, Arc<Semaphore>)>, _| {
                semaphores.0.add_permits(1);
                drop(semaphores.1.acquire().await);
                2
            };
            module.register_async_method("wait", wait).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = Service { methods: module.into(), config: ServerConfig::default(), gate: None };
            let (stop, _handle) = stop_channel();
            tokio::spawn(serve(listener, Quota::new(1).yields_after(Duration::ZERO), service, stop));
            Self { address, entered, answer, _handle }
        }

        /// Sends the first `part` of a request, in tenths of its body.
        async fn send(&self, method: &str, tenths: usize) -> TcpStream {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
            let head = format!(
                "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let sent = [head.as_bytes(), &body.as_bytes()[..body.len() * tenths / 10]].concat();
            // Who gets no place may notice here.
            let _ = stream.write_all(&sent).await;
            stream
        }
    }

    /// All that comes until the connection is closed.
    async fn received(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn who_stands_still_in_the_middle_of_a_request_makes_room() {
        let world = World::new().await;
        let slow = world.send("now", 5).await;
        let answer = received(world.send("now", 10).await).await;
        assert!(answer.contains(r#""result":1"#), "{answer}");
        assert_eq!(received(slow).await, "");
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_keeps_its_place() {
        let world = World::new().await;
        let waiting = world.send("wait", 10).await;
        drop(world.entered.acquire().await);
        assert_eq!(received(world.send("now", 10).await).await, "", "there was a place");
        world.answer.add_permits(1);
        let answer = received(waiting).await;
        assert!(answer.contains(r#""result":2"#), "{answer}");
    }
}
