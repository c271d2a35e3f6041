//! Opens connections, and closes them so that it is known when the server has closed them too.
//!
//! The client library hangs up without waiting for the server, whose process may live a moment longer
//! and would be one too many once the lease is given to somebody else. So the socket is our own: closing
//! it ends with the server's last byte. Relies on the library for everything that is said over it.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::ClientWrapper;
use futures::future::BoxFuture;
use rand::seq::SliceRandom;
use sluice_spi::{ConnectionLease, Dial, Error, Result, SqlState};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{connect_error, unreachable_error};

/// What every session is set to before its first statement. Text that crosses the wire must mean the
/// same whatever the role's own settings are, and this connector only reads.
const SESSION: &str = "\
SET TIME ZONE 'UTC'; \
SET datestyle = 'ISO, YMD'; \
SET intervalstyle = 'postgres'; \
SET extra_float_digits = 1; \
SET bytea_output = 'hex'; \
SET standard_conforming_strings = on; \
SET transform_null_equals = off; \
SET default_transaction_read_only = on";

/// Lets a server (14 and newer) notice within two seconds that a statement's client is gone: the
/// connections of a worker that died are counted for a bounded time only. Not every platform can.
const NOTICE_LOST_CLIENTS: &str = "SET client_connection_check_interval = '2s'";

/// The first version that knows it.
const NOTICES_LOST_CLIENTS: u32 = 14;

/// The server has this long to close its end before ours is closed without it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// After a socket was closed without the server's goodbye, its process may live this long.
const UNSEEN_END: Duration = Duration::from_secs(3);

/// After the server said that it ends a session, its process is gone by then.
const ANNOUNCED_END: Duration = Duration::from_millis(200);

/// An open connection. Dropping it closes it.
pub(crate) struct ServerConnection {
    pub(crate) client: ClientWrapper,
    address: Address,
    tls: Option<MakeRustlsConnect>,
}

/// Where a server listens.
#[derive(Clone)]
enum Address {
    Tcp(std::net::SocketAddr, Option<String>),
    Unix(PathBuf),
}

impl Address {
    /// The name that the server's certificate should have. There is no TLS over local sockets.
    fn tls_name(&self) -> Option<String> {
        match self {
            Address::Tcp(_, Some(name)) => Some(name.clone()),
            Address::Tcp(address, None) => Some(address.ip().to_string()),
            Address::Unix(_) => None,
        }
    }
}

/// Opens connections to one catalog's server.
#[derive(Clone)]
pub(crate) struct Dialer(Arc<Settings>);

struct Settings {
    catalog: Arc<str>,
    config: Config,
    /// `None` where TLS is off.
    tls: Option<MakeRustlsConnect>,
    /// For all addresses and the login together.
    timeout: Duration,
}

/// Why no connection came about.
enum Failure {
    /// No server was met.
    Unreached(io::Error),
    /// The server, or the protocol with it, failed.
    Server(tokio_postgres::Error),
    /// The server is not of the kind that `target_session_attrs` asks for.
    Unsuitable(&'static str),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Server(error)
    }
}

type Driver = BoxFuture<'static, std::result::Result<(), tokio_postgres::Error>>;

impl Dialer {
    pub(crate) fn new(
        catalog: &str,
        config: Config,
        tls: Option<MakeRustlsConnect>,
        timeout: Duration,
    ) -> Self {
        Dialer(Arc::new(Settings {
            catalog: catalog.into(),
            config,
            tls,
            timeout,
        }))
    }
}

#[async_trait]
impl Dial for Dialer {
    type Connection = ServerConnection;

    async fn dial(&self, lease: ConnectionLease) -> Result<ServerConnection> {
        let settings = self.0.clone();
        // In a task, so that a query that gives up does not give the lease back while the server still
        // starts the session. It ends within the timeout.
        let opening = tokio::spawn(async move { settings.open(lease).await });
        opening
            .await
            .map_err(|e| Error::internal(format!("a connection's task ended: {e}")))?
    }

    fn is_open(&self, connection: &ServerConnection) -> bool {
        !connection.client.is_closed()
    }
}

impl ServerConnection {
    /// What asks the server to cancel the statement that runs now, over a connection of its own.
    pub(crate) fn canceller(&self) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let (token, address, tls) = (
            self.client.cancel_token(),
            self.address.clone(),
            self.tls.clone(),
        );
        async move { cancel(token, address, tls).await }
    }
}

