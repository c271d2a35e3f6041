//! The source of one catalog: its pool, its sessions, and the guard that leaves no statement running.
//!
//! Relies on the contract's pool, and so on the fleet's budget of connections. Connects lazily, so that a
//! source that is down fails its queries only. A connection goes back to the pool only when nothing runs on
//! it and its session is as it was made; anything else is killed at the server and closed. A MySQL server
//! notices that a client is gone when it writes to it, which a sort or a join may do much later: so the kill
//! comes from a second, short connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error as ClientError, Opts, Params, Row};
use sluice_spi::{
    ConnectionBudget, ConnectionLease, ConnectionPool, Dial, Error, PoolTimes, Pooled, Result,
    SqlState,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Reading, Target, TlsMode};
use crate::error::{connect_error, is_connection_lost, statement_error};
use crate::version::Version;

/// The SQL mode of every session: MySQL's own defaults, said outright, without the modes that change what
/// text means (`ANSI_QUOTES`, `NO_BACKSLASH_ESCAPES`, `PAD_CHAR_TO_FULL_LENGTH`, `HIGH_NOT_PRECEDENCE`).
/// Constants are written so that they mean the same under any of them. Strict, so that a value that does
/// not fit is an error and never cut.
const SQL_MODE: &str = "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
                        NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO";

/// Seconds that the server waits for us to take rows. A client that reads slowly stops the plan, and the
/// server's default of a minute would end its query.
const NET_WRITE_TIMEOUT_SECONDS: u32 = 24 * 3_600;

/// A kill that has no answer by then is given up: the closed socket ends the statement too, only later.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// One catalog's server.
pub(crate) struct Source {
    catalog: Arc<str>,
    pool: ConnectionPool<Sessions>,
    killer: Arc<Killer>,
    max_connections: usize,
    wait_timeout: Duration,
    writers: Arc<Semaphore>,
    pub(crate) reading: Reading,
    pub(crate) read_only: bool,
    pub(crate) allow_execute: bool,
}

impl Source {
    /// Makes the pool. Opens nothing.
    pub(crate) fn new(catalog: &str, target: Target, budget: Arc<dyn ConnectionBudget>) -> Source {
        let plain = Opts::from(target.client.clone());
        let secured = Opts::from(target.client.ssl_opts(target.tls.clone()));
        let killer = Arc::new(Killer {
            door: Door {
                plain,
                secured,
                mode: target.tls_mode,
                refused_tls: AtomicBool::new(false),
            },
        });
        let sessions = Sessions {
            catalog: catalog.into(),
            killer: killer.clone(),
            options: target.options,
            connect_timeout: target.connect_timeout,
        };
        let times = PoolTimes {
            wait_timeout: target.wait_timeout,
            idle_timeout: target.idle_timeout,
        };
        Source {
            catalog: catalog.into(),
            pool: ConnectionPool::new(catalog, sessions, budget, times),
            killer,
            max_connections: target.max_connections,
            wait_timeout: target.wait_timeout,
            writers: Arc::new(Semaphore::new((target.max_connections / 2).max(1))),
            reading: target.reading,
            read_only: target.read_only,
            allow_execute: target.allow_execute,
        }
    }

    pub(crate) fn catalog(&self) -> &str {
        &self.catalog
    }

    /// Connections that may be open at once.
    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// A connection with nothing running on it.
    pub(crate) async fn session(&self) -> Result<Session> {
        Ok(Session {
            connection: Some(self.pool.get().await?),
            killer: self.killer.clone(),
            running: false,
            private: false,
            permit: None,
        })
    }

    /// The right to hold one of the connections that write: half of them at most.
    pub(crate) async fn writer(&self) -> Result<OwnedSemaphorePermit> {
        let permit = self.writers.clone().acquire_owned();
        match tokio::time::timeout(self.wait_timeout, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::internal("the connections of a catalog were closed")),
            Err(_) => Err(self.pool.timed_out()),
        }
    }

    /// A connection turned out to be gone: a restart takes its idle neighbours along, and the client may
    /// not have noticed yet.
    pub(crate) fn forget_idle(&self) {
        self.pool.forget_idle();
    }

    /// Which server answers.
    pub(crate) async fn version(&self) -> Result<Version> {
        Ok(self.session().await?.connection().version)
    }

    /// Asks a few small questions on one connection: the rows of each. A connection that the server
    /// closed while it was idle is replaced once.
    pub(crate) async fn ask(&self, questions: &[(&str, Params)]) -> Result<Answers> {
        let mut attempts = 2;
        loop {
            attempts -= 1;
            let mut session = self.session().await?;
            match session.answers(questions).await {
                Ok(answers) => return Ok(answers),
                Err(error) if attempts > 0 && is_connection_lost(&error) => {
                    drop(session);
                    self.forget_idle();
                }
                Err(error) => return Err(statement_error(&self.catalog, &error)),
            }
        }
    }
}

