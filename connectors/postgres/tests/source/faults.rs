//! What goes wrong: cancels, dead servers, wrong passwords, full pools.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};

use crate::support::{
    PASSWORD, Server, create, fails, open, open_split, read, read_all, rows, snapshot, splits,
    table,
};

const BIG: &str = "CREATE TABLE big AS SELECT g::int AS a, repeat('x', 200) AS b FROM generate_series(1, 300000) g";

#[tokio::test]
async fn dropping_a_stream_ends_the_statement() {
    let server = Server::start();
    server.sql(BIG).await;
    let catalog = server.catalog();
    let metadata = table(&catalog, "big").await;
    let mut stream = open(&catalog, &metadata, &metadata.handle, vec![0, 1], None)
        .await
        .unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    server.wait_until_idle(Duration::from_secs(1)).await;

    // Statements that do not write to their socket hear of it by the cancel request only.
    let native = catalog.passthrough().unwrap();
    for (projection, limit) in [(vec![0], None), (vec![0], Some(5)), (vec![], None)] {
        let sleep = native.query("SELECT pg_sleep(60), 1").await.unwrap();
        let mut stream = open(&catalog, &sleep, &sleep.handle, projection, limit)
            .await
            .unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
        assert!(waited.is_err(), "it should still sleep");
        drop(stream);
        server.wait_until_idle(Duration::from_secs(1)).await;
    }
    assert_eq!(
        rows(
            &read(&catalog, &metadata, &metadata.handle, vec![], None)
                .await
                .unwrap()
        ),
        300_000
    );
}