async fn cancel(
    token: CancelToken,
    address: Address,
    tls: Option<MakeRustlsConnect>,
) -> io::Result<()> {
    let socket = match &address {
        Address::Tcp(address, _) => Socket::Tcp(TcpStream::connect(address).await?),
        Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
    };
    let socket = ClosingSocket::new(socket);
    let done = match tls.zip(address.tls_name()) {
        None => token.cancel_query_raw(socket, NoTls).await,
        Some((mut tls, host)) => {
            let tls = MakeTlsConnect::<ClosingSocket>::make_tls_connect(&mut tls, &host)
                .map_err(io::Error::other)?;
            token.cancel_query_raw(socket, tls).await
        }
    };
    done.map_err(io::Error::other)
}

impl Settings {
    async fn open(&self, lease: ConnectionLease) -> Result<ServerConnection> {
        let catalog = &self.catalog;
        match timeout(self.timeout, self.connect()).await {
            Ok(Ok((client, driver, address))) => {
                let (alive, gone) = oneshot::channel::<()>();
                // Ends when the client is dropped, and says so by ending: the client library's wrapper
                // aborts it.
                let watched = tokio::spawn(async move {
                    let _alive = alive;
                    std::future::pending::<()>().await;
                });
                // Owned by the client: ends when that is gone, in bounded time.
                tokio::spawn(drive(driver, gone, lease));
                Ok(ServerConnection {
                    client: ClientWrapper::new(client, watched),
                    address,
                    tls: self.tls.clone(),
                })
            }
            Ok(Err(Failure::Unreached(error))) => {
                drop(lease);
                Err(unreachable_error(catalog, &error))
            }
            Ok(Err(Failure::Server(error))) => {
                keep(lease, ANNOUNCED_END);
                Err(connect_error(catalog, &error))
            }
            Ok(Err(Failure::Unsuitable(why))) => {
                keep(lease, ANNOUNCED_END);
                Err(unreachable_error(catalog, &io::Error::other(why)))
            }
            Err(_) => {
                keep(lease, UNSEEN_END);
                let waited = self.timeout;
                Err(Error::new(
                    SqlState::CONNECTION_FAILURE,
                    format!(
                        "could not connect to the source of catalog \"{catalog}\": no answer within {waited:?}"
                    ),
                )
                .with_hint("Is the server running at the address in the catalog's file?")
                .with_source(catalog.as_ref()))
            }
        }
    }

