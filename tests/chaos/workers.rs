//! A worker that is killed, and one that freezes, in the middle of a query.

use std::time::{Duration, Instant};

use sluice_tests::process::Signal;
use sluice_tests::{Gateway, GatewayOptions, leaks, wait};

use crate::{LONG, Running};

/// "Seconds": heartbeats and keepalives of the channels notice within five.
const ERROR_LIMIT: Duration = Duration::from_secs(10);

fn fleet(workers: usize) -> Gateway {
    GatewayOptions::new()
        .catalog("tpch", "connector = \"tpch\"\n")
        .workers(workers)
        .start()
}

/// Until tasks of the long statement run on the workers.
fn wait_until_busy(gateway: &Gateway) {
    wait::for_condition("tasks run on workers", Duration::from_secs(20), || {
        gateway
            .connect("sluice")
            .query("SELECT * FROM system.runtime.tasks WHERE state = 'running'")
            .is_ok_and(|rows| !rows.rows.is_empty())
    });
}

fn a_fault_ends_the_query(signal: Signal) {
    let gateway = fleet(2);
    let running = Running::start(gateway.connect("tpch"), LONG);
    wait_until_busy(&gateway);
    let fault = Instant::now();
    gateway.worker(0).signal(signal);
    let (outcome, after) = running.outcome_within(fault, ERROR_LIMIT);
    let error = outcome.expect_err("half of the fleet is gone");
    assert!(
        error.code().starts_with("58") || error.code().starts_with("57P"),
        "a lost worker is a system error: {error}"
    );
    assert!(
        error.message().contains("worker"),
        "the message names the worker: {error}"
    );
    println!("error {after:?} after {signal:?}: {error}");

    // The next query runs on what is left. A frozen worker is out of the list by then.
    let begin = Instant::now();
    let mut session = gateway.connect("tpch");
    let count = session
        .query("SELECT count(*) FROM tpch.tiny.lineitem WHERE l_comment < 'm'")
        .unwrap_or_else(|error| panic!("the next query fails: {error}\n{}", gateway.logs()));
    assert_eq!(count.rows.len(), 1);
    println!("next query after {:?}", begin.elapsed());
    wait::for_condition("one worker is left in the list", ERROR_LIMIT, || {
        gateway.active_workers() == 1
    });

    // A frozen worker that goes on registers again.
    if signal == Signal::Stop {
        gateway.worker(0).signal(Signal::Continue);
        wait::for_condition("the thawed worker is back", ERROR_LIMIT, || {
            gateway.active_workers() == 2
        });
    }
    leaks::assert_nothing_left(&gateway, &[]);
}

#[test]
fn a_killed_worker_ends_its_query_with_an_error() {
    a_fault_ends_the_query(Signal::Kill);
}

#[test]
fn a_frozen_worker_ends_its_query_with_an_error() {
    a_fault_ends_the_query(Signal::Stop);
}

#[test]
fn a_worker_that_is_asked_to_end_finishes_its_tasks_first() {
    let gateway = fleet(2);
    let sql = "SELECT l_returnflag, count(*), sum(l_quantity) FROM tpch.sf1.lineitem GROUP BY l_returnflag ORDER BY 1";
    let running = Running::start(gateway.connect("tpch"), sql);
    wait_until_busy(&gateway);
    let asked = Instant::now();
    gateway.worker(1).signal(Signal::Terminate);
    let (outcome, _) = running.outcome_within(asked, Duration::from_secs(60));
    let rows = outcome
        .unwrap_or_else(|error| panic!("a drain broke the query: {error}\n{}", gateway.logs()));
    assert_eq!(rows.rows.len(), 3);
    let status = gateway
        .worker(1)
        .wait(Duration::from_secs(15))
        .expect("the worker ends");
    assert_eq!(status.code(), Some(0), "{}", gateway.worker(1).log_tail());
    wait::for_condition("the drained worker has left the list", ERROR_LIMIT, || {
        gateway.active_workers() == 1
    });
    leaks::assert_nothing_left(&gateway, &[]);
}

#[test]
fn a_worker_can_join_later() {
    let mut gateway = fleet(1);
    gateway.add_worker();
    assert_eq!(gateway.active_workers(), 2);
    let count = gateway
        .connect("tpch")
        .query("SELECT count(*) FROM tpch.tiny.orders WHERE o_comment > 'a'")
        .expect("the fleet answers");
    assert_eq!(count.rows.len(), 1);
}
