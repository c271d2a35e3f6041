//! The PostgreSQL front: listens, speaks protocol 3, and hands statements to the engine.
//!
//! Relies on pgwire for SCRAM and for the encoding of small messages, on `session` for state and on
//! [`Engine`] for everything that has to do with data. Never plans, never caches, never collects a result.
//!
//! | file | holds |
//! | --- | --- |
//! | `startup`, `auth`, `tls` | from a socket to a session |
//! | `frame`, `wire`, `message` | bytes to messages and back |
//! | `connection`, `simple`, `extended`, `statements` | the loop and the two protocols |
//! | `rows` | the pipeline of a big result |
//! | `types`, `encode`, `decode` | Arrow to PostgreSQL and back |

mod auth;
mod connection;
mod decode;
pub mod encode;
mod extended;
mod frame;
mod message;
mod rows;
mod simple;
mod startup;
mod statements;
mod tls;
pub mod types;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use auth::Auth;
pub use tls::Tls;

use crate::engine::Engine;
use crate::session::SessionRegistry;
use startup::{Started, refuse};

/// How the front behaves.
#[derive(Clone)]
pub struct FrontConfig {
    /// How clients prove who they are.
    pub auth: Auth,
    /// TLS, where it is configured.
    pub tls: Option<Tls>,
    /// Sessions at once; more are refused with 53300.
    pub max_connections: usize,
    /// From accept to ReadyForQuery; PostgreSQL's `authentication_timeout`.
    pub login_timeout: Duration,
    /// The largest message that a client may send.
    pub max_message_bytes: usize,
    /// How long running statements may go on after a shutdown began.
    pub shutdown_grace: Duration,
}

impl Default for FrontConfig {
    fn default() -> Self {
        FrontConfig {
            auth: Auth::TrustLoopback,
            tls: None,
            max_connections: 200,
            login_timeout: Duration::from_secs(60),
            max_message_bytes: 64 * 1024 * 1024,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// Connections that are not logged in yet, or only carry a cancel request, beyond `max_connections`.
const SPARE_CONNECTIONS: usize = 64;
/// How long a refused client may take to read the reason.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// After a failed accept (out of file descriptors): a pause, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A client whose machine vanished is noticed after a minute and a half of silence.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Between probes of a silent client.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// What all connections share.
pub(crate) struct Front {
    pub(crate) config: FrontConfig,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) sessions: Arc<SessionRegistry>,
    /// Places for sessions.
    pub(crate) places: Arc<Semaphore>,
}

/// Accepts connections until `shutdown`, then drains: idle sessions end at once with 57P01, busy ones
/// after their statement, all after the grace. Returns when the last one is gone.
pub async fn serve(
    listener: TcpListener,
    config: FrontConfig,
    engine: Arc<dyn Engine>,
    sessions: Arc<SessionRegistry>,
    shutdown: CancellationToken,
) {
    let grace = config.shutdown_grace;
    let places = Arc::new(Semaphore::new(config.max_connections));
    let sockets = Arc::new(Semaphore::new(config.max_connections + SPARE_CONNECTIONS));
    let front = Arc::new(Front {
        config,
        engine,
        sessions,
        places,
    });
    let kill = CancellationToken::new();
    let _kill_on_drop = kill.clone().drop_guard();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                // Beyond all spare places nobody can even be told; the socket is closed.
                let Ok(socket) = Arc::clone(&sockets).try_acquire_owned() else {
                    continue;
                };
                let (front, shutdown, kill) = (Arc::clone(&front), shutdown.clone(), kill.clone());
                connections.spawn(async move {
                    let _socket = socket;
                    prepare_socket(&stream);
                    let direct_tls = front.config.tls.is_some() && begins_with_tls(&stream).await;
                    serve_stream(stream, Some(address), direct_tls, &front, &shutdown, &kill).await;
                });
            }
            Err(error) => {
                tracing::warn!("could not accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(grace, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    if drained.is_err() {
        tracing::warn!(
            sessions = connections.len(),
            "the grace is over: ending the statements that still run"
        );
        kill.cancel();
        // Each connection has its own bound on its last words.
        let _ = tokio::time::timeout(REFUSAL_PATIENCE * 2, async {
            while connections.join_next().await.is_some() {}
        })
        .await;
    }
}

/// Serves one connection over any stream: a socket, or a pipe in tests.
pub(crate) async fn serve_stream<S>(
    stream: S,
    address: Option<SocketAddr>,
    direct_tls: bool,
    front: &Arc<Front>,
    shutdown: &CancellationToken,
    kill: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let starting = startup::start(stream, address, direct_tls, front, shutdown, kill);
    // A login that takes too long is dropped without a word, as in PostgreSQL.
    let Ok(started) = tokio::time::timeout(front.config.login_timeout, starting).await else {
        return;
    };
    match started {
        Started::Session(connection, guard, _place) => {
            connection.run().await;
            drop(guard);
        }
        Started::Refused(wire, error) => {
            tracing::info!(
                code = error.code.code(),
                ?address,
                "connection refused: {error}"
            );
            refuse(wire, &error, REFUSAL_PATIENCE).await;
        }
        Started::Over => {}
    }
}

/// Small answers must not wait for more, and a vanished client must be noticed.
fn prepare_socket(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// PostgreSQL 17 clients may begin with the handshake itself (`sslnegotiation=direct`).
async fn begins_with_tls(stream: &TcpStream) -> bool {
    const HANDSHAKE: u8 = 0x16;
    let mut first = [0u8; 1];
    let peeked = tokio::time::timeout(KEEPALIVE_INTERVAL, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first[0] == HANDSHAKE
}

#[cfg(test)]
mod tests;
