//! Sources that are down, die in the middle of a scan, or hold broken files.

use std::fs;
use std::time::{Duration, Instant};

use sluice_tests::process::{Scratch, free_port};
use sluice_tests::{GatewayOptions, PostgresServer, leaks, wait};

use crate::Running;

/// A table that a scan needs many seconds for, without being large on disk.
const SLOW_TABLE: &str = "CREATE TABLE slow AS SELECT i AS id, repeat('x', 200) AS filler FROM generate_series(1, 2000000) AS i";

/// The source's own work is slow, too: rows come one by one, each after a pause.
const SLOW_VIEW: &str = "CREATE VIEW trickle AS SELECT i AS id, pg_sleep(0.01)::text AS pause FROM generate_series(1, 100000) AS i";

fn source() -> PostgresServer {
    let source = PostgresServer::start();
    source.create_database("shop");
    let mut session = source.connect("shop");
    session.query(SLOW_TABLE).expect("the table can be made");
    session.query(SLOW_VIEW).expect("the view can be made");
    session.query("ANALYZE slow").expect("ANALYZE runs");
    source
}

#[test]
fn a_source_that_is_down_at_start_fails_only_its_own_queries() {
    let port = free_port();
    let gateway = GatewayOptions::new()
        .catalog(
            "away",
            format!(
                "connector = \"postgres\"\nurl = \"postgresql://nobody@127.0.0.1:{port}/none\"\n"
            ),
        )
        .catalog("tpch", "connector = \"tpch\"\n")
        .start();
    let mut session = gateway.connect("sluice");
    assert_eq!(
        session
            .query("SELECT count(*) FROM tpch.tiny.region")
            .expect("tpch answers")
            .single(),
        "5"
    );
    let begin = Instant::now();
    let error = session
        .query("SELECT * FROM away.public.anything")
        .expect_err("nobody listens there");
    assert!(error.code().starts_with("08"), "{error}");
    assert!(
        error.message().contains("away"),
        "the message names the catalog: {error}"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "it took {:?}",
        begin.elapsed()
    );
    let joined = session.query("SELECT count(*) FROM tpch.tiny.region, away.public.anything");
    assert!(joined.is_err_and(|error| error.code().starts_with("08")));
    assert_eq!(
        session
            .query("SELECT count(*) FROM tpch.tiny.region")
            .expect("tpch answers")
            .single(),
        "5"
    );
    // Lists of everything show what can be reached.
    session
        .query("SELECT count(*) FROM information_schema.tables")
        .expect("the lists answer");
}

#[test]
fn a_source_that_dies_mid_scan_is_named_and_comes_back() {
    let mut source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .start();
    let running = Running::start(
        gateway.connect("shop"),
        "SELECT count(pause) FROM trickle WHERE pause || id <> 'x'",
    );
    wait::for_condition(
        "the scan runs at the source",
        Duration::from_secs(20),
        || source.busy_sessions() > 0,
    );
    let fault = Instant::now();
    source.kill();
    let (outcome, after) = running.outcome_within(fault, Duration::from_secs(20));
    let error = outcome.expect_err("its source is gone");
    assert!(
        error.code().starts_with("08") || error.code().starts_with("57P"),
        "{error}"
    );
    assert!(
        error.to_string().contains("shop"),
        "the message names the catalog: {error}"
    );
    println!("error {after:?} after the fault: {error}");
    source.restart();
    let mut session = gateway.connect("shop");
    let count = wait::until(Duration::from_secs(15), || {
        session.query("SELECT count(*) FROM slow").ok()
    });
    assert_eq!(count.expect("the source is back").single(), "2000000");
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn a_cancelled_query_is_gone_from_the_source_within_a_second() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .start();
    let session = gateway.connect("shop");
    let canceller = session.canceller();
    let running = Running::start(
        session,
        "SELECT count(pause) FROM trickle WHERE pause || id <> 'x'",
    );
    wait::for_condition(
        "the scan runs at the source",
        Duration::from_secs(20),
        || source.busy_sessions() > 0,
    );
    let asked = Instant::now();
    canceller.cancel().expect("the request is sent");
    wait::for_condition("the remote query is gone", Duration::from_secs(1), || {
        source.busy_sessions() == 0
    });
    println!("gone from the source after {:?}", asked.elapsed());
    let (outcome, _) = running.outcome_within(asked, Duration::from_secs(2));
    assert_eq!(outcome.expect_err("it was cancelled").code(), "57014");
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn a_statement_timeout_reaches_the_source() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .start();
    let mut session = gateway.connect("shop");
    session
        .query("SET statement_timeout = '700ms'")
        .expect("a setting");
    let begin = Instant::now();
    let error = session
        .query("SELECT count(pause) FROM trickle WHERE pause || id <> 'x'")
        .expect_err("it takes far longer");
    assert_eq!(error.code(), "57014", "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "it took {:?}",
        begin.elapsed()
    );
    leaks::assert_nothing_left(&gateway, &[&source]);
}

/// A source that does not even say which columns a table has.
#[test]
fn a_statement_timeout_ends_the_look_up_of_names() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .start();
    let mut session = gateway.connect("shop");
    session
        .query("SET statement_timeout = '700ms'")
        .expect("a setting");
    let mut holder = source.connect("shop");
    holder
        .query("BEGIN; LOCK TABLE pg_catalog.pg_attrdef IN ACCESS EXCLUSIVE MODE")
        .expect("a lock");
    let begin = Instant::now();
    let error = session
        .query("SELECT count(*) FROM trickle WHERE id < 0")
        .expect_err("nobody answers");
    assert_eq!(error.code(), "57014", "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "it took {:?}",
        begin.elapsed()
    );
    holder.query("ROLLBACK").expect("it ends");
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn a_limit_does_not_read_the_rest() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .start();
    let mut session = gateway.connect("shop");
    let begin = Instant::now();
    let rows = session
        .query("SELECT id FROM trickle LIMIT 5")
        .expect("five rows");
    assert_eq!(rows.rows.len(), 5);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        begin.elapsed()
    );
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn broken_files_are_named() {
    let folder = Scratch::new("broken");
    let schema = folder.path().join("web");
    fs::create_dir_all(schema.join("half")).expect("a folder");
    // A Parquet file that was cut off, one that is no Parquet at all, and a CSV line with too many fields.
    fs::write(schema.join("half/part-0.parquet"), b"PAR1 and then nothing").expect("a file");
    fs::write(schema.join("noise.parquet"), [0x42; 4096]).expect("a file");
    fs::write(schema.join("lines.csv"), "a,b\n1,2\n3,4,5\n").expect("a file");
    fs::write(schema.join("good.csv"), "a,b\n1,2\n").expect("a file");
    let gateway = GatewayOptions::new()
        .catalog(
            "lake",
            format!(
                "connector = \"lake\"\nlocation = \"file://{}\"\n",
                folder.path().display()
            ),
        )
        .start();
    let mut session = gateway.connect("lake");
    for (table, file) in [
        ("half", "part-0.parquet"),
        ("noise", "noise.parquet"),
        ("lines", "lines.csv"),
    ] {
        let error = session
            .query(&format!("SELECT * FROM web.{table}"))
            .expect_err("the file is broken");
        assert!(
            error.to_string().contains(file),
            "the message names the file: {error}"
        );
        assert!(
            !error.code().starts_with("XX000"),
            "a broken file is not an internal error: {error}"
        );
    }
    assert_eq!(
        session
            .query("SELECT b FROM web.good")
            .expect("the good file")
            .single(),
        "2"
    );
    leaks::assert_nothing_left(&gateway, &[]);
}