    /// The first host that answers as it should.
    async fn connect(&self) -> std::result::Result<(Client, Driver, Address), Failure> {
        let config = &self.config;
        let (hosts, addresses, ports) = (
            config.get_hosts(),
            config.get_hostaddrs(),
            config.get_ports(),
        );
        let mut order: Vec<usize> = (0..hosts.len().max(addresses.len())).collect();
        let random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        if random {
            order.shuffle(&mut rand::rng());
        }
        let mut failure = Failure::Unreached(io::Error::other("no host is configured"));
        for index in order {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            // TLS checks the name of the host, wherever it was found.
            let name = match hosts.get(index) {
                Some(Host::Tcp(name)) => Some(name.clone()),
                _ => None,
            };
            let found = match (addresses.get(index), hosts.get(index)) {
                (Some(ip), _) => Ok(vec![Address::Tcp((*ip, port).into(), name)]),
                (None, Some(Host::Unix(folder))) => {
                    Ok(vec![Address::Unix(folder.join(format!(".s.PGSQL.{port}")))])
                }
                (None, _) => resolve(name, port, random).await,
            };
            let candidates = match found {
                Ok(candidates) => candidates,
                Err(error) => {
                    failure = Failure::Unreached(error);
                    continue;
                }
            };
            for address in candidates {
                match self.connect_to(&address).await {
                    Ok((client, driver)) => return Ok((client, driver, address)),
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    async fn connect_to(
        &self,
        address: &Address,
    ) -> std::result::Result<(Client, Driver), Failure> {
        let config = &self.config;
        let socket = self.socket(address).await.map_err(Failure::Unreached)?;
        let (client, mut driver, version) = match self.tls.as_ref().zip(address.tls_name()) {
            None => {
                let (client, connection) = config.connect_raw(socket, NoTls).await?;
                let version = major_version(connection.parameter("server_version"));
                (client, Box::pin(connection) as Driver, version)
            }
            Some((tls, host)) => {
                let mut tls = tls.clone();
                let tls = MakeTlsConnect::<ClosingSocket>::make_tls_connect(&mut tls, &host)
                    .map_err(|e| Failure::Unreached(io::Error::other(e)))?;
                let (client, connection) = config.connect_raw(socket, tls).await?;
                let version = major_version(connection.parameter("server_version"));
                (client, Box::pin(connection) as Driver, version)
            }
        };
        let prepare = async {
            let wanted = config.get_target_session_attrs();
            if wanted != TargetSessionAttrs::Any {
                let rows = client.simple_query("SHOW transaction_read_only").await?;
                let read_only = rows.iter().any(|message| {
                    matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on"))
                });
                match wanted {
                    TargetSessionAttrs::ReadWrite if read_only => {
                        return Err(Failure::Unsuitable("database does not allow writes"));
                    }
                    TargetSessionAttrs::ReadOnly if !read_only => {
                        return Err(Failure::Unsuitable("database is not read only"));
                    }
                    _ => {}
                }
            }
            // In one breath. A platform that cannot notice lost clients refuses the second, which is as
            // good as not asking.
            let notice = async {
                if version >= NOTICES_LOST_CLIENTS {
                    let _ = client.batch_execute(NOTICE_LOST_CLIENTS).await;
                }
            };
            let (set, ()) = futures::join!(client.batch_execute(SESSION), notice);
            set.map_err(Failure::Server)
        };
        tokio::select! {
            biased;
            prepared = prepare => prepared?,
            ended = &mut driver => {
                ended?;
                return Err(Failure::Unreached(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok((client, driver))
    }

    async fn socket(&self, address: &Address) -> io::Result<ClosingSocket> {
        let config = &self.config;
        let opening = async {
            Ok::<Socket, io::Error>(match address {
                Address::Tcp(address, _) => Socket::Tcp(TcpStream::connect(address).await?),
                Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
            })
        };
        let socket = match config.get_connect_timeout() {
            None => opening.await?,
            Some(patience) => timeout(*patience, opening)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))??,
        };
        if let Socket::Tcp(stream) = &socket {
            stream.set_nodelay(true)?;
            let socket = SockRef::from(stream);
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
            if config.get_keepalives() {
                let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
                if let Some(interval) = config.get_keepalives_interval() {
                    keepalive = keepalive.with_interval(interval);
                }
                if let Some(retries) = config.get_keepalives_retries() {
                    keepalive = keepalive.with_retries(retries);
                }
                socket.set_tcp_keepalive(&keepalive)?;
            }
        }
        Ok(ClosingSocket::new(socket))
    }
}

async fn resolve(name: Option<String>, port: u16, random: bool) -> io::Result<Vec<Address>> {
    let host = name.clone().unwrap_or_default();
    let mut found: Vec<_> = tokio::net::lookup_host((host.as_str(), port))
        .await?
        .collect();
    if random {
        found.shuffle(&mut rand::rng());
    }
    if found.is_empty() {
        return Err(io::Error::other("could not resolve any addresses"));
    }
    Ok(found
        .into_iter()
        .map(|address| Address::Tcp(address, name.clone()))
        .collect())
}

/// 15 of "15.14 (Debian 15.14-0+deb12u1)"; 0 where it is not to be read.
fn major_version(version: Option<&str>) -> u32 {
    let digits = version
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Carries a connection until the server has closed it, and then gives its lease back.
async fn drive(driver: Driver, gone: oneshot::Receiver<()>, lease: ConnectionLease) {
    let overdue = async {
        let _ = gone.await;
        sleep(CLOSE_TIMEOUT).await;
    };
    let linger = tokio::select! {
        ended = driver => match ended {
            Ok(()) => Duration::ZERO,
            Err(error) => {
                // The statement that runs now, or the next that asks, reports it.
                tracing::debug!(%error, "connection to a PostgreSQL source ended");
                if error.is_closed() { Duration::ZERO } else { ANNOUNCED_END }
            }
        },
        () = lease.revoked() => UNSEEN_END,
        () = overdue => UNSEEN_END,
    };
    sleep(linger).await;
    drop(lease);
}

/// Gives a lease back after a time.
fn keep(lease: ConnectionLease, time: Duration) {
    tokio::spawn(async move {
        sleep(time).await;
        drop(lease);
    });
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket whose shutdown ends when the peer has closed its end too.
struct ClosingSocket {
    socket: Socket,
    shut: bool,
}

/// Read and forgotten at a time while the peer says its last.
const LAST_WORDS_BYTES: usize = 16 << 10;

impl ClosingSocket {
    fn new(socket: Socket) -> Self {
        ClosingSocket {
            socket,
            shut: false,
        }
    }
}

impl AsyncRead for ClosingSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClosingSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            let shut = match &mut self.socket {
                Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
                Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            };
            // A socket that is closed already has nothing to wait for.
            if ready!(shut).is_err() {
                return Poll::Ready(Ok(()));
            }
            self.shut = true;
        }
        let mut bytes = [0; LAST_WORDS_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(self.as_mut().poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                Ok(()) => {}
                Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
