//! `/metrics` and `/health` over HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Metrics;

/// Media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let routes = Router::new().route("/metrics", get(scrape)).route("/health", get(|| async { "ok\n" }));
        let service = routes.with_state(metrics);
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

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
