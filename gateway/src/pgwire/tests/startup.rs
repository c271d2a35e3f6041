//! Who comes in, by which protocol, and what others see of it.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::*;
use super::server::*;
use crate::users::Users;

#[tokio::test]
async fn logins_are_refused_in_postgresqls_words() {
    let server = Server::with(FrontConfig {
        max_connections: 1,
        ..FrontConfig::default()
    });
    let refused =
        |parameters: &'static [(&'static str, &'static str)]| server.client_with(parameters);
    assert_eq!(
        refused(&[("user", "ann")]).await.err().unwrap(),
        "FATAL 3D000 database \"ann\" does not exist"
    );
    assert_eq!(
        refused(&[("user", "a"), ("database", "shop"), ("work_mem", "x")])
            .await
            .err()
            .unwrap(),
        "FATAL 22023 invalid value for parameter \"work_mem\": \"x\""
    );
    let _first = server.client().await;
    assert_eq!(
        refused(&[("user", "a"), ("database", "shop")])
            .await
            .err()
            .unwrap(),
        "FATAL 53300 sorry, too many clients already"
    );
}

#[tokio::test]
async fn scram_users_log_in_with_their_password_alone() {
    let users = Users::default();
    users.add("ann", "secret").unwrap();
    let server = Server::with(FrontConfig {
        auth: Auth::Scram(Arc::new(users)),
        ..FrontConfig::default()
    });
    // A client that answers nonsense is refused, whoever it says it is.
    for user in ["ann", "nobody"] {
        let mut stream = server.connect();
        stream
            .write_all(&startup_packet(
                3 << 16,
                &[("user", user), ("database", "shop")],
            ))
            .await
            .unwrap();
        let mut client = Client {
            stream,
            pid: 0,
            secret: vec![],
            parameters: HashMap::new(),
        };
        assert_eq!(client.frame().await.unwrap().0, b'R');
        let first = b"n,,n=,r=abcdefgh";
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        body.extend_from_slice(&(first.len() as u32).to_be_bytes());
        body.extend_from_slice(first);
        client.send(&[message_bytes(b'p', &body)]).await;
        let (tag, challenge) = client.frame().await.unwrap();
        assert_eq!(tag, b'R');
        let challenge = String::from_utf8_lossy(&challenge[4..]).into_owned();
        let nonce = challenge.split(',').next().unwrap();
        let proof = "A".repeat(43) + "=";
        client
            .send(&[message_bytes(
                b'p',
                format!("c=biws,{nonce},p={proof}").as_bytes(),
            )])
            .await;
        let (tag, body) = client.frame().await.unwrap();
        assert_eq!(tag, b'E');
        assert_eq!(
            error_text(&body),
            format!("FATAL 28P01 password authentication failed for user \"{user}\"")
        );
    }
}

#[tokio::test]
async fn newer_protocols_are_negotiated_down_and_encryption_declined() {
    let server = Server::new();
    let mut stream = server.connect();
    stream.write_all(&[0, 0, 0, 8]).await.unwrap();
    stream
        .write_all(&80_877_104u32.to_be_bytes())
        .await
        .unwrap();
    stream.write_all(&[0, 0, 0, 8]).await.unwrap();
    stream
        .write_all(&80_877_103u32.to_be_bytes())
        .await
        .unwrap();
    let mut no = [0; 2];
    stream.read_exact(&mut no).await.unwrap();
    assert_eq!(&no, b"NN");
    let parameters = [("user", "ann"), ("database", "shop"), ("_pq_.future", "1")];
    stream
        .write_all(&startup_packet((3 << 16) | 9999, &parameters))
        .await
        .unwrap();
    let mut client = Client {
        stream,
        pid: 0,
        secret: vec![],
        parameters: HashMap::new(),
    };
    let (tag, body) = client.frame().await.unwrap();
    assert_eq!(
        (tag, &body[..]),
        (b'v', &b"\0\x03\0\x02\0\0\0\x01_pq_.future\0"[..])
    );
    loop {
        let (tag, body) = client.frame().await.unwrap();
        match tag {
            b'K' => assert_eq!(body.len(), 4 + 32),
            b'Z' => break,
            _ => {}
        }
    }
}

#[tokio::test]
async fn others_see_what_a_session_does() {
    let server = Server::new();
    let mut client = server.client().await;
    let _ = client.query("begin; set application_name = 'psql'").await;
    let activity = &server.front.sessions.list()[0];
    assert_eq!(
        (activity.state.name(), activity.application_name.as_str()),
        ("idle in transaction", "psql")
    );
    client.send(&[query_message("select hang")]).await;
    eventually(|| server.front.sessions.list()[0].state.name() == "active").await;
    assert_eq!(
        server.front.sessions.list()[0].query.as_ref(),
        "select hang"
    );
    assert!(server.front.sessions.cancel(client.pid));
    assert!(client.answer().await.ends_with("user request | E"));
    assert!(!server.front.sessions.cancel(99_999));
    let entry = server.front.sessions.session(client.pid).unwrap();
    let _ = client.query("rollback").await;
    assert_eq!(
        entry.set_config("statement_timeout", "5s", false).unwrap(),
        "5s"
    );
    assert_eq!(
        client.query("select 1").await,
        "columns | 1 rows | SELECT 1 | I"
    );
    entry.set_config("application_name", "seen", false).unwrap();
    assert!(
        client
            .query("select 1")
            .await
            .contains("set application_name=seen")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_connects() {
    let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else {
        panic!("no port")
    };
    let port = listener.local_addr().unwrap().port();
    let users = Users::default();
    users.add("ann", "secret").unwrap();
    let config = FrontConfig {
        auth: Auth::Scram(Arc::new(users)),
        ..FrontConfig::default()
    };
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(
        listener,
        config,
        Arc::new(Counter::default()),
        SessionRegistry::new(),
        shutdown.clone(),
    ));
    let psql = |password: &'static str, command: &'static str| {
        let mut psql = tokio::process::Command::new("psql");
        psql.args([
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-U",
            "ann",
            "-d",
            "shop",
            "-p",
            &port.to_string(),
            "-c",
            command,
        ])
        .env("PGPASSWORD", password);
        async move {
            let output = psql.output().await.expect("psql is installed");
            (
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        }
    };
    let (rows, error) = psql("secret", "select 3").await;
    assert_eq!((rows.as_str(), error.as_str()), ("0\n1\n2\n", ""));
    assert_eq!(
        psql("secret", "show search_path").await.0,
        "\"$user\", public\n"
    );
    let (_, error) = psql("wrong", "select 3").await;
    assert!(
        error.contains("password authentication failed for user \"ann\""),
        "{error}"
    );
    let (_, error) = psql("secret", "select x from nowhere").await;
    assert!(
        error.contains("relation \"nowhere\" does not exist\nLINE 1: select x from nowhere"),
        "{error}"
    );
    shutdown.cancel();
    serving.await.unwrap();
}
