//! Start and end: configuration that is refused, draining, exit codes, what is left at the sources.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use sluice_tests::process::{Scratch, Signal};
use sluice_tests::{GatewayOptions, PostgresServer, paths};

use crate::Running;

fn check_folder(files: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = Scratch::new("config");
    fs::create_dir_all(folder.path().join("catalogs")).expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    let output = Command::new(paths::program("sluice"))
        .args(["check", "--config"])
        .arg(folder.path())
        .output()
        .expect("sluice starts");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), text)
}

#[test]
fn a_good_configuration_is_accepted() {
    let (code, text) = check_folder(&[("catalogs/tpch.toml", "connector = \"tpch\"\n")]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn wrong_configuration_is_refused_with_a_suggestion() {
    for (files, word) in [
        (
            &[("sluice.toml", "[postgres]\nlisen = \"127.0.0.1:1\"\n")][..],
            "listen",
        ),
        (
            &[("sluice.toml", "[postgre]\nlisten = \"127.0.0.1:1\"\n")][..],
            "postgres",
        ),
        (
            &[(
                "catalogs/shop.toml",
                "connector = \"postgress\"\nurl = \"postgresql://x\"\n",
            )][..],
            "postgres",
        ),
        (
            &[(
                "catalogs/shop.toml",
                "connector = \"postgres\"\nulr = \"postgresql://x\"\n",
            )][..],
            "url",
        ),
        (
            &[("catalogs/lake.toml", "connector = \"lake\"\n")][..],
            "location",
        ),
        (
            &[(
                "catalogs/shop.toml",
                "connector = \"postgres\"\nurl = \"${ENV:SLUICE_TESTS_NO_SUCH_VARIABLE}\"\n",
            )][..],
            "SLUICE_TESTS_NO_SUCH_VARIABLE",
        ),
        (&[("sluice.toml", "[postgres\n")][..], "sluice.toml"),
    ] {
        let (code, text) = check_folder(files);
        assert_eq!(code, Some(2), "{files:?}: {text}");
        assert!(
            text.contains(word),
            "{files:?} does not mention {word}: {text}"
        );
    }
}

#[test]
fn a_secret_is_never_printed() {
    let (_, text) = check_folder(&[(
        "catalogs/shop.toml",
        "connector = \"postgres\"\nurl = \"postgresql://a@127.0.0.1:1/b\"\npassword = \"hunter2hunter2\"\nmax_connections = \"many\"\n",
    )]);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn an_idle_gateway_ends_in_order_and_leaves_no_session_at_the_source() {
    let source = PostgresServer::start();
    source.create_database("shop");
    source
        .connect("shop")
        .query("CREATE TABLE t AS SELECT 1 AS a")
        .expect("a table");
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .workers(2)
        .start();
    println!("first announcement after {:?}", gateway.start_time());
    gateway
        .connect("shop")
        .query("SELECT a FROM t")
        .expect("a row");
    let statuses = gateway.stop();
    for status in statuses {
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "{}",
            gateway.logs()
        );
    }
    assert_eq!(
        source.sessions("shop"),
        0,
        "sessions are left at the source"
    );
}

#[test]
fn a_running_query_ends_before_the_gateway_does() {
    let gateway = GatewayOptions::new()
        .catalog("tpch", "connector = \"tpch\"\n")
        .start();
    let running = Running::start(
        gateway.connect("tpch"),
        "SELECT l_returnflag, count(*) FROM tpch.sf1.lineitem WHERE l_comment > 'a' GROUP BY l_returnflag",
    );
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    gateway.process().signal(Signal::Interrupt);
    let (outcome, _) = running.outcome_within(asked, Duration::from_secs(60));
    assert_eq!(outcome.expect("a drain lets it finish").rows.len(), 3);
    let status = gateway
        .process()
        .wait(Duration::from_secs(15))
        .expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", gateway.logs());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let gateway = GatewayOptions::new()
        .catalog("tpch", "connector = \"tpch\"\n")
        .start();
    let _running = Running::start(gateway.connect("tpch"), crate::LONG);
    std::thread::sleep(Duration::from_millis(500));
    gateway.process().signal(Signal::Interrupt);
    std::thread::sleep(Duration::from_millis(300));
    gateway.process().signal(Signal::Interrupt);
    assert!(
        gateway.process().wait(Duration::from_secs(5)).is_some(),
        "it still runs"
    );
}
