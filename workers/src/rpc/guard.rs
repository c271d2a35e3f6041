//! Stands before each service of the RPC port: checks the secret, turns new tasks away while draining,
//! and moves the work off the RPC threads.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use subtle::ConstantTimeEq;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response, header};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

use super::client::Secret;
use crate::WorkerService;
use crate::report::TaskId;
use crate::tasks::CloseOnDrop;

/// The method by which a plan arrives; its response lasts as long as the query.
const PLAN_METHOD: &str = "/CoordinatorChannel";

/// A service behind the checks.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    secret: Option<Secret>,
    worker: Option<Arc<WorkerService>>,
}

impl<S> Guarded<S> {
    /// Guards a service that answers on the RPC threads.
    pub(crate) fn new(inner: S, secret: Option<Secret>) -> Self {
        Guarded {
            inner,
            secret,
            worker: None,
        }
    }

    /// Guards the worker's service: its work goes to the threads that run queries.
    pub(crate) fn worker(inner: S, secret: Option<Secret>, worker: Arc<WorkerService>) -> Self {
        Guarded {
            inner,
            secret,
            worker: Some(worker),
        }
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let Some(secret) = &self.secret else {
            return true;
        };
        let shown = headers
            .get(header::AUTHORIZATION)
            .map_or(&b""[..], |value| value.as_bytes());
        // Takes the same time wherever the first wrong byte is.
        bool::from(shown.ct_eq(secret.as_bytes()))
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if !self.is_known(request.headers()) {
            return refuse(Status::unauthenticated(
                "the rpc secret is missing or wrong",
            ));
        }
        // Handlers see the headers; the secret is none of theirs.
        request.headers_mut().remove(header::AUTHORIZATION);

        let Some(worker) = &self.worker else {
            return Box::pin(self.inner.call(request));
        };
        let brings_plan = request.uri().path().ends_with(PLAN_METHOD);
        if brings_plan && worker.refuses_tasks() {
            return refuse(Status::failed_precondition("it is draining"));
        }
        let task = if brings_plan {
            TaskId::read(request.headers())
        } else {
            None
        };
        let tracker = Arc::clone(worker.tracker());
        let answering = worker.compute().spawn(self.inner.call(request));
        Box::pin(async move {
            let close = task.map(|(id, _)| CloseOnDrop(tracker, id));
            let response = match AbortOnDropHandle::new(answering).await {
                Ok(Ok(response)) => response,
                Err(e) => Status::internal(format!("the task's handler ended: {e}")).into_http(),
            };
            Ok(match close {
                Some(close) => response.map(|inner| {
                    Body::new(ClosingBody {
                        inner,
                        _close: close,
                    })
                }),
                None => response,
            })
        })
    }
}

fn refuse(status: Status) -> BoxFuture<Response<Body>, Infallible> {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// A response that closes its task when it ends, however it ends.
struct ClosingBody {
    inner: Body,
    _close: CloseOnDrop,
}

impl HttpBody for ClosingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
