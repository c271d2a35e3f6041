//! Who is connected: one entry per session, for CancelRequest, `pg_stat_activity`, `pg_cancel_backend`,
//! `pg_terminate_backend`, `set_config` and `pg_cursors`.
//!
//! An entry lives as long as its connection. Never holds results, plans or a way into another's data.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use sluice_spi::Result;
use tokio_util::sync::CancellationToken;

use super::settings::{Scope, Settings};

/// What a session does, as `pg_stat_activity.state` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Runs a statement.
    Active,
    /// Waits for the client.
    Idle,
    /// Waits for the client, in a transaction.
    IdleInTransaction,
    /// Waits for the client, in a failed transaction.
    IdleInFailedTransaction,
}

impl State {
    /// PostgreSQL's words.
    pub fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Idle => "idle",
            State::IdleInTransaction => "idle in transaction",
            State::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// A line of `pg_stat_activity`.
#[derive(Debug, Clone)]
pub struct Activity {
    /// The backend's process id.
    pub pid: i32,
    /// Who is logged in.
    pub user: Arc<str>,
    /// The current database.
    pub database: Arc<str>,
    /// `application_name`.
    pub application_name: String,
    /// Where the client is.
    pub client_address: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// What it does.
    pub state: State,
    /// The current or latest statement.
    pub query: Arc<str>,
    /// When the session began.
    pub backend_start: SystemTime,
    /// When the current or latest statement began.
    pub query_start: Option<SystemTime>,
    /// When the current transaction began.
    pub transaction_start: Option<SystemTime>,
    /// When `state` changed.
    pub state_change: SystemTime,
}

/// A line of `pg_cursors`.
#[derive(Debug, Clone)]
pub struct CursorInfo {
    /// Its name.
    pub name: String,
    /// Its query.
    pub statement: String,
    /// Whether it outlives its transaction.
    pub is_holdable: bool,
    /// Whether `FETCH` sends binary values.
    pub is_binary: bool,
    /// When it was declared.
    pub creation_time: SystemTime,
}

#[derive(Debug)]
struct Now {
    state: State,
    query: Arc<str>,
    query_start: Option<SystemTime>,
    transaction_start: Option<SystemTime>,
    state_change: SystemTime,
    /// Ends the statement that runs.
    cancel: Option<CancellationToken>,
    cursors: Arc<Vec<CursorInfo>>,
}

/// What others may see and do of a session.
#[derive(Debug)]
pub struct SessionEntry {
    /// The backend's process id.
    pub pid: i32,
    /// Who is logged in.
    pub user: Arc<str>,
    /// The current database.
    pub database: Arc<str>,
    /// Where the client is.
    pub client_address: Option<SocketAddr>,
    tls: bool,
    secret: Vec<u8>,
    backend_start: SystemTime,
    terminate: CancellationToken,
    settings: Mutex<Settings>,
    now: Mutex<Now>,
}

impl SessionEntry {
    /// Ends the session with 57P01 when cancelled.
    pub fn termination(&self) -> &CancellationToken {
        &self.terminate
    }

    /// Works on the session's settings.
    pub fn with_settings<R>(&self, work: impl FnOnce(&mut Settings) -> R) -> R {
        work(&mut self.settings.lock())
    }

    /// `set_config(name, value, is_local)`: gives the value as `SHOW` prints it.
    pub fn set_config(&self, name: &str, value: &str, is_local: bool) -> Result<String> {
        let mut settings = self.settings.lock();
        settings.set(
            if is_local {
                Scope::Local
            } else {
                Scope::Session
            },
            name,
            value,
        )?;
        settings.show(name)
    }

    /// The session's open cursors.
    pub fn cursors(&self) -> Arc<Vec<CursorInfo>> {
        Arc::clone(&self.now.lock().cursors)
    }

    pub(super) fn publish_cursors(&self, cursors: Vec<CursorInfo>) {
        self.now.lock().cursors = Arc::new(cursors);
    }

    /// A statement begins; `cancel` ends it.
    pub fn begin_statement(&self, query: &Arc<str>, cancel: CancellationToken) {
        let mut now = self.now.lock();
        let time = SystemTime::now();
        now.state = State::Active;
        now.query = Arc::clone(query);
        now.query_start = Some(time);
        now.state_change = time;
        now.transaction_start.get_or_insert(time);
        now.cancel = Some(cancel);
    }

    /// The statement ended; a CancelRequest finds nothing to cancel from here on.
    pub fn end_statement(&self) {
        self.now.lock().cancel = None;
    }

    /// The session waits for its client.
    pub fn rest(&self, state: State) {
        let mut now = self.now.lock();
        now.cancel = None;
        if now.state != state {
            now.state = state;
            now.state_change = SystemTime::now();
        }
        if state == State::Idle {
            now.transaction_start = None;
        }
    }

