//! A run of faults against one real PostgreSQL, and what is left there afterwards: nothing.
//!
//! Each fault happens in the coordinator and on two workers. After each the source is asked for sessions in a
//! transaction, running statements, locks, prepared transactions, temporary objects and tables that were not
//! there before; after the last one the gateway ends, and no session may be left at all.

use std::time::{Duration, Instant};

use sluice_tests::frames::{cstring, frame};
use sluice_tests::process::Signal;
use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, ServerError, leaks, wait};

use crate::Running;

/// Connections that the main catalog may have.
const MOST_SESSIONS: u64 = 6;

/// Cancel requests are answered within a second; a busy machine gets more.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Rows come one by one, each after a pause, so that a scan is under way for as long as a fault needs.
const TRICKLE: &str = "SELECT count(pause) FROM shop.public.trickle WHERE pause || id <> 'x'";

const SETUP: &str = "
    CREATE ROLE reader LOGIN PASSWORD 'right';
    CREATE ROLE crowded LOGIN CONNECTION LIMIT 1;
    CREATE TABLE stock AS SELECT i AS id, i % 100 AS k, repeat('x', 100) AS filler FROM generate_series(1, 30000) AS i;
    CREATE VIEW trickle AS SELECT i AS id, pg_sleep(0.01)::text AS pause FROM generate_series(1, 100000) AS i;
    CREATE VIEW nap AS SELECT 1 AS id, pg_sleep(60)::text AS pause;
    CREATE VIEW unfit AS SELECT i AS id, CASE i WHEN 20000 THEN 'NaN'::numeric ELSE i END AS n FROM generate_series(1, 30000) AS i;
    CREATE VIEW broken AS SELECT 10 / (i - 20000) AS n FROM generate_series(1, 30000) AS i;
    GRANT pg_read_all_data TO reader, crowded;
    ANALYZE;
";

/// What is counted at the source, in the words of a report.
const COUNTS: [(&str, &str); 6] = [
    (
        "sessions in a transaction",
        "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('reader', 'crowded') AND state LIKE 'idle in transaction%'",
    ),
    (
        "running statements",
        "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('reader', 'crowded') AND state = 'active'",
    ),
    (
        "locks",
        "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE a.usename IN ('reader', 'crowded')",
    ),
    (
        "prepared transactions",
        "SELECT count(*) FROM pg_prepared_xacts",
    ),
    (
        "temporary objects",
        "SELECT count(*) FROM pg_class WHERE relpersistence = 't'",
    ),
    (
        "tables of Sluice's own",
        "SELECT count(*) FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner WHERE r.rolname IN ('reader', 'crowded')",
    ),
];

struct Run {
    source: PostgresServer,
    gateway: Gateway,
    report: Vec<String>,
}

