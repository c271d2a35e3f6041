//! A pool of connections to one source, within the catalog's [`ConnectionBudget`].
//!
//! A check-out takes the connection used last, else waits for whichever comes first: one that comes back,
//! or the budget's permission to open one more. Who waits longest is served first. Idle connections are
//! closed after a time, and when another process of the fleet waits for one. Knows no protocol: a
//! connector says how to [`Dial`].
//!
//! The process's own lists are behind one mutex that is held for a push or a pop, never across a wait.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    ConnectionBudget, ConnectionHolder, ConnectionLease, ConnectionUsage, Error, Result, SqlState,
};

/// A source that has too many connections of others is asked again after this long.
const FULL_SOURCE_RETRY: Duration = Duration::from_millis(100);

/// Idle connections are looked at this often in each idle time.
const SWEEPS_PER_IDLE_TIMEOUT: u32 = 4;

/// And at least this far apart.
const SWEEP_MIN: Duration = Duration::from_millis(50);

/// How a connector opens a connection.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// An open connection. Dropping it closes it; the lease is dropped when the source has done so.
    type Connection: Send + Sync + 'static;

    /// Opens a connection, with its session as every statement expects it, within a bounded time. The
    /// connection keeps `lease` for as long as it is open *at the source*, and ends when the lease is
    /// [revoked](ConnectionLease::revoked).
    async fn dial(&self, lease: ConnectionLease) -> Result<Self::Connection>;

    /// True where nothing is known to be wrong with an idle connection. Asks nobody.
    fn is_open(&self, connection: &Self::Connection) -> bool;
}

/// How long a pool waits.
#[derive(Debug, Clone, Copy)]
pub struct PoolTimes {
    /// For a connection to become free; then `53300`.
    pub wait_timeout: Duration,
    /// Before an idle connection is closed.
    pub idle_timeout: Duration,
}

/// The connections of one process to one source.
pub struct ConnectionPool<D: Dial> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: Dial> {
    catalog: Arc<str>,
    dial: D,
    budget: Arc<dyn ConnectionBudget>,
    times: PoolTimes,
    state: Mutex<State<D::Connection>>,
    sweeper: Mutex<Option<JoinHandle<()>>>,
}

struct State<C> {
    /// The one used last is at the back.
    idle: VecDeque<(C, Instant)>,
    waiting: VecDeque<(u64, oneshot::Sender<C>)>,
    next_waiter: u64,
    in_use: usize,
    /// Connections that are being opened: their leases are held already.
    dialing: usize,
    /// Connections to close as they come back, for other processes.
    owed: usize,
}

impl<D: Dial> ConnectionPool<D> {
    /// An empty pool. Opens nothing.
    pub fn new(
        catalog: &str,
        dial: D,
        budget: Arc<dyn ConnectionBudget>,
        times: PoolTimes,
    ) -> Self {
        let shared = Arc::new(Shared {
            catalog: catalog.into(),
            dial,
            budget,
            times,
            state: Mutex::new(State {
                idle: VecDeque::new(),
                waiting: VecDeque::new(),
                next_waiter: 0,
                in_use: 0,
                dialing: 0,
                owed: 0,
            }),
            sweeper: Mutex::new(None),
        });
        let holder: Weak<dyn ConnectionHolder> = Arc::<Shared<D>>::downgrade(&shared);
        shared.budget.attach(holder);
        ConnectionPool { shared }
    }

    /// The source's own side: how connections open.
    pub fn dialer(&self) -> &D {
        &self.shared.dial
    }