    fn cancel(&self) -> bool {
        match &self.now.lock().cancel {
            Some(cancel) => {
                cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// The session as `pg_stat_activity` shows it.
    pub fn activity(&self) -> Activity {
        let application_name = self.with_settings(|settings| {
            settings
                .get("application_name")
                .unwrap_or_default()
                .to_owned()
        });
        let now = self.now.lock();
        Activity {
            pid: self.pid,
            user: Arc::clone(&self.user),
            database: Arc::clone(&self.database),
            application_name,
            client_address: self.client_address,
            tls: self.tls,
            state: now.state,
            query: Arc::clone(&now.query),
            backend_start: self.backend_start,
            query_start: now.query_start,
            transaction_start: now.transaction_start,
            state_change: now.state_change,
        }
    }
}

/// Every session of this gateway.
#[derive(Debug, Default)]
pub struct SessionRegistry {
    sessions: Mutex<HashMap<i32, Arc<SessionEntry>>>,
    last_pid: AtomicI32,
}

/// What a new session is entered with.
pub struct NewSession {
    /// Who is logged in.
    pub user: Arc<str>,
    /// The current database.
    pub database: Arc<str>,
    /// Where the client is.
    pub client_address: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// What a CancelRequest must know.
    pub secret: Vec<u8>,
    /// Startup parameters over the defaults.
    pub settings: Settings,
    /// Parent of the session's own termination.
    pub parent: CancellationToken,
}

impl SessionRegistry {
    /// An empty registry.
    pub fn new() -> Arc<Self> {
        Arc::new(SessionRegistry::default())
    }

    /// Enters a session; it leaves when the guard is dropped.
    pub fn enter(self: &Arc<Self>, new: NewSession) -> SessionGuard {
        let time = SystemTime::now();
        let mut sessions = self.sessions.lock();
        let pid = loop {
            // Positive, and never one that is in use after two thousand million connections.
            let pid = self
                .last_pid
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(1)
                & i32::MAX;
            if pid > 0 && !sessions.contains_key(&pid) {
                break pid;
            }
        };
        let entry = Arc::new(SessionEntry {
            pid,
            user: new.user,
            database: new.database,
            client_address: new.client_address,
            tls: new.tls,
            secret: new.secret,
            backend_start: time,
            terminate: new.parent.child_token(),
            settings: Mutex::new(new.settings),
            now: Mutex::new(Now {
                state: State::Idle,
                query: Arc::from(""),
                query_start: None,
                transaction_start: None,
                state_change: time,
                cancel: None,
                cursors: Arc::default(),
            }),
        });
        sessions.insert(pid, Arc::clone(&entry));
        SessionGuard {
            registry: Arc::clone(self),
            entry,
        }
    }

    /// A session by its process id.
    pub fn session(&self, pid: i32) -> Option<Arc<SessionEntry>> {
        self.sessions.lock().get(&pid).cloned()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every session, in the order of process ids.
    pub fn list(&self) -> Vec<Activity> {
        let entries: Vec<_> = self.sessions.lock().values().cloned().collect();
        let mut list: Vec<_> = entries.iter().map(|entry| entry.activity()).collect();
        list.sort_by_key(|activity| activity.pid);
        list
    }

    /// Cancels what a session runs (`pg_cancel_backend`). False where there is no such session.
    pub fn cancel(&self, pid: i32) -> bool {
        match self.session(pid) {
            Some(entry) => {
                entry.cancel();
                true
            }
            None => false,
        }
    }

    /// Ends a session (`pg_terminate_backend`). False where there is none.
    pub fn terminate(&self, pid: i32) -> bool {
        match self.session(pid) {
            Some(entry) => {
                entry.terminate.cancel();
                true
            }
            None => false,
        }
    }

    /// A CancelRequest: nothing happens, and nothing is told, when the secret is wrong.
    pub fn cancel_request(&self, pid: i32, secret: &[u8]) {
        if let Some(entry) = self.session(pid) {
            // Compares all bytes, so that the time taken tells nothing of the secret.
            let same = entry.secret.len() == secret.len()
                && entry
                    .secret
                    .iter()
                    .zip(secret)
                    .fold(0u8, |differs, (a, b)| differs | (a ^ b))
                    == 0;
            if same {
                entry.cancel();
            }
        }
    }
}

/// A session's place in the registry.
pub struct SessionGuard {
    registry: Arc<SessionRegistry>,
    entry: Arc<SessionEntry>,
}

impl SessionGuard {
    /// The entry.
    pub fn entry(&self) -> &Arc<SessionEntry> {
        &self.entry
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.registry.sessions.lock().remove(&self.entry.pid);
        self.entry.terminate.cancel();
    }
}
