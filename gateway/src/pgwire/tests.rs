//! The loop over a pipe, frame by frame, with an engine that knows a few literal statements.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Statement;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use sluice_spi::{Error, Result, SqlState};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::engine::{Execution, Prepared, RowStream, SessionView};
use crate::users::Users;

/// `rows N` counts to N, `echo` gives its parameter, `hang` never answers, `bad` fails after ten rows.
#[derive(Default)]
struct Counter {
    running: Arc<AtomicUsize>,
    produced: Arc<AtomicUsize>,
}

struct Plan {
    kind: Kind,
    parameters: Vec<FieldRef>,
    schema: Option<SchemaRef>,
}

#[derive(Clone, Copy)]
enum Kind {
    Rows(i64),
    Echo,
    Hang,
    Bad,
    Insert,
}

impl Prepared for Plan {
    fn parameters(&self) -> &[FieldRef] {
        &self.parameters
    }
    fn output(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn column(data_type: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", data_type, true)]))
}

/// Counts the streams that live.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Engine for Counter {
    async fn prepare(
        &self,
        _session: &SessionView,
        statement: &Statement,
        text: &str,
        types: &[Option<FieldRef>],
    ) -> Result<Arc<dyn Prepared>> {
        if matches!(statement, Statement::Insert(_)) {
            return Ok(Arc::new(Plan {
                kind: Kind::Insert,
                parameters: vec![],
                schema: None,
            }));
        }
        let count = text
            .rsplit("rows(")
            .next()
            .and_then(|t| t.split(')').next())
            .and_then(|n| n.parse().ok());
        let (kind, parameters, data_type) = if text.contains("hang") {
            (Kind::Hang, vec![], DataType::Int64)
        } else if text.contains("bad") {
            (Kind::Bad, vec![], DataType::Int64)
        } else if text.contains("$1") {
            let field = types
                .first()
                .cloned()
                .flatten()
                .unwrap_or_else(|| types::field_for_oid(23).unwrap());
            (
                Kind::Echo,
                vec![Arc::clone(&field)],
                field.data_type().clone(),
            )
        } else if let Some(count) = count {
            (Kind::Rows(count), vec![], DataType::Int64)
        } else if let Some(number) = text
            .to_lowercase()
            .strip_prefix("select ")
            .and_then(|n| n.trim().parse().ok())
        {
            (Kind::Rows(number), vec![], DataType::Int64)
        } else {
            let position = text.find("nowhere").map_or(1, |at| at as u32 + 1);
            return Err(Error::new(
                SqlState::UNDEFINED_TABLE,
                "relation \"nowhere\" does not exist",
            )
            .with_position(position));
        };
        Ok(Arc::new(Plan {
            kind,
            parameters,
            schema: Some(column(data_type)),
        }))
    }

    async fn execute(
        &self,
        _session: &SessionView,
        prepared: &Arc<dyn Prepared>,
        parameters: Vec<ScalarValue>,
        _cancel: CancellationToken,
    ) -> Result<Execution> {
        let plan = prepared
            .as_any()
            .downcast_ref::<Plan>()
            .expect("our own plan");
        let Some(schema) = plan.schema.clone() else {
            return Ok(Execution::Done("INSERT 0 1".into()));
        };
        self.running.fetch_add(1, Ordering::SeqCst);
        let guard = Running(Arc::clone(&self.running));
        let batch = |from: i64, to: i64| {
            let array: ArrayRef = Arc::new((from..to).map(Some).collect::<Int64Array>());
            RecordBatch::try_new(column(DataType::Int64), vec![array])
                .map_err(|e| Error::internal(e.to_string()))
        };
        let produced = Arc::clone(&self.produced);
        let batches: BoxStream<'static, Result<RecordBatch>> = match plan.kind {
            Kind::Rows(count) => stream::unfold((0, guard), move |(from, guard)| {
                let produced = Arc::clone(&produced);
                async move {
                    let to = (from + 8192).min(count);
                    produced.fetch_add((to - from) as usize, Ordering::SeqCst);
                    (from < count).then(|| (batch(from, to), (to, guard)))
                }
            })
            .boxed(),
            Kind::Echo => {
                let array = parameters[0]
                    .to_array()
                    .map_err(|e| Error::internal(e.to_string()))?;
                let batch = RecordBatch::try_new(Arc::clone(&schema), vec![array]);
                stream::once(async move { batch.map_err(|e| Error::internal(e.to_string())) })
                    .boxed()
            }
            Kind::Hang => stream::once(async move {
                let _guard = guard;
                std::future::pending().await
            })
            .boxed(),
            Kind::Bad => stream::iter(vec![
                batch(0, 10),
                Err(Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")),
            ])
            .boxed(),
            Kind::Insert => stream::empty().boxed(),
        };
        Ok(Execution::Rows(RowStream {
            schema,
            verb: "SELECT",
            changed: false,
            batches,
        }))
    }

    fn databases(&self) -> Vec<String> {
        vec!["shop".into()]
    }
}

/// A client that speaks in frames.
struct Client {
    stream: DuplexStream,
    pid: i32,
    secret: Vec<u8>,
    parameters: HashMap<String, String>,
}

struct Server {
    front: Arc<Front>,
    engine: Arc<Counter>,
    shutdown: CancellationToken,
    kill: CancellationToken,
}

impl Server {
    fn with(config: FrontConfig) -> Server {
        let engine = Arc::new(Counter::default());
        let places = Arc::new(Semaphore::new(config.max_connections));
        let front = Arc::new(Front {
            config,
            engine: engine.clone(),
            sessions: SessionRegistry::new(),
            places,
        });
        Server {
            front,
            engine,
            shutdown: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }

    fn new() -> Server {
        Server::with(FrontConfig::default())
    }

    fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(16 * 1024);
        let (front, shutdown, kill) = (
            Arc::clone(&self.front),
            self.shutdown.clone(),
            self.kill.clone(),
        );
        tokio::spawn(
            async move { serve_stream(server, None, false, &front, &shutdown, &kill).await },
        );
        client
    }