    /// A connection that nobody else uses. Waits `wait_timeout` at most, then fails with `53300`.
    pub async fn get(&self) -> Result<Pooled<D>> {
        let shared = &self.shared;
        if let Some(connection) = shared.take_idle() {
            return Ok(shared.lend(connection));
        }
        let deadline = Instant::now() + shared.times.wait_timeout;
        loop {
            let mut place = match shared.take_idle_or_queue() {
                Ok(connection) => return Ok(shared.lend(connection)),
                Err(place) => place,
            };
            let lease = tokio::select! {
                biased;
                handed = place.wait() => return Ok(shared.lend(handed)),
                lease = shared.budget.acquire() => lease?,
                () = sleep_until(deadline) => return Err(shared.timed_out()),
            };
            if let Some(connection) = place.leave() {
                return Ok(shared.lend(connection));
            }
            drop(place);
            let dialing = Dialing::begin(shared);
            match shared.dial.dial(lease).await {
                Ok(connection) => {
                    dialing.succeed();
                    Shared::keep_sweeping(shared);
                    return Ok(shared.lend(connection));
                }
                // Others fill the source: what we may open by our own account is worth another try.
                Err(error)
                    if error.code == SqlState::TOO_MANY_CONNECTIONS
                        && Instant::now() + FULL_SOURCE_RETRY < deadline =>
                {
                    drop(dialing);
                    sleep(FULL_SOURCE_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What the process holds now.
    pub fn usage(&self) -> ConnectionUsage {
        self.shared.usage()
    }

    /// The error of a wait that took longer than `wait_timeout`.
    pub fn timed_out(&self) -> Error {
        self.shared.timed_out()
    }

    /// Closes every idle connection: one of them turned out to be dead, and a restart takes its
    /// neighbours along.
    pub fn forget_idle(&self) {
        let gone = std::mem::take(&mut self.shared.lock().idle);
        drop(gone);
    }
}

impl<D: Dial> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D::Connection>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lend(self: &Arc<Self>, connection: D::Connection) -> Pooled<D> {
        Pooled {
            connection: Some(connection),
            shared: self.clone(),
        }
    }

    fn take_idle(&self) -> Option<D::Connection> {
        let mut dead = Vec::new();
        let mut state = self.lock();
        let found = self.pop_open(&mut state, &mut dead);
        state.in_use += usize::from(found.is_some());
        drop(state);
        found
    }

    fn take_idle_or_queue(self: &Arc<Self>) -> std::result::Result<D::Connection, Place<D>> {
        let mut dead = Vec::new();
        let mut state = self.lock();
        if let Some(connection) = self.pop_open(&mut state, &mut dead) {
            state.in_use += 1;
            return Ok(connection);
        }
        let (sender, receiver) = oneshot::channel();
        state.next_waiter += 1;
        let id = state.next_waiter;
        state.waiting.push_back((id, sender));
        Err(Place {
            id,
            receiver,
            shared: self.clone(),
        })
    }

    /// The idle connection used last. Those that turn out to be closed are dropped after the lock.
    fn pop_open(
        &self,
        state: &mut State<D::Connection>,
        dead: &mut Vec<D::Connection>,
    ) -> Option<D::Connection> {
        while let Some((connection, _)) = state.idle.pop_back() {
            if self.dial.is_open(&connection) {
                return Some(connection);
            }
            dead.push(connection);
        }
        None
    }

    /// A connection comes back: to another process, to who waits longest here, or to rest.
    fn put(&self, connection: D::Connection) {
        let mut state = self.lock();
        if state.owed > 0 || !self.dial.is_open(&connection) {
            state.owed = state.owed.saturating_sub(1);
            state.in_use -= 1;
            drop(state);
            drop(connection);
            return;
        }
        let mut connection = connection;
        while let Some((_, waiter)) = state.waiting.pop_front() {
            match waiter.send(connection) {
                Ok(()) => return,
                Err(back) => connection = back,
            }
        }
        state.in_use -= 1;
        state.idle.push_back((connection, Instant::now()));
    }

    fn timed_out(&self) -> Error {
        let (catalog, limit) = (&self.catalog, self.budget.limit());
        Error::new(
            SqlState::TOO_MANY_CONNECTIONS,
            format!("no connection to the source of catalog \"{catalog}\" became free in time"),
        )
        .with_detail(format!(
            "All {limit} connections are in use, over every process of the fleet."
        ))
        .with_hint("Raise max_connections or wait_timeout in the catalog's file.")
        .with_source(catalog.as_ref())
    }

    /// Sees to it that idle connections end. The pool owns the task.
    fn keep_sweeping(shared: &Arc<Self>) {
        let mut sweeper = shared
            .sweeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A task ends with the runtime that it was started in.
        if sweeper.as_ref().is_none_or(JoinHandle::is_finished) {
            let idle_timeout = shared.times.idle_timeout;
            let pool = Arc::downgrade(shared);
            *sweeper = Some(tokio::spawn(async move {
                let pause = (idle_timeout / SWEEPS_PER_IDLE_TIMEOUT).max(SWEEP_MIN);
                loop {
                    sleep(pause).await;
                    let Some(pool) = pool.upgrade() else { return };
                    pool.sweep(idle_timeout);
                }
            }));
        }
    }

    fn sweep(&self, idle_timeout: Duration) {
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut state = self.lock();
        while let Some((_, since)) = state.idle.front()
            && now.duration_since(*since) >= idle_timeout
        {
            gone.extend(state.idle.pop_front());
        }
        drop(state);
    }
}

impl<D: Dial> ConnectionHolder for Shared<D> {
    fn usage(&self) -> ConnectionUsage {
        let state = self.lock();
        ConnectionUsage {
            open: state.in_use + state.idle.len(),
            in_use: state.in_use,
        }
    }

    fn close_idle(&self, count: usize) {
        let mut state = self.lock();
        let count = count.min(state.idle.len());
        let gone: Vec<_> = state.idle.drain(..count).collect();
        drop(state);
        drop(gone);
    }

    fn yield_next(&self, count: usize) {
        let mut state = self.lock();
        let now = count.min(state.idle.len());
        let gone: Vec<_> = state.idle.drain(..now).collect();
        // More than are out, or about to be, cannot come back.
        state.owed = (state.owed + count - now).min(state.in_use + state.dialing);
        drop(state);
        drop(gone);
    }
}

impl<D: Dial> Drop for Shared<D> {
    fn drop(&mut self) {
        let sweeper = self
            .sweeper
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(sweeper) = sweeper.take() {
            sweeper.abort();
        }
    }
}

/// A connection that is being opened. Given up or failed, it has given its lease back, which pays a debt.
struct Dialing<'a, D: Dial> {
    shared: &'a Shared<D>,
    succeeded: bool,
}

impl<'a, D: Dial> Dialing<'a, D> {
    fn begin(shared: &'a Shared<D>) -> Self {
        shared.lock().dialing += 1;
        Dialing {
            shared,
            succeeded: false,
        }
    }

    /// It is open, and in use.
    fn succeed(mut self) {
        self.succeeded = true;
    }
}

impl<D: Dial> Drop for Dialing<'_, D> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.dialing -= 1;
        match self.succeeded {
            true => state.in_use += 1,
            false => state.owed = state.owed.saturating_sub(1),
        }
    }
}

/// A place in the queue. Left early, it passes on what it was handed meanwhile.
struct Place<D: Dial> {
    id: u64,
    receiver: oneshot::Receiver<D::Connection>,
    shared: Arc<Shared<D>>,
}

impl<D: Dial> Place<D> {
    async fn wait(&mut self) -> D::Connection {
        match (&mut self.receiver).await {
            Ok(connection) => connection,
            // Only leaving takes the sender away.
            Err(_) => std::future::pending().await,
        }
    }