/// Rows of a few questions, and who answered.
pub(crate) struct Answers {
    pub(crate) rows: Vec<Vec<Row>>,
    pub(crate) version: Version,
}

/// How to open a connection.
struct Door {
    plain: Opts,
    secured: Opts,
    mode: TlsMode,
    /// The server had no TLS when it was asked last (`prefer` only).
    refused_tls: AtomicBool,
}

impl Door {
    async fn open(&self) -> std::result::Result<Conn, ClientError> {
        match self.mode {
            TlsMode::Disable => Conn::new(self.plain.clone()).await,
            TlsMode::Prefer if self.refused_tls.load(Ordering::Relaxed) => {
                Conn::new(self.plain.clone()).await
            }
            TlsMode::Prefer => match Conn::new(self.secured.clone()).await {
                Err(ClientError::Driver(DriverError::NoClientSslFlagFromServer)) => {
                    let conn = Conn::new(self.plain.clone()).await?;
                    self.refused_tls.store(true, Ordering::Relaxed);
                    Ok(conn)
                }
                other => other,
            },
            _ => Conn::new(self.secured.clone()).await,
        }
    }
}

/// A connection and what the server said about itself. Dropped, it says goodbye, and gives its lease back
/// when the server has heard that.
pub(crate) struct Connection {
    /// `None` only inside of `drop`.
    conn: Option<Conn>,
    pub(crate) version: Version,
    /// The largest statement that the server takes, in bytes.
    pub(crate) max_allowed_packet: usize,
    place: Place,
    lease: Arc<ConnectionLease>,
    /// Ends the session at the server when the lease is revoked.
    watch: tokio::task::AbortHandle,
}

impl Connection {
    /// The client's side of the connection.
    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.conn
            .as_mut()
            .expect("only drop takes the connection, and nothing asks after it")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watch.abort();
        let Some(conn) = self.conn.take() else {
            return;
        };
        let lease = self.lease.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // No runtime: the process is going down, and the socket with it.
            return;
        };
        // Not owned by anyone, since its owner is gone: bounded by KILL_TIMEOUT instead.
        runtime.spawn(async move {
            // Without reading what the server still sends.
            let _ = tokio::time::timeout(KILL_TIMEOUT, conn.disconnect()).await;
            drop(lease);
        });
    }
}

/// Which session of which server. The number in the greeting is a proxy's, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    thread: u64,
    host: String,
    port: u64,
}

/// Opens connections and makes their sessions alike.
struct Sessions {
    catalog: Arc<str>,
    killer: Arc<Killer>,
    options: Option<String>,
    connect_timeout: Duration,
}

#[async_trait]
impl Dial for Sessions {
    type Connection = Connection;

    async fn dial(&self, lease: ConnectionLease) -> Result<Connection> {
        match tokio::time::timeout(self.connect_timeout, self.open()).await {
            Ok(Ok((conn, version, max_allowed_packet, place))) => {
                let lease = Arc::new(lease);
                let (killer, revocable, lost) = (self.killer.clone(), lease.clone(), place.clone());
                let watch = tokio::spawn(async move {
                    revocable.revoked().await;
                    killer.kill_in_time(&lost).await;
                });
                Ok(Connection {
                    conn: Some(conn),
                    version,
                    max_allowed_packet,
                    place,
                    lease,
                    watch: watch.abort_handle(),
                })
            }
            Ok(Err(error)) => Err(connect_error(&self.catalog, &error)),
            Err(_) => Err(Error::new(
                SqlState::CONNECTION_FAILURE,
                format!(
                    "could not connect to the source of catalog \"{}\": no answer within {:?}",
                    self.catalog, self.connect_timeout
                ),
            )
            .with_hint("Is the server running at the address in the catalog's file?")
            .with_source(self.catalog.as_ref())),
        }
    }

    fn is_open(&self, connection: &Connection) -> bool {
        connection
            .conn
            .as_ref()
            .is_some_and(|conn| !conn.is_disconnected())
    }
}

