//! Every query's life: one state machine, from the first byte planned to the last row sent, and a short
//! history of those that ended.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use sluice_spi::Error;
use tokio_util::sync::CancellationToken;

/// Queries that ended and are still shown. Bounds memory; a dashboard's minute fits.
const HISTORY: usize = 500;

/// Longest text that is kept of a statement: history must not hold megabytes of VALUES.
const TEXT_BYTES: usize = 16 * 1024;

/// Where a query is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryState {
    /// Names, types and plans.
    Planning,
    /// Rows may flow.
    Running,
    /// Every row was sent.
    Finished,
    /// It ended with an error.
    Failed(Error),
    /// Its reader left before the last row.
    Abandoned,
}

impl QueryState {
    /// The word that system tables show.
    pub fn name(&self) -> &'static str {
        match self {
            QueryState::Planning => "planning",
            QueryState::Running => "running",
            QueryState::Finished => "finished",
            QueryState::Failed(_) => "failed",
            QueryState::Abandoned => "abandoned",
        }
    }
}

/// What is known of a query.
#[derive(Debug)]
pub struct QueryEntry {
    /// Its id.
    pub id: Arc<str>,
    /// Its text, cut at 16 KiB.
    pub text: Arc<str>,
    /// Who sent it.
    pub user: Arc<str>,
    /// The current database.
    pub database: Arc<str>,
    /// The session.
    pub backend_pid: i32,
    /// When it came.
    pub started: SystemTime,
    /// Ends it.
    pub cancel: CancellationToken,
    began: Instant,
    rows: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Debug, Clone)]
struct Now {
    state: QueryState,
    planning: Option<Duration>,
    elapsed: Option<Duration>,
    workers: usize,
}

/// A line of `system.runtime.queries`.
#[derive(Debug, Clone)]
pub struct QuerySummary {
    /// The entry.
    pub entry: Arc<QueryEntry>,
    /// Its state.
    pub state: QueryState,
    /// Time spent planning.
    pub planning: Option<Duration>,
    /// Time from its start to its end, or to now.
    pub elapsed: Duration,
    /// Rows sent so far.
    pub rows: u64,
    /// Workers that take part.
    pub workers: usize,
}

impl QueryEntry {
    fn summary(self: &Arc<Self>) -> QuerySummary {
        let now = self.now.lock().clone();
        QuerySummary {
            entry: self.clone(),
            state: now.state,
            planning: now.planning,
            elapsed: now.elapsed.unwrap_or_else(|| self.began.elapsed()),
            rows: self.rows.load(Ordering::Relaxed),
            workers: now.workers,
        }
    }
}

/// The queries of this gateway.
#[derive(Debug)]
pub struct QueryRegistry {
    /// Tells the queries of one gateway's life from another's.
    epoch: String,
    next: AtomicU64,
    running: Mutex<HashMap<Arc<str>, Arc<QueryEntry>>>,
    ended: Mutex<VecDeque<Arc<QueryEntry>>>,
    failed: AtomicU64,
    finished: AtomicU64,
}

/// What a query is entered with.
pub struct NewQuery<'a> {
    /// Its text.
    pub text: &'a Arc<str>,
    /// Who sent it.
    pub user: Arc<str>,
    /// The current database.
    pub database: Arc<str>,
    /// The session.
    pub backend_pid: i32,
    /// Ends it.
    pub cancel: CancellationToken,
}

impl QueryRegistry {
    /// An empty registry.
    pub fn new() -> Arc<Self> {
        let epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis());
        Arc::new(QueryRegistry {
            epoch: format!("{epoch:x}"),
            next: AtomicU64::new(1),
            running: Mutex::default(),
            ended: Mutex::default(),
            failed: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        })
    }

    /// The next query's id, unique over restarts.
    pub fn next_id(&self) -> Arc<str> {
        format!(
            "{}-{}",
            self.epoch,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
        .into()
    }

    /// A query begins. It ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>, id: Arc<str>, new: NewQuery<'_>) -> QueryGuard {
        let text = match new.text.floor_char_boundary(TEXT_BYTES) {
            end if end < new.text.len() => new.text[..end].into(),
            _ => new.text.clone(),
        };
        let entry = Arc::new(QueryEntry {
            id: id.clone(),
            text,
            user: new.user,
            database: new.database,
            backend_pid: new.backend_pid,
            started: SystemTime::now(),
            cancel: new.cancel,
            began: Instant::now(),
            rows: AtomicU64::new(0),
            now: Mutex::new(Now {
                state: QueryState::Planning,
                planning: None,
                elapsed: None,
                workers: 0,
            }),
        });
        self.running.lock().insert(id, entry.clone());
        QueryGuard {
            registry: self.clone(),
            entry,
        }
    }

    /// Running queries first, then those that ended, the latest first.
    pub fn list(&self) -> Vec<QuerySummary> {
        let mut running: Vec<_> = self
            .running
            .lock()
            .values()
            .map(QueryEntry::summary)
            .collect();
        running.sort_by_key(|q| q.entry.began);
        running.extend(self.ended.lock().iter().rev().map(QueryEntry::summary));
        running
    }

    /// How many run, ended well, and failed.
    pub fn counts(&self) -> (usize, u64, u64) {
        (
            self.running.lock().len(),
            self.finished.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }

    /// Ends a query. False where none of that id runs.
    pub fn kill(&self, id: &str) -> bool {
        let found = self.running.lock().get(id).cloned();
        if let Some(entry) = &found {
            entry.cancel.cancel();
        }
        found.is_some()
    }
}

/// A running query's place in the registry.
#[derive(Debug)]
pub struct QueryGuard {
    registry: Arc<QueryRegistry>,
    entry: Arc<QueryEntry>,
}

impl QueryGuard {
    /// The query.
    pub fn entry(&self) -> &Arc<QueryEntry> {
        &self.entry
    }

    /// Its plan is made.
    pub fn planned(&self, planning: Duration, workers: usize) {
        let mut now = self.entry.now.lock();
        now.state = QueryState::Running;
        now.planning = Some(planning);
        now.workers = workers;
    }

    /// Time spent planning, once it is known.
    pub fn planning(&self) -> Duration {
        self.entry.now.lock().planning.unwrap_or_default()
    }

    /// Rows went out.
    pub fn add_rows(&self, rows: usize) {
        self.entry.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// The plan did not fit its source: another one is made.
    pub fn plan_again(&self) {
        self.entry.now.lock().state = QueryState::Planning;
    }

    /// The last row went out.
    pub fn finish(&self) {
        self.entry.now.lock().state = QueryState::Finished;
    }

    /// It ended with an error.
    pub fn fail(&self, error: &Error) {
        self.entry.now.lock().state = QueryState::Failed(error.clone());
    }
}

impl Drop for QueryGuard {
    fn drop(&mut self) {
        let failed = {
            let mut now = self.entry.now.lock();
            now.elapsed = Some(self.entry.began.elapsed());
            if matches!(now.state, QueryState::Planning | QueryState::Running) {
                now.state = QueryState::Abandoned;
            }
            matches!(now.state, QueryState::Failed(_))
        };
        let counter = if failed {
            &self.registry.failed
        } else {
            &self.registry.finished
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.registry.running.lock().remove(&self.entry.id);
        let _oldest = {
            let mut ended = self.registry.ended.lock();
            ended.push_back(self.entry.clone());
            // Dropped after the lock is free.
            (ended.len() > HISTORY).then(|| ended.pop_front())
        };
    }
}