    /// Leaves the queue, with what was handed over in the last moment.
    fn leave(&mut self) -> Option<D::Connection> {
        self.shared.lock().waiting.retain(|(id, _)| *id != self.id);
        self.receiver.try_recv().ok()
    }
}

impl<D: Dial> Drop for Place<D> {
    fn drop(&mut self) {
        if let Some(connection) = self.leave() {
            self.shared.put(connection);
        }
    }
}

/// A connection on loan; it goes back to the pool when it is dropped.
pub struct Pooled<D: Dial> {
    /// `None` only after [`Pooled::close`] and inside of `drop`.
    connection: Option<D::Connection>,
    shared: Arc<Shared<D>>,
}

impl<D: Dial> Pooled<D> {
    /// Takes the connection out of the pool and closes it: its session is not as others expect it.
    pub fn close(mut self) {
        self.take();
    }

    /// Takes the connection out of the pool.
    pub fn detach(mut self) -> D::Connection {
        self.take()
            .expect("only close and detach take the connection, and both end the loan")
    }

    fn take(&mut self) -> Option<D::Connection> {
        let connection = self.connection.take()?;
        let mut state = self.shared.lock();
        state.in_use -= 1;
        state.owed = state.owed.saturating_sub(1);
        drop(state);
        Some(connection)
    }
}

impl<D: Dial> Deref for Pooled<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.connection.as_ref().expect(
            "only close, detach and drop take the connection, and nothing derefs after them",
        )
    }
}

impl<D: Dial> DerefMut for Pooled<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection.as_mut().expect(
            "only close, detach and drop take the connection, and nothing derefs after them",
        )
    }
}

