//! Cancels, timeouts and crashes in the middle of writing.

use std::thread;
use std::time::Duration;

use sluice_tests::process::Signal;
use sluice_tests::{GatewayOptions, PostgresServer, leaks, wait};

use crate::source;

/// A statement that writes for many seconds.
const LONG: &str = "CREATE TABLE big AS SELECT l.* FROM tpch.sf10.lineitem l";

fn leftovers(source: &PostgresServer) -> String {
    source
        .connect("shop")
        .query(
            "SELECT (SELECT count(*) FROM pg_class WHERE relname IN ('big', 'sluice_rows', 'sluice replacement'))
                 || ' tables, ' || (SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND state LIKE 'idle in%')
                 || ' transactions, ' || (SELECT count(*) FROM pg_prepared_xacts) || ' prepared'",
        )
        .expect("the source answers")
        .single()
        .to_owned()
}

const NOTHING: &str = "0 tables, 0 transactions, 0 prepared";

#[test]
fn a_cancelled_write_leaves_nothing() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .catalog("tpch", "connector = \"tpch\"\n")
        .start();
    let mut session = gateway.connect("shop");
    let canceller = session.canceller();
    let running = thread::spawn(move || (session.query(LONG), session));
    wait::for_condition("rows arrive", Duration::from_secs(20), || {
        source.busy_sessions() > 0
    });
    thread::sleep(Duration::from_millis(500));
    canceller.cancel().expect("the request is sent");
    let (outcome, mut session) = running.join().expect("the thread ends");
    assert_eq!(outcome.expect_err("it was cancelled").code(), "57014");
    wait::for_condition("nothing is left", Duration::from_secs(5), || {
        leftovers(&source) == NOTHING
    });
    session
        .query("SET statement_timeout = '300ms'")
        .expect("a setting");
    let error = session.query(LONG).expect_err("it takes too long");
    assert_eq!(error.code(), "57014");
    session
        .query("SET statement_timeout = 0")
        .expect("a setting");
    // Waiting for a lock of somebody else's can be cancelled, too.
    let mut other = source.connect("shop");
    other.batch("CREATE TABLE held (a int)").expect("a table");
    other
        .batch("BEGIN; LOCK TABLE held")
        .expect("the table can be locked");
    session
        .query("SET statement_timeout = '300ms'")
        .expect("a setting");
    for sql in [
        "TRUNCATE held",
        "INSERT INTO held VALUES (1)",
        "DELETE FROM held",
    ] {
        assert_eq!(session.query(sql).expect_err(sql).code(), "57014", "{sql}");
    }
    other.query("ROLLBACK").expect("the lock ends");
    drop(other);
    wait::for_condition("nothing is left", Duration::from_secs(5), || {
        leftovers(&source) == NOTHING
    });
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn a_killed_gateway_leaves_nothing() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .catalog("tpch", "connector = \"tpch\"\n")
        .start();
    let mut session = gateway.connect("shop");
    let running = thread::spawn(move || session.query(LONG).is_err());
    wait::for_condition("rows arrive", Duration::from_secs(20), || {
        source.busy_sessions() > 0
    });
    thread::sleep(Duration::from_millis(500));
    gateway.process().signal(Signal::Kill);
    assert!(running.join().expect("the thread ends"));
    wait::for_condition("nothing is left", Duration::from_secs(10), || {
        leftovers(&source) == NOTHING && source.busy_sessions() == 0
    });
}

#[test]
fn a_source_that_dies_while_it_is_written_is_named_and_comes_back() {
    let mut source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .catalog("tpch", "connector = \"tpch\"\n")
        .start();
    let mut session = gateway.connect("shop");
    let running = thread::spawn(move || (session.query(LONG), session));
    wait::for_condition("rows arrive", Duration::from_secs(20), || {
        source.busy_sessions() > 0
    });
    thread::sleep(Duration::from_millis(500));
    source.kill();
    let (outcome, mut session) = running.join().expect("the thread ends");
    let error = outcome.expect_err("its target is gone");
    assert_eq!(error.code(), "08006", "{error}");
    assert!(error.to_string().contains("shop"), "{error}");
    source.restart();
    let made = wait::until(Duration::from_secs(15), || {
        session.query("CREATE TABLE small AS SELECT 1 AS a").ok()
    });
    assert_eq!(made.expect("the source is back").tag, "SELECT 1");
    assert_eq!(leftovers(&source), NOTHING);
    leaks::assert_nothing_left(&gateway, &[&source]);
}
