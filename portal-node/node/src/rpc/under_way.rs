//! What may be under way at once on one connection: requests over HTTP, and calls, which over a WebSocket come without requests.
//! Both are bounded, so that what one connection costs is.

use std::future::{Future, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, StatusCode, header};
use cairn_limits::{Permit, quota::MIN_PROGRESS};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use jsonrpsee::core::middleware::{Batch, Notification, RpcServiceT};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse, MethodResponse};
use jsonrpsee::types::{Id, Request};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::{Layer, Service};

use super::error::too_many_calls;

/// Requests of one connection at once, from their heads until their answers were sent. HTTP/1.1 has one, HTTP/2 would have hundreds,
/// each with a body that is kept while it comes, and an answer that is kept until it is read.
const MAX_REQUESTS: usize = 8;

/// Calls of one connection at once: enough for a program that asks without waiting. A batch is one, since its calls are answered one
/// after another.
pub(super) const MAX_CALLS: usize = 16;

/// Bounds the requests of one connection.
#[derive(Clone)]
pub(super) struct RequestsLayer(Arc<Semaphore>);

impl RequestsLayer {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REQUESTS)))
    }
}

impl<S> Layer<S> for RequestsLayer {
    type Service = BoundedRequests<S>;

    fn layer(&self, inner: S) -> BoundedRequests<S> {
        BoundedRequests { inner, room: Arc::clone(&self.0) }
    }
}

/// A service that answers so many requests at once.
#[derive(Clone)]
pub(super) struct BoundedRequests<S> {
    inner: S,
    room: Arc<Semaphore>,
}

impl<S, B> Service<HttpRequest<B>> for BoundedRequests<S>
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
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return ready(Ok(too_many_requests())).boxed();
        };
        self.inner.call(request).map(|response| response.map(|response| keep_until_sent(response, room))).boxed()
    }
}

fn too_many_requests() -> HttpResponse {
    let why = format!("More than {MAX_REQUESTS} requests at once over one connection.\n");
    let mut response = HttpResponse::new(HttpBody::from(why));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response
}

/// The response, with the request's room until its last byte is on its way.
fn keep_until_sent(response: HttpResponse, room: OwnedSemaphorePermit) -> HttpResponse {
    if response.body().is_end_stream() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // A stream does not tell its length.
    if let Some(len) = body.size_hint().exact() {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    }
    let sent = Body::new(body).into_data_stream().inspect(move |_| {
        let _kept = &room;
    });
    HttpResponse::from_parts(head, HttpBody::new(Body::from_stream(sent)))
}

/// Counts and bounds the calls of one connection on their way to the methods.
#[derive(Clone)]
pub(super) struct CallsLayer(Arc<Calls>);

impl CallsLayer {
    /// For the connection that has this place, and tells whether answers wait for its other end.
    pub(super) fn new(place: Arc<Permit>, is_unread: watch::Receiver<bool>) -> Self {
        let room = Arc::new(Semaphore::new(MAX_CALLS));
        Self(Arc::new(Calls { place, worked_on: Mutex::new(0), room, is_unread }))
    }
}

impl<S> Layer<S> for CallsLayer {
    type Service = CountedCalls<S>;

    fn layer(&self, inner: S) -> CountedCalls<S> {
        CountedCalls { inner, calls: Arc::clone(&self.0) }
    }
}

/// The calls of a connection. While one is worked on, it is this node that somebody waits for.
struct Calls {
    place: Arc<Permit>,
    worked_on: Mutex<usize>,
    room: Arc<Semaphore>,
    is_unread: watch::Receiver<bool>,
}

impl Calls {
    /// Waits until the answers before are read: until then this call waits for its caller. What was received together with the
    /// calls of those answers would be answered otherwise, and the answers kept.
    async fn begin(self: Arc<Self>) -> CallUnderWay {
        // A stream that is gone keeps nobody waiting.
        let _ = self.is_unread.clone().wait_for(|is_unread| !is_unread).await;
        {
            let mut worked_on = self.worked_on.lock();
            *worked_on += 1;
            if *worked_on == 1 {
                self.place.set_yielding(false);
            }
        }
        CallUnderWay(self)
    }
}

