//! Statements and their answers: simple, extended, cursors, rows in pieces.

use std::sync::atomic::Ordering;

use super::server::*;

#[tokio::test]
async fn the_simple_protocol() {
    let server = Server::new();
    let mut client = server.client().await;
    assert_eq!(client.parameters["server_version"], "16.9");
    assert_eq!(client.parameters["session_authorization"], "ann");
    assert_eq!(
        client.query("select 3").await,
        "columns | 3 rows | SELECT 3 | I"
    );
    assert_eq!(client.query(" ; -- nothing").await, "I | I");
    assert_eq!(
        client.query("insert into t values (1)").await,
        "INSERT 0 1 | I"
    );
    // What ran before an error is delivered; positions count over the whole message.
    assert_eq!(
        client
            .query("select 2; select * from nowhere; select 1")
            .await,
        "columns | 2 rows | SELECT 2 | ERROR 42P01 relation \"nowhere\" does not exist @25 | I"
    );
    assert_eq!(
        client.query("select 1; selec 2").await,
        "ERROR 42601 syntax error at or near \"selec\" @11 | I"
    );
    assert_eq!(
        client.query("select 2; select 3").await,
        "columns | 2 rows | SELECT 2 | columns | 3 rows | SELECT 3 | I"
    );
    assert_eq!(
        client.query("select bad").await,
        "columns | 10 rows | ERROR 22012 division by zero | I"
    );
    assert_eq!(
        client
            .query(&format!("select {}1", "(".repeat(5_000)))
            .await,
        "ERROR 54001 stack depth limit exceeded | I"
    );
    assert_eq!(server.engine.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn transactions_and_settings() {
    let server = Server::new();
    let mut client = server
        .client_with(&[
            ("user", "ann"),
            ("database", "shop"),
            ("options", "-c TimeZone=CET"),
        ])
        .await
        .unwrap();
    assert_eq!(client.parameters["TimeZone"], "CET");
    assert_eq!(
        client.query("begin; set timezone = 'UTC'").await,
        "BEGIN | SET | set TimeZone=UTC | T"
    );
    assert_eq!(
        client.query("begin").await,
        "WARNING 25001 there is already a transaction in progress | BEGIN | T"
    );
    assert_eq!(
        client.query("select * from nowhere").await,
        "ERROR 42P01 relation \"nowhere\" does not exist @15 | E"
    );
    let aborted = "ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block | E";
    assert_eq!(client.query("select 1").await, aborted);
    assert_eq!(client.query("show timezone").await, aborted);
    assert_eq!(
        client.query("commit").await,
        "ROLLBACK | set TimeZone=CET | I"
    );
    assert_eq!(
        client.query("commit").await,
        "WARNING 25P01 there is no transaction in progress | COMMIT | I"
    );
    assert_eq!(
        client
            .query("begin; savepoint a; select nowhere")
            .await
            .split(" | ")
            .last(),
        Some("E")
    );
    assert_eq!(
        client.query("rollback to a; select 1; commit").await,
        "ROLLBACK | columns | 1 rows | SELECT 1 | COMMIT | I"
    );
    assert_eq!(
        client.query("show statement_timeout").await,
        "columns | 1 rows | SHOW | I"
    );
    assert_eq!(
        client.query("set sluice.worker = 1").await,
        "ERROR 42704 unrecognized configuration parameter \"sluice.worker\" | I"
    );
    // An error undoes what the same message set.
    assert_eq!(
        client
            .query("set application_name = 'x'; select nowhere")
            .await,
        "SET | ERROR 42P01 relation \"nowhere\" does not exist @36 | I"
    );
    assert_eq!(client.query("discard all").await, "DISCARD ALL | I");
}

#[tokio::test]
async fn the_extended_protocol() {
    let server = Server::new();
    let mut client = server.client().await;
    client
        .send(&[
            parse_message("s", "select $1"),
            describe_message('S', "s"),
            bind_message("", "s", &["42"]),
            describe_message('P', ""),
            execute_message("", 0),
            sync_message(),
        ])
        .await;
    assert_eq!(
        client.answer().await,
        "1 | parameters 1 | columns | 2 | columns | 1 rows | SELECT 1 | I"
    );
    client
        .send(&[
            parse_message("s", "select 1"),
            bind_message("", "s", &["1"]),
            sync_message(),
        ])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 42P05 prepared statement \"s\" already exists | I"
    );
    client
        .send(&[
            bind_message("", "missing", &[]),
            execute_message("", 0),
            sync_message(),
        ])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 26000 prepared statement \"missing\" does not exist | I"
    );
    client
        .send(&[execute_message("gone", 0), sync_message()])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 34000 portal \"gone\" does not exist | I"
    );
    client
        .send(&[bind_message("", "s", &["x"]), sync_message()])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 22P02 invalid input syntax for type integer: \"x\" | I"
    );
    client
        .send(&[
            parse_message("", "insert into t values (1)"),
            describe_message('S', ""),
            bind_message("", "", &[]),
        ])
        .await;
    client
        .send(&[
            describe_message('P', ""),
            execute_message("", 0),
            sync_message(),
        ])
        .await;
    assert_eq!(
        client.answer().await,
        "1 | parameters 0 | n | 2 | n | INSERT 0 1 | I"
    );
    client
        .send(&[
            parse_message("", ""),
            bind_message("", "", &[]),
            execute_message("", 0),
            sync_message(),
        ])
        .await;
    assert_eq!(client.answer().await, "1 | 2 | I | I");
    client
        .send(&[
            message_bytes(b'C', b"Ss\0"),
            message_bytes(b'C', b"Snever\0"),
            sync_message(),
        ])
        .await;
    assert_eq!(client.answer().await, "3 | 3 | I");
    client
        .send(&[message_bytes(b'F', b"\0\0\0\0"), sync_message()])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 0A000 function calls by protocol are not supported | I"
    );
    assert_eq!(client.answer().await, "I");
}

