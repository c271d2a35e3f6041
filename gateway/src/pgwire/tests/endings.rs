//! What ends a query or a session: a cancel request, a client that goes or sleeps, garbage, a shutdown.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::*;

#[tokio::test]
async fn a_cancel_request_ends_the_query_and_only_with_the_secret() {
    let server = Server::new();
    let mut client = server.client().await;
    client.send(&[query_message("select hang")]).await;
    eventually(|| server.engine.running.load(Ordering::SeqCst) == 1).await;
    let cancel = |secret: Vec<u8>| {
        let mut packet = [0u8, 0, 0, 16].to_vec();
        packet.extend_from_slice(&80_877_102u32.to_be_bytes());
        packet.extend_from_slice(&client.pid.to_be_bytes());
        packet.extend(secret);
        packet
    };
    let (wrong, right) = (cancel(vec![0; 4]), cancel(client.secret.clone()));
    let mut stream = server.connect();
    stream.write_all(&wrong).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(server.engine.running.load(Ordering::SeqCst), 1);
    server.connect().write_all(&right).await.unwrap();
    assert_eq!(
        client.answer().await,
        "columns | ERROR 57014 canceling statement due to user request | I"
    );
    eventually(|| server.engine.running.load(Ordering::SeqCst) == 0).await;
    assert_eq!(
        client.query("select 1").await,
        "columns | 1 rows | SELECT 1 | I"
    );
}

#[tokio::test]
async fn a_client_that_vanishes_ends_its_query() {
    let server = Server::new();
    let mut client = server.client().await;
    client.send(&[query_message("select hang")]).await;
    eventually(|| server.engine.running.load(Ordering::SeqCst) == 1).await;
    drop(client);
    eventually(|| {
        server.engine.running.load(Ordering::SeqCst) == 0 && server.front.sessions.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_stops_the_query() {
    let server = Server::new();
    let mut client = server.client().await;
    client
        .send(&[query_message("select rows(1000000000)")])
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let produced = server.engine.produced.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.engine.produced.load(Ordering::SeqCst), produced);
    assert!(
        produced < 1_000_000,
        "{produced} rows were produced for nobody"
    );
    assert!(server.front.sessions.terminate(client.pid));
    eventually(|| server.engine.running.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn garbage_closes_the_connection_cleanly() {
    let server = Server::new();
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 64],
        startup_packet(2 << 16, &[]),
        vec![0, 0, 0, 9, 0, 3, 0, 0, b'x'],
    ] {
        let mut stream = server.connect();
        stream.write_all(&garbage).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
            .await
            .expect("closed");
        assert!(answer.is_empty() || answer[0] == b'E');
    }
    let mut client = server.client().await;
    client.send(&[message_bytes(b'z', b"")]).await;
    assert_eq!(
        client.answer().await,
        "FATAL 08P01 invalid frontend message type 122 | closed"
    );
    let mut client = server.client().await;
    client.send(&[vec![b'Q', 0x7f, 0xff, 0xff, 0xff]]).await;
    assert_eq!(
        client.answer().await,
        "FATAL 08P01 invalid message length | closed"
    );
    let mut client = server.client().await;
    client
        .send(&[message_bytes(b'B', b"\0\0\0\x01"), sync_message()])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 08P01 insufficient data left in message | I"
    );
}

#[tokio::test]
async fn a_shutdown_lets_busy_sessions_finish() {
    let server = Server::new();
    let (mut idle, mut busy) = (server.client().await, server.client().await);
    busy.send(&[query_message("select hang")]).await;
    eventually(|| server.engine.running.load(Ordering::SeqCst) == 1).await;
    server.shutdown.cancel();
    let terminated = "FATAL 57P01 terminating connection due to administrator command | closed";
    assert_eq!(idle.answer().await, terminated);
    assert_eq!(server.engine.running.load(Ordering::SeqCst), 1);
    server.kill.cancel();
    assert_eq!(busy.answer().await, format!("columns | {terminated}"));
    eventually(|| server.engine.running.load(Ordering::SeqCst) == 0).await;
    let refused = server
        .client_with(&[("user", "a"), ("database", "shop")])
        .await
        .err()
        .unwrap();
    assert_eq!(refused, "FATAL 57P03 the database system is shutting down");
}