/// A call that is worked on. While there is one, the connection keeps its place.
struct CallUnderWay(Arc<Calls>);

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        let mut worked_on = self.0.worked_on.lock();
        *worked_on -= 1;
        if *worked_on == 0 {
            // A call that was answered is what a connection is for.
            self.0.place.progress(MIN_PROGRESS);
            self.0.place.set_yielding(true);
        }
    }
}

/// Methods that answer so many calls of a connection at once.
#[derive(Clone)]
pub(super) struct CountedCalls<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S> CountedCalls<S> {
    /// Room for a call, if there is some.
    fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.calls.room).try_acquire_owned().ok()
    }
}

impl<S> RpcServiceT for CountedCalls<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse, BatchResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (inner, calls, room) = (self.inner.clone(), Arc::clone(&self.calls), self.room());
        async move {
            let Some(_room) = room else { return MethodResponse::error(request.id, too_many_calls(MAX_CALLS)) };
            let _under_way = calls.begin().await;
            inner.call(request).await
        }
    }

    fn batch<'a>(&self, requests: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let (inner, calls, room) = (self.inner.clone(), Arc::clone(&self.calls), self.room());
        async move {
            let Some(_room) = room else { return MethodResponse::error(Id::Null, too_many_calls(MAX_CALLS)) };
            let _under_way = calls.begin().await;
            inner.batch(requests).await
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
    use std::convert::Infallible;
    use std::time::Duration;

    use cairn_limits::{Holder, Limiter, Quota};
    use jsonrpsee::core::server::ResponsePayload;

    use super::*;

    #[tokio::test]
    async fn requests_of_one_connection_are_bounded_until_their_answers_are_sent() {
        const ANSWER: &str = "an answer";
        let answer = |_: HttpRequest<()>| ready(Ok::<_, Infallible>(HttpResponse::new(HttpBody::from(ANSWER))));
        let mut service = RequestsLayer::new().layer(tower::service_fn(answer));
        let mut ask = || {
            let answered = service.call(HttpRequest::new(()));
            async { answered.await.unwrap() }
        };
        let mut unread = Vec::new();
        for _ in 0..MAX_REQUESTS {
            unread.push(ask().await);
        }
        assert_eq!(ask().await.status(), StatusCode::TOO_MANY_REQUESTS);
        let first = unread.remove(0);
        assert_eq!(first.headers()[header::CONTENT_LENGTH], ANSWER.len().to_string());
        let read = axum::body::to_bytes(Body::new(first.into_body()), usize::MAX).await.unwrap();
        assert_eq!(read, ANSWER);
        assert_eq!(ask().await.status(), StatusCode::OK);
    }

    /// Methods that answer everything at once.
    #[derive(Clone)]
    struct Methods;

    impl RpcServiceT for Methods {
        type MethodResponse = MethodResponse;
        type NotificationResponse = MethodResponse;
        type BatchResponse = MethodResponse;

        fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
            ready(MethodResponse::response(request.id, ResponsePayload::success(7), usize::MAX))
        }

        fn batch<'a>(&self, _: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
            ready(MethodResponse::error(Id::Null, too_many_calls(0)))
        }

        fn notification<'a>(&self, _: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
            ready(MethodResponse::notification())
        }
    }

    #[tokio::test]
    async fn a_call_whose_caller_leaves_answers_unread_waits_and_keeps_no_place() {
        let places = Limiter::new(Quota::new(1).yields_after(Duration::ZERO));
        let place = Arc::new(places.try_take(Holder::nobody(), 1).unwrap());
        let is_unread = watch::Sender::new(true);
        let service = CallsLayer::new(Arc::clone(&place), is_unread.subscribe()).layer(Methods);
        let mut call = std::pin::pin!(service.call(Request::borrowed("now", None, Id::Number(1))));
        assert!(futures::poll!(&mut call).is_pending());
        is_unread.send_replace(false);
        assert!(call.await.is_success());

        is_unread.send_replace(true);
        let mut call = std::pin::pin!(service.call(Request::borrowed("now", None, Id::Number(2))));
        assert!(futures::poll!(&mut call).is_pending());
        let _other = places.try_take(Holder::nobody(), 1).unwrap();
        assert!(place.is_revoked());
    }
}