#[tokio::test]
async fn portals_are_read_in_pieces_and_never_collected() {
    let server = Server::new();
    let mut client = server.client().await;
    client.send(&[query_message("begin")]).await;
    assert_eq!(client.answer().await, "BEGIN | T");
    client
        .send(&[
            parse_message("", "select rows(1000000000)"),
            bind_message("p", "", &[]),
            execute_message("p", 5),
        ])
        .await;
    client.send(&[sync_message()]).await;
    assert_eq!(client.answer().await, "1 | 2 | 5 rows | s | T");
    client
        .send(&[execute_message("p", 10_000), sync_message()])
        .await;
    assert_eq!(client.answer().await, "10000 rows | s | T");
    assert!(server.engine.produced.load(Ordering::SeqCst) <= 3 * 8192);
    // The same namespace as cursors.
    assert_eq!(
        client.query("fetch 3 from p").await,
        "columns | 3 rows | FETCH 3 | T"
    );
    client
        .send(&[bind_message("p", "", &[]), sync_message()])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 26000 unnamed prepared statement does not exist | E"
    );
    assert_eq!(client.query("rollback").await, "ROLLBACK | I");
    assert_eq!(server.engine.running.load(Ordering::SeqCst), 0);
    client
        .send(&[execute_message("p", 1), sync_message()])
        .await;
    assert_eq!(
        client.answer().await,
        "ERROR 34000 portal \"p\" does not exist | I"
    );
}

#[tokio::test]
async fn cursors_and_sql_prepared_statements() {
    let server = Server::new();
    let mut client = server.client().await;
    assert_eq!(
        client.query("declare c cursor for select 5").await,
        "ERROR 25P01 DECLARE CURSOR can only be used in transaction blocks | I"
    );
    assert_eq!(
        client
            .query("declare h cursor with hold for select rows(100000)")
            .await,
        "DECLARE CURSOR | I"
    );
    assert_eq!(
        client.query("begin; declare c cursor for select 5").await,
        "BEGIN | DECLARE CURSOR | T"
    );
    assert_eq!(
        client
            .query("fetch 2 c; move 1 in c; fetch all c; fetch c")
            .await,
        "columns | 2 rows | FETCH 2 | MOVE 1 | columns | 2 rows | FETCH 2 | columns | FETCH 0 | T"
    );
    assert_eq!(
        client.query("declare c cursor for select 1").await,
        "ERROR 42P03 cursor \"c\" already exists | E"
    );
    assert_eq!(
        client.query("rollback; fetch 1 from c").await,
        "ROLLBACK | ERROR 34000 cursor \"c\" does not exist | I"
    );
    assert_eq!(
        client.query("fetch 20000 from h").await,
        "columns | 20000 rows | FETCH 20000 | I"
    );
    assert_eq!(
        client.query("fetch backward 1 from h").await,
        "ERROR 55000 cursor can only scan forward | I"
    );
    let entry = server.front.sessions.session(client.pid).unwrap();
    assert_eq!(entry.cursors()[0].name, "h");
    assert_eq!(
        client.query("fetch all from h").await,
        "columns | 80000 rows | FETCH 80000 | I"
    );
    assert_eq!(client.query("close h").await, "CLOSE CURSOR | I");
    assert_eq!(
        client.query("prepare p (int) as select $1").await,
        "PREPARE | I"
    );
    assert_eq!(
        client.query("execute p(1)").await,
        "columns | 1 rows | SELECT 1 | I"
    );
    assert_eq!(
        client.query("execute p").await,
        "ERROR 42601 wrong number of parameters for prepared statement \"p\" | I"
    );
    assert_eq!(
        client.query("deallocate p; execute p(1)").await,
        "DEALLOCATE | ERROR 26000 prepared statement \"p\" does not exist | I"
    );
    assert_eq!(server.engine.running.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_results_arrive_whole_and_in_order() {
    let server = Server::new();
    let mut client = server.client().await;
    client.send(&[query_message("select rows(300000)")]).await;
    let mut expected = 0i64;
    loop {
        let (tag, body) = client.frame().await.unwrap();
        match tag {
            b'D' => {
                assert_eq!(
                    std::str::from_utf8(&body[6..])
                        .unwrap()
                        .parse::<i64>()
                        .unwrap(),
                    expected
                );
                expected += 1;
            }
            b'Z' => break,
            _ => {}
        }
    }
    assert_eq!(expected, 300_000);
}

#[tokio::test]
async fn pipelined_messages_are_answered_in_order() {
    let server = Server::new();
    let mut client = server.client().await;
    let one = [
        parse_message("", "select $1"),
        bind_message("", "", &["7"]),
        execute_message("", 0),
        sync_message(),
    ]
    .concat();
    client.send(&[one.repeat(200)]).await;
    for _ in 0..200 {
        assert_eq!(client.answer().await, "1 | 2 | 1 rows | SELECT 1 | I");
    }
}