fn must(session: &mut Connection, sql: &str) -> sluice_tests::Rows {
    session
        .query(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn start() -> Run {
    let source = PostgresServer::start();
    source.create_database("shop");
    let mut admin = source.connect("shop");
    for outcome in admin.batch(SETUP).expect("the server answers") {
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }
    must(
        &mut admin,
        "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0",
    );
    must(
        &mut source.connect("ascii"),
        "CREATE TABLE raw AS SELECT 1 AS a, convert_from('\\xff41'::bytea, 'SQL_ASCII') AS bad",
    );
    // One role has to show a password, and nobody may do without TLS what asks for it.
    let hba = must(&mut admin, "SHOW hba_file").single().to_owned();
    must(
        &mut admin,
        &format!(
            "COPY (VALUES ('host all reader 127.0.0.1/32 scram-sha-256'), ('host all all 127.0.0.1/32 trust')) TO '{hba}'"
        ),
    );
    must(&mut admin, "SELECT pg_reload_conf()");
    let port = source.address().port();
    let catalog = |user: &str, database: &str, keys: &str| {
        format!(
            "connector = \"postgres\"\nurl = \"postgresql://{user}@127.0.0.1:{port}/{database}\"\n{keys}"
        )
    };
    let right = "password = \"right\"\nsplit_size = \"256KiB\"\n";
    let gateway = GatewayOptions::new()
        .catalog(
            "shop",
            catalog(
                "reader",
                "shop",
                &format!("{right}max_connections = {MOST_SESSIONS}\n"),
            ),
        )
        .catalog(
            "stranger",
            catalog("reader", "shop", "password = \"wrong\"\n"),
        )
        .catalog("plain", catalog("reader", "shop?sslmode=require", right))
        .catalog(
            "timid",
            catalog(
                "reader",
                "shop",
                &format!("{right}options = \"-c statement_timeout=300ms -c lock_timeout=100ms\"\n"),
            ),
        )
        .catalog(
            "narrow",
            catalog(
                "reader",
                "shop",
                "password = \"right\"\nmax_connections = 1\nwait_timeout = \"300ms\"\n",
            ),
        )
        .catalog(
            "full",
            catalog("crowded", "shop", "wait_timeout = \"700ms\"\n"),
        )
        .catalog("ascii", catalog("reader", "ascii", right))
        .workers(2)
        .start();
    Run {
        source,
        gateway,
        report: Vec::new(),
    }
}

impl Run {
    fn session(&self, workers: u32) -> Connection {
        let mut session = self.gateway.connect("shop");
        must(&mut session, &format!("SET sluice.workers = {workers}"));
        session
    }

    /// A statement that must fail in the words of its source.
    #[track_caller]
    fn fails(&self, workers: u32, sql: &str, codes: &[&str], words: &str) -> ServerError {
        let begin = Instant::now();
        let error = match self.session(workers).query(sql) {
            Ok(rows) => panic!("{sql}: {:?}", rows.rows),
            Err(error) => error,
        };
        assert!(codes.contains(&error.code()), "{sql}: {error}");
        assert!(error.to_string().contains(words), "{sql}: {error}");
        assert!(
            begin.elapsed() < Duration::from_secs(15),
            "{sql}: {:?}",
            begin.elapsed()
        );
        error
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut admin = self.source.connect("shop");
        COUNTS
            .iter()
            .map(|(what, sql)| {
                let count = must(&mut admin, sql).single().parse();
                (*what, count.expect("a count is a number"))
            })
            .collect()
    }

    /// Nothing is open at the source, and the next query is answered.
    #[track_caller]
    fn settled(&mut self, fault: &str) {
        let mut counts = Vec::new();
        let settled = wait::until(SETTLE_LIMIT, || {
            counts = self.counts();
            counts.iter().all(|(_, count)| *count == 0).then_some(())
        });
        let sessions = self.source.sessions("shop");
        self.report
            .push(format!("{fault}: {counts:?}, {sessions} pooled sessions"));
        assert!(
            settled.is_some(),
            "after {fault}: {counts:?}: {}",
            self.source.busy_statements()
        );
        for workers in [0, 2] {
            let rows = must(
                &mut self.session(workers),
                "SELECT count(*), sum(k) FROM shop.public.stock WHERE filler LIKE 'x%'",
            );
            assert_eq!(rows.single(), "30000", "after {fault}");
        }
        leaks::assert_nothing_left(&self.gateway, &[&self.source]);
    }

    /// Waits until the slow scan runs at the source.
    fn wait_for_scan(&self) {
        wait::for_condition(
            "the scan runs at the source",
            Duration::from_secs(20),
            || self.source.busy_sessions() > 0,
        );
    }
}

fn refused_connections(run: &mut Run) {
    for workers in [0, 2] {
        let error = run.fails(
            workers,
            "SELECT * FROM stranger.public.stock",
            &["08004", "28P01"],
            "stranger",
        );
        assert!(
            !error.to_string().contains("wrong\""),
            "the password is not printed: {error}"
        );
        run.fails(
            workers,
            "SELECT * FROM plain.public.stock",
            &["08006", "08004"],
            "plain",
        );
    }
    run.settled("a wrong password, TLS refused");
}

fn timeouts_of_the_source(run: &mut Run) {
    for workers in [0, 2] {
        run.fails(
            workers,
            "SELECT id, pause FROM timid.public.nap",
            &["57014"],
            "statement timeout",
        );
        let mut owner = run.source.connect("shop");
        must(&mut owner, "BEGIN");
        must(&mut owner, "LOCK TABLE stock");
        run.fails(
            workers,
            "SELECT max(filler) FROM timid.public.stock",
            &["55P03"],
            "lock timeout",
        );
        must(&mut owner, "ROLLBACK");
    }
    run.settled("statement_timeout and lock_timeout of the source");
}

fn too_many_connections(run: &mut Run) {
    // The catalog's own bound: one connection is busy, the second waits its time and names the source.
    let holder = Running::start(
        run.session(0),
        "SELECT count(pause) FROM narrow.public.trickle WHERE id < 300",
    );
    run.wait_for_scan();
    run.fails(
        0,
        "SELECT max(filler) FROM narrow.public.stock",
        &["53300"],
        "narrow",
    );
    let (outcome, _) = holder.outcome_within(Instant::now(), Duration::from_secs(30));
    assert_eq!(outcome.expect("the first goes on").single(), "299");
    // The source's bound: it refuses the connection, and is asked again until the time is over.
    let address = run.source.address();
    let taken = Connection::open(address, "crowded", "shop").expect("the only session of its role");
    let begin = Instant::now();
    run.fails(
        0,
        "SELECT max(filler) FROM full.public.stock",
        &["53300"],
        "full",
    );
    assert!(
        begin.elapsed() > Duration::from_millis(300),
        "it did not wait: {:?}",
        begin.elapsed()
    );
    let waiting = Running::start(run.session(0), "SELECT count(*) FROM full.public.stock");
    std::thread::sleep(Duration::from_millis(200));
    drop(taken);
    let (outcome, _) = waiting.outcome_within(Instant::now(), Duration::from_secs(5));
    assert_eq!(outcome.expect("a session became free").single(), "30000");
    run.settled("too many connections");
}

fn values_that_do_not_fit(run: &mut Run) {
    for workers in [0, 2] {
        run.fails(
            workers,
            "SELECT id, n FROM shop.public.unfit",
            &["22003"],
            "\"n\"",
        );
        run.fails(
            workers,
            "SELECT n FROM shop.public.broken",
            &["22012"],
            "division by zero",
        );
        run.fails(
            workers,
            "SELECT a, bad FROM ascii.public.raw",
            &["22021", "22P05"],
            "",
        );
        let rows = must(&mut run.session(workers), "SELECT a FROM ascii.public.raw");
        assert_eq!(rows.single(), "1");
        // NUL is no text of the source: such a row cannot be there, and nothing is sent to ask for it.
        let rows = run
            .session(workers)
            .query("SELECT id FROM shop.public.stock WHERE filler = chr(0)");
        assert!(rows.is_err() || rows.is_ok_and(|rows| rows.rows.is_empty()));
    }
    run.settled("values that do not fit, invalid UTF-8, NUL");
}

fn tables_that_change(run: &mut Run) {
    let mut owner = run.source.connect("shop");
    for workers in [0, 2] {
        let table = format!("moving_{workers}");
        must(
            &mut owner,
            &format!(
                "CREATE TABLE {table} AS SELECT i AS a, i AS b FROM generate_series(1, 5000) AS i"
            ),
        );
        let mut session = run.session(workers);
        must(&mut session, "CALL shop.system.flush_metadata()");
        must(
            &mut session,
            &format!(
                "PREPARE reading AS SELECT sum(a), max(b) FROM shop.public.{table} WHERE b > 10"
            ),
        );
        must(&mut session, "EXECUTE reading");
        // Altered between planning and reading: planned again.
        must(
            &mut owner,
            &format!("ALTER TABLE {table} ALTER a TYPE bigint USING a + 1"),
        );
        let sum = must(&mut session, "EXECUTE reading").single().to_owned();
        assert_eq!(sum, (11 + 1..=5000 + 1).sum::<u64>().to_string());
        must(&mut owner, &format!("ALTER TABLE {table} DROP b"));
        let error = session
            .query("EXECUTE reading")
            .expect_err("the column is gone");
        assert_eq!(error.code(), "42703", "{error}");
        must(&mut owner, &format!("DROP TABLE {table}"));
        let error = session
            .query("EXECUTE reading")
            .expect_err("the table is gone");
        // Its columns, as they were described last, are still believed: they lack one, too.
        assert_eq!(error.code(), "42703", "{error}");
        must(&mut session, "CALL shop.system.flush_metadata()");
        let error = session
            .query("EXECUTE reading")
            .expect_err("the table is gone");
        assert_eq!(error.code(), "42P01", "{error}");
        must(&mut session, "DEALLOCATE reading");
    }
    run.settled("a table altered and dropped between planning and reading");
}

fn clients_that_go(run: &mut Run) {
    for workers in [0, 2] {
        let session = run.session(workers);
        let canceller = session.canceller();
        let running = Running::start(session, TRICKLE);
        run.wait_for_scan();
        let asked = Instant::now();
        canceller.cancel().expect("the request is sent");
        let (outcome, _) = running.outcome_within(asked, Duration::from_secs(5));
        assert_eq!(outcome.expect_err("it was cancelled").code(), "57014");
        wait::for_condition("the scan is gone", SETTLE_LIMIT, || {
            run.source.busy_sessions() == 0
        });

        let mut session = run.session(workers);
        session
            .send_raw(&frame(b'Q', &cstring(TRICKLE)))
            .expect("a frame can be sent");
        run.wait_for_scan();
        drop(session);
        wait::for_condition("the scan is gone", SETTLE_LIMIT, || {
            run.source.busy_sessions() == 0
        });

        // A client that goes while rows flow, and one that has all it wants.
        let mut session = run.session(workers);
        session
            .send_raw(&frame(
                b'Q',
                &cstring("SELECT id, pause FROM shop.public.trickle"),
            ))
            .expect("a frame can be sent");
        run.wait_for_scan();
        drop(session);
        let rows = must(
            &mut run.session(workers),
            "SELECT id FROM shop.public.trickle LIMIT 3",
        );
        assert_eq!(rows.rows.len(), 3);
    }
    run.settled("clients that cancel, disconnect, or want no more");
}

fn servers_that_go(run: &mut Run) {
    for workers in [0, 2] {
        let running = Running::start(run.session(workers), TRICKLE);
        run.wait_for_scan();
        let fault = Instant::now();
        run.source.kill();
        let (outcome, _) = running.outcome_within(fault, Duration::from_secs(20));
        let error = outcome.expect_err("its source is gone");
        assert!(
            error.code().starts_with("08") || error.code().starts_with("57P"),
            "{error}"
        );
        assert!(
            error.to_string().contains("shop"),
            "the catalog is named: {error}"
        );
        run.fails(
            workers,
            "SELECT max(filler) FROM shop.public.stock",
            &["08006", "08001"],
            "shop",
        );
        run.source.restart();
        run.settled("the server gone in the middle of a scan");
        // Between two queries it is not even noticed.
        run.source.kill();
        run.source.restart();
        run.settled("the server restarted between two queries");
        let mut admin = run.source.connect("shop");
        must(
            &mut admin,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'",
        );
        run.settled("every session ended by the server's operator");
    }
}

fn workers_that_go(run: &mut Run) {
    let running = Running::start(
        run.session(2),
        "SELECT count(a.pause), count(b.filler) FROM shop.public.trickle a JOIN shop.public.stock b ON a.id = b.id AND a.pause || b.filler <> 'x'",
    );
    run.wait_for_scan();
    let fault = Instant::now();
    run.gateway.worker(0).signal(Signal::Kill);
    run.gateway.worker(1).signal(Signal::Kill);
    let (outcome, _) = running.outcome_within(fault, Duration::from_secs(40));
    if let Err(error) = outcome {
        println!("workers lost: {error}");
    }
    wait::for_condition("the gateway misses them", Duration::from_secs(30), || {
        run.gateway.active_workers() == 0
    });
    for _ in 0..2 {
        run.gateway.add_worker();
    }
    run.settled("workers killed in the middle of a scan");
}

#[test]
fn a_run_of_faults_leaves_nothing_at_the_source() {
    let mut run = start();
    run.settled("nothing");
    refused_connections(&mut run);
    timeouts_of_the_source(&mut run);
    too_many_connections(&mut run);
    values_that_do_not_fit(&mut run);
    tables_that_change(&mut run);
    clients_that_go(&mut run);
    servers_that_go(&mut run);
    workers_that_go(&mut run);
    for status in run.gateway.stop() {
        // Two workers were killed on purpose.
        assert!(
            status.is_some(),
            "a process does not end\n{}",
            run.gateway.logs()
        );
    }
    let left = run.source.sessions("shop") + run.source.sessions("ascii");
    let counts = run.counts();
    run.report
        .push(format!("the gateway's end: {counts:?}, {left} sessions"));
    println!(
        "at the source after each fault:\n  {}",
        run.report.join("\n  ")
    );
    assert_eq!(left, 0, "sessions are left at the source");
    assert!(counts.iter().all(|(_, count)| *count == 0), "{counts:?}");
}
