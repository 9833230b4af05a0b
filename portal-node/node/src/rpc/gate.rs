//! Stands before the JSON-RPC server and turns away what [`Access`] denies, over HTTP and before a WebSocket is opened.
//! A page that is allowed is told so in the way browsers ask for it (CORS).

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderValue, Method, StatusCode, header};
use futures::FutureExt;
use futures::future::BoxFuture;
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use tower::{Layer, Service};

use crate::access::{Access, Denied};

/// How long a browser need not ask again, in seconds.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// Puts the gate before a service.
#[derive(Clone)]
pub(super) struct GateLayer(Arc<Access>);

impl GateLayer {
    pub(super) fn new(access: Access) -> Self {
        Self(Arc::new(access))
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, access: Arc::clone(&self.0) }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(super) struct Gate<S> {
    inner: S,
    access: Arc<Access>,
}

impl<S, B> Service<HttpRequest<B>> for Gate<S>
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
        let origin = match self.access.check(request.uri(), request.headers()) {
            Ok(None) => return self.inner.call(request).boxed(),
            Ok(Some(origin)) => origin,
            Err(denied) => {
                // No other header: they may hold passwords and cookies.
                let (host, origin) = (request.headers().get(header::HOST), request.headers().get(header::ORIGIN));
                tracing::debug!(?denied, ?host, ?origin, "JSON-RPC request turned away");
                return futures::future::ready(Ok(turned_away(denied))).boxed();
            }
        };
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let answer = if is_preflight {
            futures::future::ready(Ok(preflight())).boxed()
        } else {
            self.inner.call(request).boxed()
        };
        answer.map(|response| response.map(|response| readable_for(origin, response))).boxed()
    }
}

fn turned_away(denied: Denied) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(match denied {
        Denied::Origin => "Requests from this web page are not allowed: see --rpc-origins.\n",
        Denied::Host => "This machine is not known by that host name: see --rpc-hosts.\n",
    }));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

fn preflight() -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    response
}

/// Lets the page read the answer, and no other page a cached copy of it.
fn readable_for(origin: HeaderValue, mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
    response
}
