//! What goes wrong: cancels, dead servers, wrong passwords, full servers, locks, timeouts.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use crate::mariadb::{ADMINISTRATOR, MariaDbServer, PASSWORD};
use crate::support::{
    catalog, catalog_with, create, fails, open, read, read_all, rows, table, wait_until_idle,
};

const BIG: &str = "CREATE TABLE big (a int, b varchar(200)) CHARACTER SET utf8mb4;
                   INSERT INTO big SELECT seq, repeat('x', 200) FROM seq_1_to_300000";

/// A kill is a connection of its own.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_stream_ends_the_statement() {
    let server = MariaDbServer::start();
    server.query(BIG);
    let catalog = catalog(&server);
    let metadata = table(&catalog, "big").await;
    let mut stream = open(&catalog, &metadata, &metadata.handle, vec![0, 1], None)
        .await
        .unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    wait_until_idle(&server, KILLED_WITHIN).await;

    // Statements that do not write to their socket hear of it by the kill only.
    let native = catalog.passthrough().unwrap();
    for (projection, limit) in [(vec![0], None), (vec![0], Some(5)), (vec![], None)] {
        let sleep = native
            .query("SELECT 1 AS one FROM big WHERE sleep(60) = 0")
            .await
            .unwrap();
        let mut stream = open(&catalog, &sleep, &sleep.handle, projection, limit)
            .await
            .unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(500), stream.next()).await;
        assert!(waited.is_err(), "it should still sleep");
        drop(stream);
        wait_until_idle(&server, KILLED_WITHIN).await;
    }
    let count = read(&catalog, &metadata, &metadata.handle, vec![], None)
        .await
        .unwrap();
    assert_eq!(rows(&count), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_is_a_clean_error_and_comes_back() {
    // What is committed is there after the crash.
    let mut server = MariaDbServer::start_with(&["innodb-flush-log-at-trx-commit=1"]);
    server.query(BIG);
    let catalog = catalog(&server);
    let metadata = table(&catalog, "big").await;
    let mut stream = open(&catalog, &metadata, &metadata.handle, vec![0, 1], None)
        .await
        .unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    // An idle connection beside the one in use.
    assert_eq!(catalog.metadata().schemas().await.unwrap(), ["shop"]);
    server.kill();
    let error = fails(stream.try_collect::<Vec<_>>().await);
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("08006", Some("shop")),
        "{error:?}"
    );
    let error = fails(read_all(&catalog, &metadata).await);
    assert_eq!(error.code.code(), "08006", "{error:?}");
    assert!(error.message.contains("shop"), "{error:?}");

    server.restart();
    let read = read_all(&catalog, &metadata).await.unwrap();
    assert_eq!(rows(&read), 300_000, "the pool recovers by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_source() {
    let server = MariaDbServer::start_with(&["max-connections=10"]);
    server.query("CREATE TABLE t (a int); CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'p'");
    let ping = async |keys: &str| {
        let mut table: toml::Table = toml::from_str(keys).unwrap();
        table.entry("url").or_insert(server.url().into());
        table.entry("password").or_insert(PASSWORD.into());
        let catalog = create(table).unwrap();
        fails(catalog.ping().await)
    };
    let address = server.address();
    for (keys, code) in [
        ("password = 'wrong'".to_owned(), "08004"),
        (
            format!("url = 'mysql://{ADMINISTRATOR}@{address}/no_such_database'"),
            "08004",
        ),
        (
            format!("url = 'mysql://{ADMINISTRATOR}@{address}/?sslmode=require'"),
            "08004",
        ),
        (
            format!("url = 'mysql://{ADMINISTRATOR}@127.0.0.1:1/'"),
            "08006",
        ),
    ] {
        let error = ping(&keys).await;
        assert_eq!(error.code.code(), code, "{keys}: {error:?}");
        assert_eq!(error.source_name.as_deref(), Some("shop"));
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }

    // Others hold every connection of the server.
    let mut others = Vec::new();
    for _ in 0..11 {
        others.push(
            server
                .client()
                .args(["-e", "SELECT sleep(8)"])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap(),
        );
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let error = ping("wait_timeout = '1s'").await;
    assert_eq!(error.code.code(), "53300", "{error:?}");
    for mut other in others {
        let _ = other.wait();
    }
    assert!(catalog(&server).ping().await.unwrap().contains("MariaDB 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_makes_wait_and_then_refuses() {
    let server = MariaDbServer::start();
    server.query(BIG);
    let catalog = catalog_with(&server, "max_connections = 1\nwait_timeout = '1s'");
    let metadata = table(&catalog, "big").await;
    let mut stream = open(&catalog, &metadata, &metadata.handle, vec![0, 1], None)
        .await
        .unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let error = fails(catalog.metadata().schemas().await);
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("53300", Some("shop"))
    );
    assert!(rows(&stream.try_collect::<Vec<_>>().await.unwrap()) > 0);
    assert_eq!(catalog.metadata().schemas().await.unwrap(), ["shop"]);
    assert!(server.sessions() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_the_source_are_cancellations() {
    let server = MariaDbServer::start();
    server.query(BIG);
    let catalog = catalog_with(&server, "options = 'max_statement_time = 0.5'");
    let native = catalog.passthrough().unwrap();
    let slow = native
        .query("SELECT sleep(10) AS s FROM big")
        .await
        .unwrap();
    let error = fails(read_all(&catalog, &slow).await);
    assert_eq!(error.code.code(), "57014", "{error:?}");
    wait_until_idle(&server, KILLED_WITHIN).await;
}
