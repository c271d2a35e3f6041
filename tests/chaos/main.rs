//! Faults: workers, sources and clients that die, freeze, lie or stop reading. Each must be a clear error
//! or a quiet pause; afterwards the next query is fine and nothing is left.

mod clients;
mod connections;
mod faults;
mod lifecycle;
mod snapshots;
mod sources;
mod workers;

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluice_tests::{Connection, Rows, ServerError};

/// A statement that keeps every worker busy for many seconds. Each row makes an own comparison, so neither
/// statistics nor a pushed count can answer it.
const LONG: &str = "SELECT count(*) FROM tpch.sf10.lineitem l JOIN tpch.sf10.orders o \
                    ON l.l_orderkey = o.o_orderkey WHERE l.l_comment < o.o_comment";

/// A statement that runs elsewhere while the suite does something to its surroundings.
struct Running {
    begin: Instant,
    thread: JoinHandle<(Result<Rows, ServerError>, Duration)>,
}

impl Running {
    fn start(mut session: Connection, sql: &str) -> Self {
        let sql = sql.to_owned();
        let begin = Instant::now();
        let thread = thread::spawn(move || {
            let outcome = session.query(&sql);
            (outcome, begin.elapsed())
        });
        Self { begin, thread }
    }

    /// Its outcome, and how long after `since` it came. Panics when it needs longer than `limit`.
    #[track_caller]
    fn outcome_within(
        self,
        since: Instant,
        limit: Duration,
    ) -> (Result<Rows, ServerError>, Duration) {
        let limit_end = since + limit;
        while !self.thread.is_finished() {
            assert!(
                Instant::now() < limit_end,
                "the statement still runs {limit:?} after the fault"
            );
            thread::sleep(Duration::from_millis(10));
        }
        let (outcome, ran) = self
            .thread
            .join()
            .expect("the thread of a statement does not panic");
        let after = (self.begin + ran).saturating_duration_since(since);
        (outcome, after)
    }
}
