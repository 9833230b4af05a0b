//! `/metrics` and `/health` over HTTP.
//!
//! A scrape is short, so a connection lives for half a minute at most, and one that stands still makes room for others: whoever
//! opens many and asks for nothing keeps nobody out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use cairn_limits::{Holder, Limiter, Quota};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Metrics;
use crate::placed::PlacedStream;

/// Asked whether the node does all that it is there for.
#[derive(Clone)]
pub(crate) struct Health(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl Health {
    pub(crate) fn new(ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    fn ask(&self) -> Result<(), String> {
        (self.0)()
    }
}

/// Media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at once. One that is older than a second makes room when all are taken.
const CONNECTIONS: Quota = Quota::new(64).yields_after(Duration::from_secs(1));

/// How long a connection lives.
const LIFE: Duration = Duration::from_secs(30);

/// The running server.
#[derive(Debug)]
pub(crate) struct MetricsServer {
    address: SocketAddr,
}

impl MetricsServer {
    /// Listens on `address` until `stop` is cancelled.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) async fn start(
        address: SocketAddr,
        metrics: Arc<Metrics>,
        health: Health,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let health = get(move || {
            let answer = match health.ask() {
                Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            };
            async move { answer }
        });
        let routes = Router::new().route("/metrics", get(scrape)).route("/health", health);
        let service = routes.with_state(metrics).layer(middleware::from_fn(turn_pages_away));
        let listener = PlacingListener { listener, limiter: Limiter::new(CONNECTIONS) };
        tasks.spawn(async move {
            tokio::select! {
                result = axum::serve(listener, service) => {
                    if let Err(error) = result {
                        tracing::error!(%error, "metrics server ended");
                    }
                }
                () = stop.cancelled() => {}
            }
        });
        Ok(Self { address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn turn_pages_away(request: Request, next: Next) -> Response {
    if crate::access::is_for_another(request.uri(), request.headers()) {
        return (StatusCode::FORBIDDEN, "the request is for another machine\n").into_response();
    }
    next.run(request).await
}

/// A listener that gives each connection a place.
struct PlacingListener {
    listener: TcpListener,
    limiter: Limiter,
}

impl Listener for PlacingListener {
    type Io = PlacedStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (PlacedStream<TcpStream>, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // Without a place it is closed at once.
            if let Ok(place) = self.limiter.try_take(Holder::address(address.ip()), 1) {
                return (PlacedStream::new(stream, Arc::new(place), Some(LIFE)), address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
