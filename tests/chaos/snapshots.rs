//! A query sees one moment of its source, however many statements read it there; and a table that changed
//! since it was described is read as what it is now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use sluice_tests::{Connection, Gateway, GatewayOptions, PostgresServer, leaks};

/// Money in accounts, spread over many pages, and in a vault.
const MONEY: &str = "
    CREATE TABLE accounts AS SELECT i::bigint AS id, 100::bigint AS balance, repeat('x', 100) AS pad
        FROM generate_series(1, 40000) AS i;
    ALTER TABLE accounts ADD PRIMARY KEY (id);
    CREATE TABLE vault AS SELECT i::bigint AS id, 1000::bigint AS amount, repeat('y', 100) AS pad
        FROM generate_series(1, 20000) AS i;
    ALTER TABLE vault ADD PRIMARY KEY (id);
    ANALYZE";

const TOTAL: i64 = 40_000 * 100 + 20_000 * 1_000;

/// Queries that know what all the money is, each with many statements at the source.
const SUMS: [&str; 4] = [
    "SELECT (SELECT sum(balance) FROM public.accounts) + (SELECT sum(amount) FROM public.vault)",
    "SELECT sum(m) FROM (SELECT balance AS m FROM public.accounts UNION ALL SELECT amount FROM public.vault) AS u",
    "SELECT sum(b.balance) + (SELECT sum(amount) FROM public.vault) FROM public.accounts a \
     JOIN public.accounts b ON a.id = b.id AND a.balance = b.balance",
    "SELECT sum(coalesce(a.balance, 0)) + sum(v.amount) FROM public.vault v \
     JOIN public.vault w ON v.id = w.id AND v.amount = w.amount \
     FULL JOIN public.accounts a ON a.id = -v.id",
];

/// Moves money about until it is told to stop: rows change pages with each step.
struct Mover {
    stop: Arc<AtomicBool>,
    moves: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Mover {
    fn start(source: &PostgresServer) -> Mover {
        let stop = Arc::new(AtomicBool::new(false));
        let moves = Arc::new(AtomicU64::new(0));
        let (told, count) = (stop.clone(), moves.clone());
        let mut session = source.connect("shop");
        let thread = thread::spawn(move || {
            let mut n: u64 = 1;
            while !told.load(Ordering::Relaxed) {
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (from, to, vault) = (n >> 33, n >> 17, n >> 21);
                session
                    .query(&format!(
                        "BEGIN; \
                         UPDATE accounts SET balance = balance - 7 WHERE id % 4000 = {}; \
                         UPDATE accounts SET balance = balance + 5 WHERE id % 4000 = {}; \
                         UPDATE vault SET amount = amount + 2 WHERE id % 2000 = {}; COMMIT",
                        from % 4000,
                        to % 4000,
                        vault % 2000
                    ))
                    .expect("money moves");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Mover {
            stop,
            moves,
            thread: Some(thread),
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the mover failed");
        }
    }
}

fn source() -> PostgresServer {
    let source = PostgresServer::start();
    source.create_database("shop");
    source
        .connect("shop")
        .batch(MONEY)
        .expect("the tables can be made");
    source
}

fn gateway(source: &PostgresServer, workers: usize) -> Gateway {
    GatewayOptions::new()
        .catalog(
            "shop",
            format!("{}split_size = \"256KiB\"\n", source.catalog("shop")),
        )
        .workers(workers)
        .start()
}

fn settings(session: &mut Connection, settings: &[&str]) {
    for setting in settings {
        session
            .query(setting)
            .unwrap_or_else(|error| panic!("{setting}: {error}"));
    }
}

#[test]
fn the_sum_of_all_money_never_changes() {
    let _alone = leaks::alone();
    let source = source();
    let gateway = gateway(&source, 4);
    let mover = Mover::start(&source);
    for workers in [0, 1, 2, 4] {
        let mut session = gateway.connect("shop");
        settings(
            &mut session,
            &[
                &format!("SET sluice.workers = {workers}"),
                "SET sluice.target_partitions = 4",
                "SET sluice.distribute_above = 0",
            ],
        );
        for pushdown in ["on", "off"] {
            settings(
                &mut session,
                &[&format!("SET sluice.pushdown = {pushdown}")],
            );
            for sql in SUMS {
                for _ in 0..3 {
                    let sum = session
                        .query(sql)
                        .unwrap_or_else(|error| panic!("{workers} workers: {sql}: {error}"));
                    assert_eq!(
                        sum.single(),
                        TOTAL.to_string(),
                        "{workers} workers, pushdown {pushdown}: {sql}"
                    );
                }
            }
        }
    }
    let moves = mover.moves.load(Ordering::Relaxed);
    assert!(moves > 50, "only {moves} moves: the test shows nothing");
    drop(mover);
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn a_table_that_changed_is_planned_again() {
    let source = source();
    let gateway = gateway(&source, 1);
    let mut owner = source.connect("shop");
    let mut session = gateway.connect("shop");
    for workers in [0, 1] {
        settings(
            &mut session,
            &[
                &format!("SET sluice.workers = {workers}"),
                "SET sluice.distribute_above = 0",
            ],
        );
        owner
            .batch(
                "DROP TABLE IF EXISTS moving; CREATE TABLE moving (a int, b int); \
                 INSERT INTO moving VALUES (1, 2)",
            )
            .expect("the table can be made");
        session
            .query("CALL shop.system.flush_metadata()")
            .expect("metadata can be flushed");
        let mut read = |sql: &str| session.query(sql).map(|rows| rows.lines());
        assert_eq!(
            read("SELECT * FROM public.moving")
                .as_deref()
                .map_err(ToString::to_string),
            Ok("1")
        );
        // The column has another type.
        owner
            .query("ALTER TABLE moving ALTER a TYPE text USING 'one'")
            .expect("ALTER runs");
        assert_eq!(
            read("SELECT * FROM public.moving")
                .as_deref()
                .map_err(ToString::to_string),
            Ok("one")
        );
        // Another table of the same name, with other columns.
        owner
            .batch("DROP TABLE moving; CREATE TABLE moving (b int, c int); INSERT INTO moving VALUES (3, 4)")
            .expect("the table can be made anew");
        assert_eq!(
            read("SELECT * FROM public.moving")
                .as_deref()
                .map_err(ToString::to_string),
            Ok("3")
        );
        // A column went that the statement does not name.
        owner
            .query("ALTER TABLE moving DROP c")
            .expect("ALTER runs");
        assert_eq!(
            read("SELECT * FROM public.moving")
                .as_deref()
                .map_err(ToString::to_string),
            Ok("3")
        );
        // One that it names, and the whole table: the errors are those of a table without it.
        let gone = read("SELECT c FROM public.moving").expect_err("the column is gone");
        assert_eq!(gone.code(), "42703", "{gone}");
        owner.query("DROP TABLE moving").expect("DROP runs");
        let gone = read("SELECT b FROM public.moving").expect_err("the table is gone");
        assert_eq!(gone.code(), "42P01", "{gone}");
    }
    leaks::assert_nothing_left(&gateway, &[&source]);
}
