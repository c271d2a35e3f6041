//! A catalog's `max_connections` holds over the whole fleet, whatever happens to its processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sluice_tests::process::Signal;
use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, ServerError, leaks, wait};

const ALLOWED: u64 = 4;

/// Statements at once: many more than connections, fewer than the gateway's own limit.
const CLIENTS: u64 = 50;

/// Six tables in pieces, spread over the workers, where nothing is done at the source.
const MANY_SCANS: &str = "SELECT count(*), sum(n) FROM (\
     SELECT * FROM numbers WHERE n + 0 >= 0 UNION ALL SELECT * FROM numbers WHERE n + 1 > 0 \
     UNION ALL SELECT * FROM numbers WHERE n + 2 > 0 UNION ALL SELECT * FROM numbers WHERE n + 3 > 0 \
     UNION ALL SELECT * FROM numbers WHERE n + 4 > 0 UNION ALL SELECT * FROM numbers WHERE n + 5 > 0) AS all_of_them";

/// What it returns: 6 times 1 … 20,000.
const ANSWER: [&str; 2] = ["120000", "1200060000"];

const OPEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice'";

struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Watch {
    /// Asks the source without a pause how many connections it has.
    fn start(source: &PostgresServer) -> Self {
        let (stop, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, seen) = (stop.clone(), most.clone());
        let mut session = source.connect("shop");
        let thread = thread::spawn(move || {
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                seen.fetch_max(open(&mut session), Ordering::Relaxed);
                looks += 1;
            }
            looks
        });
        Watch { stop, most, thread }
    }

    fn most(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let looks = self.thread.join().expect("the source answers");
        let most = self.most.load(Ordering::Relaxed);
        println!("at most {most} connections in {looks} looks");
        most
    }
}

fn open(session: &mut Connection) -> u64 {
    let rows = session.query(OPEN).expect("the source answers");
    rows.single().parse().expect("a count is a number")
}

fn fleet(source: &PostgresServer, workers: usize) -> Gateway {
    let file = format!(
        "{}max_connections = {ALLOWED}\nwait_timeout = \"120s\"\nidle_timeout = \"2s\"\n\
         split_size = \"64kB\"\n",
        source.catalog("shop")
    );
    GatewayOptions::new()
        .catalog("shop", file)
        .workers(workers)
        .start()
}

fn source() -> PostgresServer {
    let source = PostgresServer::start();
    source.create_database("shop");
    let mut session = source.connect("shop");
    session
        .query("CREATE TABLE numbers AS SELECT i::bigint AS n FROM generate_series(1, 20000) AS i")
        .expect("the table can be made");
    session.query("ANALYZE numbers").expect("ANALYZE runs");
    source
}

type Answers = Vec<JoinHandle<Result<Vec<Option<String>>, ServerError>>>;

fn ask_all(gateway: &Gateway, clients: u64) -> Answers {
    (0..clients)
        .map(|_| {
            let mut session = gateway.connect("shop");
            thread::spawn(move || {
                session.query("SET sluice.pushdown = off")?;
                Ok(session.query(MANY_SCANS)?.rows.remove(0))
            })
        })
        .collect()
}

fn is_right(row: &[Option<String>]) -> bool {
    row.iter().map(Option::as_deref).eq(ANSWER.map(Some))
}

#[test]
fn many_statements_over_many_processes_share_few_connections() {
    let source = source();
    let gateway = fleet(&source, 3);
    let watch = Watch::start(&source);
    for answer in ask_all(&gateway, CLIENTS) {
        let row = answer.join().expect("the client does not panic");
        let row = row.unwrap_or_else(|error| panic!("{error}\n{}", gateway.logs()));
        assert!(is_right(&row), "{row:?}");
    }
    let shown = gateway
        .connect("sluice")
        .query("SELECT process, open, in_use, max_connections FROM system.runtime.source_connections WHERE catalog = 'shop'")
        .expect("the table answers");
    println!("{:?}", shown.rows);
    assert_eq!(shown.rows.len(), 4, "the coordinator and three workers");
    // Nobody asks any more: each process closes what it does not use.
    let mut session = source.connect("shop");
    wait::for_condition("idle connections end", Duration::from_secs(20), || {
        open(&mut session) == 0
    });
    let most = watch.most();
    assert!((1..=ALLOWED).contains(&most), "{most} connections at once");
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn a_killed_worker_gives_its_connections_back() {
    let source = source();
    let gateway = fleet(&source, 3);
    let watch = Watch::start(&source);
    let answers = ask_all(&gateway, CLIENTS);
    wait::for_condition("the source is in use", Duration::from_secs(30), || {
        let mut session = gateway.connect("sluice");
        session
            .query("SELECT * FROM system.runtime.source_connections WHERE open > 0 AND process <> 'coordinator'")
            .is_ok_and(|rows| !rows.rows.is_empty())
    });
    let fault = Instant::now();
    gateway.worker(0).signal(Signal::Kill);
    for answer in answers {
        match answer.join().expect("the client does not panic") {
            Ok(row) => assert!(is_right(&row), "{row:?}"),
            // Those that ran on the lost worker say so.
            Err(error) => assert!(
                error.code().starts_with("58") || error.code().starts_with("57P"),
                "{error}\n{}",
                gateway.logs()
            ),
        }
    }
    println!("all ended {:?} after the fault", fault.elapsed());
    for answer in ask_all(&gateway, CLIENTS / 2) {
        let row = answer.join().expect("the client does not panic");
        let row = row.unwrap_or_else(|error| panic!("{error}\n{}", gateway.logs()));
        assert!(is_right(&row), "{row:?}");
    }
    let mut session = source.connect("shop");
    wait::for_condition("idle connections end", Duration::from_secs(20), || {
        open(&mut session) == 0
    });
    let most = watch.most();
    assert!((1..=ALLOWED).contains(&most), "{most} connections at once");
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn who_waits_too_long_is_told_for_what() {
    let source = source();
    source
        .connect("shop")
        .query("CREATE VIEW slow AS SELECT n, pg_sleep(20)::text AS pause FROM numbers LIMIT 1")
        .expect("the view can be made");
    let file = format!(
        "{}max_connections = 1\nwait_timeout = \"500ms\"\n",
        source.catalog("shop")
    );
    let gateway = GatewayOptions::new().catalog("shop", file).start();
    let mut reader = gateway.connect("shop");
    // Both tables are known before the only connection is taken.
    reader
        .query("SELECT count(*) FROM numbers")
        .expect("it answers");
    let mut session = gateway.connect("shop");
    session
        .query("EXPLAIN SELECT pause FROM slow")
        .expect("it is planned");
    let canceller = session.canceller();
    let slow = thread::spawn(move || session.query("SELECT pause FROM slow"));
    wait::for_condition("the source is busy", Duration::from_secs(20), || {
        source.busy_sessions() > 0
    });
    let error = reader
        .query("SELECT sum(n) FROM numbers WHERE n + 1 > 3")
        .expect_err("the only connection is taken");
    assert_eq!(error.code(), "53300", "{error}");
    assert!(error.message().contains("\"shop\""), "{error}");
    assert!(error.field('H').contains("max_connections"), "{error}");
    canceller.cancel().expect("the gateway takes the cancel");
    let outcome = slow.join().expect("the client does not panic");
    assert!(outcome.is_err_and(|error| error.code() == "57014"));
    reader
        .query("SELECT sum(n) FROM numbers WHERE n + 1 > 3")
        .expect("the connection is free again");
    leaks::assert_nothing_left(&gateway, &[&source]);
}