#[tokio::test]
async fn a_source_that_dies_is_a_clean_error_and_comes_back() {
    let server = Server::start();
    server.sql(BIG).await;
    let catalog = server.catalog();
    let metadata = table(&catalog, "big").await;
    for mode in ["immediate", "fast"] {
        // Two connections: one in use, one idle in the pool.
        let mut stream = open(&catalog, &metadata, &metadata.handle, vec![0, 1], None)
            .await
            .unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        assert_eq!(
            rows(
                &read(&catalog, &metadata, &metadata.handle, vec![], None)
                    .await
                    .unwrap()
            ),
            300_000
        );
        server.down(mode);
        let error = fails(stream.try_collect::<Vec<_>>().await);
        assert_eq!(
            (error.code.code(), error.source_name.as_deref()),
            ("08006", Some("shop")),
            "{error:?}"
        );
        assert!(
            error
                .message
                .starts_with("lost the connection to the source of catalog \"shop\""),
            "{error:?}"
        );

        let start = Instant::now();
        let error = fails(read_all(&catalog, &metadata).await);
        assert_eq!(error.code.code(), "08006", "{error:?}");
        assert!(
            error.message.starts_with(
                "could not connect to the source of catalog \"shop\": connection refused"
            ),
            "{error:?}"
        );
        assert!(error.hint.is_some() && start.elapsed() < Duration::from_secs(5));

        server.up();
        assert_eq!(
            rows(&read_all(&catalog, &metadata).await.unwrap()),
            300_000,
            "after {mode}"
        );
    }
    // A restart between two reads is not even noticed.
    for limit in [None, Some(10)] {
        read(&catalog, &metadata, &metadata.handle, vec![0], limit)
            .await
            .unwrap();
        server.down("immediate");
        server.up();
        read(&catalog, &metadata, &metadata.handle, vec![0], limit)
            .await
            .unwrap();
    }
    // A connection that an operator ended.
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice'").await;
    read(&catalog, &metadata, &metadata.handle, vec![0], Some(10))
        .await
        .unwrap();
    catalog.metadata().schemas().await.unwrap();
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why() {
    let server = Server::shared();
    let port = server.port;
    for (keys, code, words) in [
        (
            format!("url = '{}'\npassword = 'wrong-one'", server.url()),
            "08004",
            "password authentication failed",
        ),
        (format!("url = '{}'", server.url()), "08006", "password"),
        (
            format!(
                "url = 'postgresql://postgres@127.0.0.1:{port}/absent'\npassword = '''{PASSWORD}'''"
            ),
            "08004",
            "\"absent\" does not exist",
        ),
        (
            format!(
                "url = 'postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=require'\npassword = 'x'"
            ),
            "08006",
            "",
        ),
        (
            "url = 'postgresql://a@127.0.0.1:1/b'".into(),
            "08006",
            "connection refused",
        ),
        (
            "url = 'postgresql://a@no-such-host.invalid/b'".into(),
            "08006",
            "",
        ),
    ] {
        let catalog = create(toml::from_str(&keys).unwrap()).unwrap();
        let error = fails(catalog.metadata().schemas().await);
        assert_eq!(error.code.code(), code, "{keys}: {error:?}");
        assert!(
            error
                .message
                .starts_with("could not connect to the source of catalog \"shop\": "),
            "{error:?}"
        );
        assert!(error.message.contains(words), "{error:?}");
        assert_eq!(error.source_name.as_deref(), Some("shop"));
        assert!(error.hint.is_some());
        let shown = format!("{error:?}");
        assert!(
            !shown.contains("wrong-one") && !shown.contains(PASSWORD),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_full_pool_names_the_source() {
    let server = Server::start();
    server.sql(BIG).await;
    let catalog = server.catalog_with("max_connections = 1\nwait_timeout = '200ms'");
    let metadata = table(&catalog, "big").await;
    let mut stream = open(&catalog, &metadata, &metadata.handle, vec![0, 1], None)
        .await
        .unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let error = fails(read(&catalog, &metadata, &metadata.handle, vec![0], Some(1)).await);
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("53300", Some("shop")),
        "{error:?}"
    );
    drop(stream);
    read(&catalog, &metadata, &metadata.handle, vec![0], Some(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_failed_statement_leaves_a_usable_connection() {
    let server = Server::shared();
    let catalog = server.catalog_with("max_connections = 1");
    server
        .sql("CREATE VIEW failing AS SELECT 1 / (g - 3) AS a FROM generate_series(1, 5) g")
        .await;
    let metadata = table(&catalog, "failing").await;
    for limit in [None, Some(5)] {
        let error = fails(read(&catalog, &metadata, &metadata.handle, vec![0], limit).await);
        assert_eq!(
            (error.code.code(), error.message.as_str()),
            ("22012", "division by zero")
        );
    }
    catalog.ping().await.unwrap();
    server.wait_for_sessions(1).await;
}

/// Never more sessions than the catalog allows, although each of these is closed, not reused; and none
/// after the idle time.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_never_sees_more_connections_than_allowed() {
    let server = Server::start();
    server.sql(BIG).await;
    let catalog = server.catalog_with("max_connections = 3\nidle_timeout = '1s'");
    let metadata = table(&catalog, "big").await;
    let watched = server.client().await;
    let readers: Vec<_> = (0..60)
        .map(|i| {
            let (catalog, metadata) = (catalog.clone(), metadata.clone());
            tokio::spawn(async move {
                let mut stream = open(&catalog, &metadata, &metadata.handle, vec![0, 1], None)
                    .await
                    .unwrap();
                // Dropped early: cancelled, and the connection is closed.
                if i % 3 > 0 {
                    stream.next().await.unwrap().unwrap();
                } else {
                    let batches: Vec<_> = stream.try_collect().await.unwrap();
                    assert_eq!(rows(&batches), 300_000);
                }
            })
        })
        .collect();
    let mut most = 0;
    while !readers.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(server.sessions(&watched).await);
        assert!(most <= 3, "{most} sessions");
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(most, 3);
    server.wait_for_sessions(0).await;
}

#[tokio::test]
async fn a_full_server_is_waited_for() {
    let server = Server::start_with("max_connections = 6\nsuperuser_reserved_connections = 3");
    server
        .sql("CREATE ROLE clerk LOGIN PASSWORD 'clerk'; CREATE TABLE few AS SELECT 1 AS a; GRANT SELECT ON few TO clerk")
        .await;
    let url = format!("postgresql://clerk@127.0.0.1:{}/postgres", server.port);
    let connect = || async {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let mut config = config.clone();
        let (client, connection) = config
            .password("clerk")
            .connect(tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect().await);
    }
    let keys = format!("url = '{url}'\npassword = 'clerk'\nwait_timeout = '600ms'");
    let catalog = server.catalog_with(&keys);
    let start = Instant::now();
    let error = fails(catalog.metadata().schemas().await);
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("53300", Some("shop")),
        "{error:?}"
    );
    assert!(error.message.contains("\"shop\"") && error.hint.is_some());
    let waited = start.elapsed();
    assert!(
        (Duration::from_millis(250)..Duration::from_secs(5)).contains(&waited),
        "{waited:?}"
    );
    // One becomes free while it waits.
    let held = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(held);
    });
    catalog.metadata().schemas().await.unwrap();
    held.await.unwrap();
}

#[tokio::test]
async fn timeouts_of_the_source_are_its_own_errors() {
    let server = Server::start();
    server.sql(BIG).await;
    let catalog =
        server.catalog_with("options = '-c statement_timeout=300ms -c lock_timeout=100ms'");
    let metadata = table(&catalog, "big").await;
    let native = catalog.passthrough().unwrap();
    for limit in [None, Some(5)] {
        let sleep = native.query("SELECT pg_sleep(60), 1").await.unwrap();
        let error = fails(read(&catalog, &sleep, &sleep.handle, vec![1], limit).await);
        assert_eq!(
            (error.code.code(), error.source_name.as_deref()),
            ("57014", Some("shop")),
            "{error:?}"
        );
        assert!(error.message.contains("statement timeout"), "{error:?}");
    }
    let mut client = server.client().await;
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE big").await.unwrap();
    for limit in [None, Some(5)] {
        let error = fails(read(&catalog, &metadata, &metadata.handle, vec![0], limit).await);
        assert_eq!(
            (error.code.code(), error.source_name.as_deref()),
            ("55P03", Some("shop")),
            "{error:?}"
        );
        assert!(
            !error.stale_plan,
            "waiting once more would not help: {error:?}"
        );
    }
    lock.rollback().await.unwrap();
    server.wait_until_idle(Duration::from_secs(1)).await;
    assert_eq!(
        rows(
            &read(&catalog, &metadata, &metadata.handle, vec![0], Some(5))
                .await
                .unwrap()
        ),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_a_snapshot_leaves_nothing() {
    let server = Server::start();
    server.sql(BIG).await;
    let catalog = server.catalog_with("split_size = '1MiB'");
    let metadata = table(&catalog, "big").await;
    for mode in ["immediate", "fast"] {
        let pieces = splits(&catalog, &metadata.handle, 4, None).await.unwrap();
        assert_eq!(pieces.len(), 4);
        let opened = snapshot(&catalog, &metadata.handle, &pieces)
            .await
            .unwrap()
            .unwrap();
        let mut streams = Vec::new();
        for split in pieces {
            let token = Some(opened.token.clone());
            let mut stream = open_split(
                &catalog,
                &metadata,
                &metadata.handle,
                split,
                vec![0, 1],
                None,
                token,
            )
            .unwrap();
            assert!(stream.next().await.unwrap().is_ok());
            streams.push(stream);
        }
        server.down(mode);
        for stream in streams {
            let error = fails(stream.try_collect::<Vec<_>>().await);
            assert_eq!(error.code.code(), "08006", "{error:?}");
        }
        drop(opened);
        server.up();
        catalog.forget();
        let pieces = splits(&catalog, &metadata.handle, 4, None).await.unwrap();
        assert!(
            snapshot(&catalog, &metadata.handle, &pieces)
                .await
                .unwrap()
                .is_some()
        );
        server.wait_until_idle(Duration::from_secs(6)).await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_name_their_column() {
    let server = Server::start();
    server
        .sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
        .await;
    let url = format!("postgresql://postgres@127.0.0.1:{}/ascii", server.port);
    let config: tokio_postgres::Config = url.parse().unwrap();
    let (client, connection) = config
        .clone()
        .password(PASSWORD)
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(
            "CREATE TABLE raw AS SELECT 1 AS a, convert_from('\\xff41'::bytea, 'SQL_ASCII') AS bad",
        )
        .await
        .unwrap();
    let catalog = server.catalog_with(&format!("url = '{url}'"));
    let metadata = table(&catalog, "raw").await;
    for limit in [None, Some(5)] {
        let error = fails(read(&catalog, &metadata, &metadata.handle, vec![0, 1], limit).await);
        assert!(matches!(error.code.code(), "22021" | "22P05"), "{error:?}");
        assert!(
            error.message.contains("\"bad\"") || error.source_name.is_some(),
            "{error:?}"
        );
        assert_eq!(
            rows(
                &read(&catalog, &metadata, &metadata.handle, vec![0], limit)
                    .await
                    .unwrap()
            ),
            1
        );
    }
}
