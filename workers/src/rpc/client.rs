//! Outgoing connections: how fast they must open, how silent they may be, and the secret they show.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use sluice_spi::{Error, Result, SqlState};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{HeaderValue, Request as HttpRequest, Response as HttpResponse, header};
use tonic::transport::channel::ResponseFuture;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use url::Url;

use super::RpcRuntime;
use super::wire::{ATTEND_PATH, FromWorker, JsonCodec, MESSAGE_BYTES_MAX, ToWorker};
use crate::failure::display_url;

/// A peer in the same network that does not accept within two seconds is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A ping each second, so that with the timeout below a silent peer is noticed after four.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Longer than any pause of a healthy process: pings are answered by threads that run no query.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Also lets the kernel notice peers that vanished while nothing was being sent.
const TCP_KEEPALIVE: Duration = Duration::from_secs(10);

/// The fleet's secret as the header that carries it.
#[derive(Clone)]
pub(crate) struct Secret(HeaderValue);

impl Secret {
    pub(crate) fn new(secret: &sluice_spi::Secret<String>) -> Result<Self> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", secret.expose())).map_err(|_| {
                Error::new(
                    SqlState::CONFIG_FILE_ERROR,
                    "rpc.secret: only visible ASCII characters are allowed",
                )
            })?;
        value.set_sensitive(true);
        Ok(Secret(value))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A connection that shows the secret with each call.
#[derive(Clone)]
pub(crate) struct SecretChannel {
    channel: Channel,
    secret: Option<Secret>,
}

impl Service<HttpRequest<Body>> for SecretChannel {
    type Response = HttpResponse<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, mut request: HttpRequest<Body>) -> Self::Future {
        if let Some(Secret(value)) = &self.secret {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, value.clone());
        }
        Service::call(&mut self.channel, request)
    }
}

/// Connects to the RPC port of another process. The error says why it could not.
pub(crate) async fn connect(
    rpc: &Arc<RpcRuntime>,
    url: &Url,
    secret: Option<Secret>,
) -> std::result::Result<SecretChannel, String> {
    if url.scheme() != "http" {
        return Err(format!(
            "only http:// addresses are supported, not \"{}\"",
            display_url(url)
        ));
    }
    let endpoint = Endpoint::from_shared(url.to_string())
        .map_err(|e| format!("\"{url}\" is not an address: {e}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(TCP_KEEPALIVE));
    // Opened over there, so that the connection's own tasks, now and after each reconnect, run on the
    // threads that only answer. The timeout also bounds the HTTP/2 handshake, which the connect timeout
    // does not cover.
    let opening = rpc
        .handle()
        .spawn(async move { tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await });
    match AbortOnDropHandle::new(opening).await {
        Ok(Ok(Ok(channel))) => Ok(SecretChannel { channel, secret }),
        Ok(Ok(Err(e))) => Err(causes(&e)),
        Ok(Err(_)) => Err(format!(
            "no connection within {} s",
            CONNECT_TIMEOUT.as_secs()
        )),
        Err(e) => Err(format!("the connection's task ended: {e}")),
    }
}

/// Opens the stream of a member: what it says goes in, what the coordinator says comes out.
pub(crate) async fn attend(
    channel: SecretChannel,
    says: impl Stream<Item = FromWorker> + Send + 'static,
) -> std::result::Result<Streaming<ToWorker>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready()
        .await
        .map_err(|e| Status::unavailable(causes(&e)))?;
    let codec = JsonCodec::<FromWorker, ToWorker>::default();
    let path = PathAndQuery::from_static(ATTEND_PATH);
    Ok(grpc
        .streaming(Request::new(says), path, codec)
        .await?
        .into_inner())
}

/// An error with its causes: the outermost alone only says "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
