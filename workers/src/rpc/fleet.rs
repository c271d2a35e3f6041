//! The coordinator's end of membership: one stream per worker, and one task that listens to it.
//!
//! A worker is a member exactly as long as its stream lives and speaks: a process that dies closes it
//! at once, one that hangs falls silent.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::wire::{ATTEND_PATH, FromWorker, JsonCodec, MESSAGE_BYTES_MAX, SERVICE_NAME, ToWorker};
use crate::Membership;
use crate::membership::Seat;

/// A worker that has said nothing for this long is lost: three heartbeats and some.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// The first message comes with the call; later, the caller is no worker.
const REGISTER_WITHIN: Duration = Duration::from_secs(5);

/// Messages to one worker that may wait: each is small, and a worker that does not read is lost soon.
const MESSAGES_WAITING_MAX: usize = 16;

/// The fleet's gRPC service.
#[derive(Clone)]
pub(crate) struct FleetService {
    membership: Arc<Membership>,
    shutdown: CancellationToken,
}

impl FleetService {
    pub(crate) fn new(membership: Arc<Membership>, shutdown: CancellationToken) -> Self {
        FleetService {
            membership,
            shutdown,
        }
    }
}

impl NamedService for FleetService {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<http::Request<Body>> for FleetService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let attend = Attend(self.clone());
        Box::pin(async move {
            if request.uri().path() != ATTEND_PATH {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let codec = JsonCodec::<ToWorker, FromWorker>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX);
            Ok(grpc.streaming(attend, request).await)
        })
    }
}

struct Attend(FleetService);

impl StreamingService<FromWorker> for Attend {
    type Response = ToWorker;
    type ResponseStream = ReceiverStream<Result<ToWorker, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<FromWorker>>) -> Self::Future {
        let FleetService {
            membership,
            shutdown,
        } = self.0.clone();
        let (says, answers) = mpsc::channel(MESSAGES_WAITING_MAX);
        // Ends with the worker's stream, with its silence, or with the server.
        tokio::spawn(async move {
            let hears = request.into_inner();
            tokio::select! {
                () = listen(&membership, hears, says) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Box::pin(std::future::ready(Ok(Response::new(ReceiverStream::new(
            answers,
        )))))
    }
}

async fn listen(
    membership: &Arc<Membership>,
    mut hears: Streaming<FromWorker>,
    says: mpsc::Sender<Result<ToWorker, Status>>,
) {
    let Ok(Ok(Some(FromWorker::Register(registration)))) =
        timeout(REGISTER_WITHIN, hears.message()).await
    else {
        return;
    };
    let seat = match membership.register(registration, says.clone()) {
        Ok(seat) => seat,
        Err(error) => {
            tracing::warn!(error = %error, "refused a worker");
            // The receiver is gone only if the worker is.
            let _ = says.send(Ok(ToWorker::Refused(error))).await;
            return;
        }
    };
    if says.send(Ok(ToWorker::Registered)).await.is_err() {
        return;
    }
    tokio::select! {
        () = hear(&seat, hears) => {}
        () = command(&seat, &says) => {}
    }
}

/// Passes on the orders about connections, until the worker does not listen any more.
async fn command(seat: &Seat, says: &mpsc::Sender<Result<ToWorker, Status>>) {
    loop {
        let orders = seat.connection_orders().await;
        if says.send(Ok(ToWorker::Connections(orders))).await.is_err() {
            return;
        }
    }
}

/// Returns when the worker is not a member any more. A dropped seat counts as lost.
async fn hear(seat: &Seat, mut hears: Streaming<FromWorker>) {
    loop {
        match timeout(SILENCE_MAX, hears.message()).await {
            Ok(Ok(Some(FromWorker::Heartbeat(heartbeat)))) => {
                if !seat.heard(heartbeat) {
                    return;
                }
            }
            Ok(Ok(Some(FromWorker::Connections(needs)))) => seat.hear_connections(needs),
            Ok(Ok(Some(FromWorker::Leave))) => return seat.left(),
            Ok(Ok(Some(FromWorker::Register(_)))) => return seat.lost("it registered twice"),
            Ok(Ok(None) | Err(_)) => return seat.lost("it closed its connection"),
            Err(_) => {
                let silence = format!("it sent no heartbeat for {} s", SILENCE_MAX.as_secs());
                return seat.lost(&silence);
            }
        }
    }
}