impl Sessions {
    async fn open(&self) -> std::result::Result<(Conn, Version, usize, Place), ClientError> {
        let mut conn = self.killer.door.open().await?;
        let facts: Option<(u64, String, u64, String, usize)> = conn
            .query_first(
                "SELECT CONNECTION_ID(), @@hostname, @@port, @@version, @@max_allowed_packet",
            )
            .await?;
        let (thread, host, port, version, max_allowed_packet) =
            facts.ok_or(DriverError::ConnectionClosed)?;
        let version = Version::parse(&version);
        if let Some(options) = &self.options {
            conn.query_drop(format!("SET SESSION {options}")).await?;
        }
        conn.query_drop("SET NAMES utf8mb4").await?;
        conn.query_drop(format!(
            "SET SESSION time_zone = '+00:00', SESSION sql_mode = '{SQL_MODE}', \
             SESSION sql_auto_is_null = 0, SESSION sql_select_limit = 18446744073709551615, \
             SESSION sql_big_selects = 1, SESSION net_write_timeout = {NET_WRITE_TIMEOUT_SECONDS}, \
             SESSION autocommit = 1"
        ))
        .await?;
        // One statement sees one state of the tables.
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        if version.has_read_only() {
            conn.query_drop("SET SESSION TRANSACTION READ ONLY").await?;
        }
        let place = Place { thread, host, port };
        Ok((conn, version, max_allowed_packet, place))
    }
}

/// Ends statements of connections that are given up.
struct Killer {
    door: Door,
}

impl Killer {
    /// Ends the session at `place`. Behind a load balancer, another server may answer: its sessions are
    /// left alone.
    async fn kill(&self, place: &Place) -> std::result::Result<(), ClientError> {
        let mut conn = self.door.open().await?;
        let here: Option<(String, u64)> = conn.query_first("SELECT @@hostname, @@port").await?;
        if here.is_some_and(|(host, port)| host == place.host && port == place.port) {
            // The session and not its statement: KILL QUERY does nothing where the statement has been
            // sent but not begun.
            match conn.query_drop(format!("KILL {}", place.thread)).await {
                // It has ended by itself.
                Err(ClientError::Server(error)) if error.code == 1094 => {}
                other => other?,
            }
        }
        conn.disconnect().await
    }

    async fn kill_in_time(&self, place: &Place) {
        match tokio::time::timeout(KILL_TIMEOUT, self.kill(place)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "could not kill a session of a MySQL source");
            }
            Err(_) => tracing::debug!("a MySQL source did not answer to a kill"),
        }
    }
}

/// A connection on loan. Dropped while a statement runs, it kills the session at the server and closes
/// the connection.
pub(crate) struct Session {
    /// `None` only inside of `drop`.
    connection: Option<Pooled<Sessions>>,
    killer: Arc<Killer>,
    running: bool,
    private: bool,
    /// Given back with the session.
    permit: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.connection
            .as_mut()
            .expect("only drop takes the connection, and nothing asks after it")
    }

    /// The client's side of the connection.
    pub(crate) fn conn(&mut self) -> &mut Conn {
        self.connection().conn()
    }

    /// A statement is about to run: until [`Session::idle`], a drop kills it.
    pub(crate) fn run(&mut self) {
        self.running = true;
    }

    /// The statement has ended, by its last row or by the server's error.
    pub(crate) fn idle(&mut self) {
        self.running = false;
    }

    /// The session runs the user's own text, or writes: nobody else gets it.
    pub(crate) fn make_private(&mut self) {
        self.private = true;
    }

    /// Keeps the right to write for as long as the session lives.
    pub(crate) fn keep(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    async fn answers(
        &mut self,
        questions: &[(&str, Params)],
    ) -> std::result::Result<Answers, ClientError> {
        let mut rows = Vec::with_capacity(questions.len());
        self.run();
        for (sql, params) in questions {
            match self.conn().exec(*sql, params.clone()).await {
                Ok(answer) => rows.push(answer),
                Err(error) => {
                    self.idle();
                    return Err(error);
                }
            }
        }
        self.idle();
        Ok(Answers {
            rows,
            version: self.connection().version,
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if !self.running {
            if self.private {
                connection.close();
            }
            return;
        }
        let connection = connection.detach();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let killer = self.killer.clone();
        // Not owned by anyone, since its owner is gone: bounded by KILL_TIMEOUT instead. The connection
        // keeps its lease until the server has heard of the kill.
        runtime.spawn(async move {
            killer.kill_in_time(&connection.place).await;
            drop(connection);
        });
    }
}
