//! Clients that disconnect in the middle of a result, or stop reading it.

use std::thread;
use std::time::{Duration, Instant};

use sluice_tests::frames::{cstring, frame};
use sluice_tests::process::free_port;
use sluice_tests::{Gateway, GatewayOptions, data, leaks, wait};

/// The product's own limit for a slow reader, in bytes.
const SLOW_READER_LIMIT: u64 = 400 * 1024 * 1024;

fn gateway() -> Gateway {
    GatewayOptions::new()
        .catalog("tpch", "connector = \"tpch\"\n")
        .start()
}

fn running_queries(gateway: &Gateway) -> usize {
    gateway
        .connect("sluice")
        .query("SELECT * FROM system.runtime.queries WHERE state = 'running' AND query LIKE '%lineitem%'")
        .map_or(0, |rows| {
            let own = |row: &Vec<Option<String>>| row.iter().flatten().any(|value| value.contains("system.runtime"));
            rows.rows.iter().filter(|row| !own(row)).count()
        })
}

#[test]
fn a_client_that_vanishes_ends_its_query() {
    let gateway = gateway();
    // Once while rows flow, once while the client waits for its first row.
    for sql in [
        "SELECT * FROM tpch.sf1.lineitem",
        "SELECT count(*) FROM tpch.sf10.lineitem WHERE l_comment < 'm'",
    ] {
        let mut session = gateway.connect("tpch");
        session
            .send_raw(&frame(b'Q', &cstring(sql)))
            .expect("a frame can be sent");
        wait::for_condition("the query runs", Duration::from_secs(10), || {
            running_queries(&gateway) == 1
        });
        let gone = Instant::now();
        drop(session);
        wait::for_condition(
            "the query ends with its client",
            Duration::from_secs(5),
            || running_queries(&gateway) == 0,
        );
        println!("ended {:?} after the client", gone.elapsed());
    }
    leaks::assert_nothing_left(&gateway, &[]);
}

/// Six million rows in the long suite, with the same pause for a smaller result in the short one. They come
/// from files: the generator keeps dbgen's 300 MB of text in memory, which says nothing about results.
#[test]
fn a_reader_that_pauses_does_not_fill_the_gateway() {
    let (scale, rows) = if sluice_tests::all() {
        ("1", 6_001_215)
    } else {
        ("0.1", 600_572)
    };
    let gateway = GatewayOptions::new()
        .catalog(
            "lake",
            format!(
                "connector = \"lake\"\nlocation = \"file://{}\"\n",
                data::tpch(scale, "parquet").display()
            ),
        )
        .start();
    let sql = format!("SELECT * FROM {}.lineitem", data::schema(scale));
    let mut session = gateway.connect("lake");
    session
        .send_raw(&frame(b'Q', &cstring(&sql)))
        .expect("a frame can be sent");
    assert_eq!(session.receive().expect("the columns").tag, b'T');
    let begin = Instant::now();
    let mut most = 0;
    // The kernel's buffers fill within a moment; then nothing may grow any more.
    while begin.elapsed() < Duration::from_secs(5) {
        most = most.max(gateway.process().resident_bytes());
        thread::sleep(Duration::from_millis(100));
    }
    let mut count = 0;
    loop {
        let message = session.receive().expect("the result goes on");
        match message.tag {
            b'D' => count += 1,
            b'E' => panic!("the paused result failed\n{}", gateway.logs()),
            b'Z' => break,
            _ => {}
        }
        if count % 100_000 == 0 {
            most = most.max(gateway.process().resident_bytes());
        }
    }
    println!("most resident memory: {} MiB", most / 1024 / 1024);
    assert_eq!(count, rows);
    assert!(
        most < SLOW_READER_LIMIT,
        "{} MiB resident",
        most / 1024 / 1024
    );
    leaks::assert_nothing_left(&gateway, &[]);
}

#[test]
fn a_hundred_idle_sessions_cost_little_and_go_away() {
    let gateway = gateway();
    let before = gateway.process().resident_bytes();
    let sessions: Vec<_> = (0..100).map(|_| gateway.connect("tpch")).collect();
    let grown = gateway.process().resident_bytes().saturating_sub(before);
    assert!(
        grown < 100 * 1024 * 1024,
        "{} MiB for a hundred idle sessions",
        grown / 1024 / 1024
    );
    drop(sessions);
    wait::for_condition("the sessions are gone", Duration::from_secs(10), || {
        gateway
            .connect("sluice")
            .query("SELECT count(*) FROM pg_stat_activity")
            .is_ok_and(|rows| rows.single().parse::<u32>().is_ok_and(|count| count <= 2))
    });
}

#[test]
fn an_address_that_is_taken_is_a_clear_error() {
    let port = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let output = std::process::Command::new(sluice_tests::paths::program("sluice"))
        .args([
            "serve",
            "--set",
            &format!("postgres.listen=127.0.0.1:{port}"),
        ])
        .args([
            "--set",
            "http.listen=127.0.0.1:0",
            "--set",
            "rpc.listen=127.0.0.1:0",
        ])
        .output()
        .expect("sluice starts");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains(&port.to_string()),
        "the message names the address: {errors}"
    );
}
