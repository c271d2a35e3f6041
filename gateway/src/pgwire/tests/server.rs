//! A front over a pipe, its engine, and a client that speaks in frames.

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

use super::super::*;
use crate::engine::{Execution, Prepared, RowStream, SessionView};

/// `rows N` counts to N, `echo` gives its parameter, `hang` never answers, `bad` fails after ten rows.
#[derive(Default)]
pub(super) struct Counter {
    pub(super) running: Arc<AtomicUsize>,
    pub(super) produced: Arc<AtomicUsize>,
}

pub(super) struct Plan {
    kind: Kind,
    pub(super) parameters: Vec<FieldRef>,
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

pub(super) fn column(data_type: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", data_type, true)]))
}

/// Counts the streams that live.
pub(super) struct Running(Arc<AtomicUsize>);

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
pub(super) struct Client {
    pub(super) stream: DuplexStream,
    pub(super) pid: i32,
    pub(super) secret: Vec<u8>,
    pub(super) parameters: HashMap<String, String>,
}

pub(super) struct Server {
    pub(super) front: Arc<Front>,
    pub(super) engine: Arc<Counter>,
    pub(super) shutdown: CancellationToken,
    pub(super) kill: CancellationToken,
}

impl Server {
    pub(super) fn with(config: FrontConfig) -> Server {
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

    pub(super) fn new() -> Server {
        Server::with(FrontConfig::default())
    }

    pub(super) fn connect(&self) -> DuplexStream {
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

    pub(super) async fn client(&self) -> Client {
        self.client_with(&[("user", "ann"), ("database", "shop")])
            .await
            .expect("a login")
    }

    pub(super) async fn client_with(&self, parameters: &[(&str, &str)]) -> Result<Client, String> {
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

pub(super) fn startup_packet(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

pub(super) fn message_bytes(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

pub(super) fn parse_message(name: &str, query: &str) -> Vec<u8> {
    message_bytes(b'P', format!("{name}\0{query}\0\0\0").as_bytes())
}

pub(super) fn bind_message(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend_from_slice(&(parameters.len() as u16).to_be_bytes());
    for parameter in parameters {
        body.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
        body.extend_from_slice(parameter.as_bytes());
    }
    body.extend_from_slice(&[0, 0]);
    message_bytes(b'B', &body)
}

pub(super) fn execute_message(portal: &str, rows: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend_from_slice(&rows.to_be_bytes());
    message_bytes(b'E', &body)
}

pub(super) fn query_message(text: &str) -> Vec<u8> {
    message_bytes(b'Q', format!("{text}\0").as_bytes())
}

pub(super) fn describe_message(what: char, name: &str) -> Vec<u8> {
    message_bytes(b'D', format!("{what}{name}\0").as_bytes())
}

pub(super) fn sync_message() -> Vec<u8> {
    message_bytes(b'S', b"")
}

/// `SEVERITY CODE message @position`.
pub(super) fn error_text(body: &[u8]) -> String {
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
    pub(super) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0u8; 5];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((head[0], body))
    }

    pub(super) async fn send(&mut self, messages: &[Vec<u8>]) {
        self.stream.write_all(&messages.concat()).await.unwrap();
    }

    /// Everything up to ReadyForQuery, one word per message; runs of rows are counted.
    pub(super) async fn answer(&mut self) -> String {
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

    pub(super) async fn query(&mut self, text: &str) -> String {
        self.send(&[query_message(text)]).await;
        self.answer().await
    }
}

pub(super) async fn eventually(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never happened");
}