    async fn client(&self) -> Client {
        self.client_with(&[("user", "ann"), ("database", "shop")])
            .await
            .expect("a login")
    }

    async fn client_with(&self, parameters: &[(&str, &str)]) -> Result<Client, String> {
        let mut client = Client {
            stream: self.connect(),
            pid: 0,
            secret: vec![],
            parameters: HashMap::new(),
        };
        client
            .stream
            .write_all(&startup_packet(3 << 16, parameters))
            .await
            .unwrap();
        loop {
            let (tag, body) = client.frame().await.ok_or("closed")?;
            match tag {
                b'R' => assert_eq!(body, [0, 0, 0, 0]),
                b'S' => {
                    let mut words = body
                        .split(|b| *b == 0)
                        .map(|w| String::from_utf8_lossy(w).into_owned());
                    client
                        .parameters
                        .insert(words.next().unwrap(), words.next().unwrap());
                }
                b'K' => {
                    client.pid = i32::from_be_bytes(body[..4].try_into().unwrap());
                    client.secret = body[4..].to_vec();
                }
                b'Z' => return Ok(client),
                b'E' => return Err(error_text(&body)),
                other => panic!("unexpected {}", other as char),
            }
        }
    }
}

fn startup_packet(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

fn message_bytes(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn parse_message(name: &str, query: &str) -> Vec<u8> {
    message_bytes(b'P', format!("{name}\0{query}\0\0\0").as_bytes())
}

fn bind_message(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
    for parameter in parameters {
        body.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
        body.extend_from_slice(parameter.as_bytes());
    }
    body.extend_from_slice(&[0, 0]);
    message_bytes(b'B', &body)
}

fn execute_message(portal: &str, rows: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend_from_slice(&rows.to_be_bytes());
    message_bytes(b'E', &body)
}

fn query_message(text: &str) -> Vec<u8> {
    message_bytes(b'Q', format!("{text}\0").as_bytes())
}

fn describe_message(what: char, name: &str) -> Vec<u8> {
    message_bytes(b'D', format!("{what}{name}\0").as_bytes())
}

fn sync_message() -> Vec<u8> {
    message_bytes(b'S', b"")
}

/// `SEVERITY CODE message @position`.
fn error_text(body: &[u8]) -> String {
    let mut fields = HashMap::new();
    for field in body.split(|b| *b == 0).filter(|f| !f.is_empty()) {
        fields.insert(field[0], String::from_utf8_lossy(&field[1..]).into_owned());
    }
    let position = fields
        .get(&b'P')
        .map(|p| format!(" @{p}"))
        .unwrap_or_default();
    format!(
        "{} {} {}{position}",
        fields[&b'V'], fields[&b'C'], fields[&b'M']
    )
}

impl Client {
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0u8; 5];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((head[0], body))
    }

    async fn send(&mut self, messages: &[Vec<u8>]) {
        self.stream.write_all(&messages.concat()).await.unwrap();
    }

    /// Everything up to ReadyForQuery, one word per message; runs of rows are counted.
    async fn answer(&mut self) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut rows = 0;
        loop {
            let Some((tag, body)) = self.frame().await else {
                words.push("closed".into());
                return words.join(" | ");
            };
            if tag == b'D' {
                rows += 1;
                continue;
            }
            if rows > 0 {
                words.push(format!("{rows} rows"));
                rows = 0;
            }
            let text = |bytes: &[u8]| {
                String::from_utf8_lossy(bytes)
                    .trim_end_matches('\0')
                    .to_owned()
            };
            words.push(match tag {
                b'C' => text(&body),
                b'E' | b'N' => error_text(&body),
                b'S' => format!("set {}", text(&body).replace('\0', "=")),
                b'T' => "columns".into(),
                b't' => format!("parameters {}", (body.len() - 2) / 4),
                b'Z' => {
                    words.push((body[0] as char).to_string());
                    return words.join(" | ");
                }
                other => (other as char).to_string(),
            });
        }
    }

    async fn query(&mut self, text: &str) -> String {
        self.send(&[query_message(text)]).await;
        self.answer().await
    }
}

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

async fn eventually(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never happened");
}

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