impl<D: Dial> Drop for Pooled<D> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.shared.put(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{ConnectionBudgets, LocalConnections};

    /// Counts what is open, and how much at most.
    #[derive(Default)]
    struct Counts {
        open: AtomicUsize,
        most: AtomicUsize,
        dials: AtomicUsize,
    }

    struct Connection {
        counts: Arc<Counts>,
        _lease: ConnectionLease,
    }

    impl Drop for Connection {
        fn drop(&mut self) {
            self.counts.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    struct Dialer(Arc<Counts>);

    #[async_trait]
    impl Dial for Dialer {
        type Connection = Connection;

        async fn dial(&self, lease: ConnectionLease) -> Result<Connection> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.0.dials.fetch_add(1, Ordering::SeqCst);
            let open = self.0.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most.fetch_max(open, Ordering::SeqCst);
            Ok(Connection {
                counts: self.0.clone(),
                _lease: lease,
            })
        }

        fn is_open(&self, _: &Connection) -> bool {
            true
        }
    }

    fn pool(limit: usize, idle: Duration) -> (ConnectionPool<Dialer>, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let times = PoolTimes {
            wait_timeout: Duration::from_secs(5),
            idle_timeout: idle,
        };
        let budget = LocalConnections::new().budget("shop", limit);
        (
            ConnectionPool::new("shop", Dialer(counts.clone()), budget, times),
            counts,
        )
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_share_few_and_nobody_starves() {
        let (pool, counts) = pool(3, Duration::from_secs(60));
        let pool = Arc::new(pool);
        let all = (0..100).map(|i| {
            let pool = pool.clone();
            tokio::spawn(async move {
                // Some give up while they wait, or just when they are handed a connection.
                let patience = Duration::from_millis(if i % 7 == 0 { 3 } else { 5000 });
                if let Ok(held) = tokio::time::timeout(patience, pool.get()).await {
                    let _held = held.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        });
        for task in all.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(counts.most.load(Ordering::SeqCst) <= 3);
        let usage = pool.shared.usage();
        assert_eq!(
            (usage.in_use, usage.open),
            (0, counts.open.load(Ordering::SeqCst))
        );
        assert!(pool.shared.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn idle_connections_end_and_used_ones_stay() {
        let (pool, counts) = pool(4, Duration::from_millis(200));
        let (a, b) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        drop((a, b));
        let held = pool.get().await.unwrap();
        assert_eq!(counts.dials.load(Ordering::SeqCst), 2);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(counts.open.load(Ordering::SeqCst), 1);
        drop(held);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(counts.open.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn others_are_given_what_they_wait_for() {
        let (pool, counts) = pool(2, Duration::from_secs(60));
        let (a, b) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        drop(a);
        pool.shared.yield_next(2);
        assert_eq!(
            counts.open.load(Ordering::SeqCst),
            1,
            "the idle one at once"
        );
        drop(b);
        assert_eq!(
            counts.open.load(Ordering::SeqCst),
            0,
            "the other when it came back"
        );
        pool.shared.yield_next(5);
        drop(pool.get().await.unwrap());
        assert_eq!(
            counts.open.load(Ordering::SeqCst),
            1,
            "no debt without connections"
        );
        pool.shared.close_idle(9);
        assert_eq!(counts.open.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_connection_that_is_being_opened_can_be_owed() {
        let (pool, counts) = pool(1, Duration::from_secs(60));
        let owed = async {
            while pool.shared.lock().dialing == 0 {
                tokio::task::yield_now().await;
            }
            pool.shared.yield_next(1);
        };
        let (held, ()) = tokio::join!(pool.get(), owed);
        drop(held.unwrap());
        assert_eq!(counts.open.load(Ordering::SeqCst), 0, "closed, not kept");
        // Who gives up while it dials has paid.
        let given_up = async {
            while pool.shared.lock().dialing == 0 {
                tokio::task::yield_now().await;
            }
            pool.shared.yield_next(1);
        };
        tokio::select! {
            biased;
            () = given_up => {}
            _ = pool.get() => panic!("dialing takes longer"),
        }
        let state = pool.shared.lock();
        assert_eq!((state.dialing, state.owed), (0, 0));
    }

    #[tokio::test]
    async fn waiting_ends_with_the_sources_name() {
        let counts = Arc::new(Counts::default());
        let times = PoolTimes {
            wait_timeout: Duration::from_millis(50),
            idle_timeout: Duration::from_secs(60),
        };
        let budget = LocalConnections::new().budget("shop", 1);
        let pool = ConnectionPool::new("shop", Dialer(counts), budget, times);
        let _held = pool.get().await.unwrap();
        let error = pool.get().await.map(|_| ()).unwrap_err();
        assert_eq!(
            (error.code.code(), error.source_name.as_deref()),
            ("53300", Some("shop"))
        );
    }
}
