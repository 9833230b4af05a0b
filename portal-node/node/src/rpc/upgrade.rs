//! Gives a WebSocket handshake that the server refuses the status of a refusal. The library answers 200, which proxies and browsers
//! take for success.

use std::task::{Context, Poll};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use futures::FutureExt;
use futures::future::BoxFuture;
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse, ws};
use tower::{Layer, Service};

/// The one version of the protocol that there is a standard for.
const VERSION: &str = "13";

/// Puts statuses on handshakes that a service refuses.
#[derive(Clone, Copy)]
pub(super) struct UpgradeLayer;

impl<S> Layer<S> for UpgradeLayer {
    type Service = Upgrades<S>;

    fn layer(&self, inner: S) -> Upgrades<S> {
        Upgrades { inner }
    }
}

/// A service whose refusals are told as such.
#[derive(Clone)]
pub(super) struct Upgrades<S> {
    inner: S,
}

impl<S, B> Service<HttpRequest<B>> for Upgrades<S>
where
    S: Service<HttpRequest<B>, Response = HttpResponse>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<HttpResponse, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        if !ws::is_upgrade_request(&request) {
            return self.inner.call(request).boxed();
        }
        let refusal = Refusal::of(request.headers());
        let answer = self.inner.call(request);
        let with_status = move |answer: HttpResponse| match answer.status() {
            // A handshake that succeeds has another status.
            StatusCode::OK => refusal.answer(),
            _ => answer,
        };
        answer.map(move |answer| answer.map(with_status)).boxed()
    }
}

/// Why a handshake is refused, if it is.
#[derive(Clone, Copy)]
enum Refusal {
    Version,
    Handshake,
}

impl Refusal {
    fn of(headers: &HeaderMap) -> Self {
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        if version.is_some_and(|version| version != VERSION) { Self::Version } else { Self::Handshake }
    }

    fn answer(self) -> HttpResponse {
        let (status, why) = match self {
            Self::Version => {
                (StatusCode::UPGRADE_REQUIRED, "This server speaks version 13 of the WebSocket protocol.\n")
            }
            Self::Handshake => (
                StatusCode::BAD_REQUEST,
                "This is no WebSocket handshake: it takes a Sec-WebSocket-Key of 16 bytes in base64 and \
                 Sec-WebSocket-Version: 13.\n",
            ),
        };
        let mut response = HttpResponse::new(HttpBody::from(why));
        *response.status_mut() = status;
        if status == StatusCode::UPGRADE_REQUIRED {
            // Both have to be told with this status.
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        response
    }
}
