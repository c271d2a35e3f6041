//! One statement at the source, from its start to its last batch.
//!
//! Owns the session while it runs. A connection that turned out to be closed is replaced once, before
//! the first row; after it, a lost connection is an error.

use std::future::Future;
use std::pin::Pin;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::BytesMut;
use futures::StreamExt;
use sluice_spi::{BatchSource, Error, ReadRequest, Result, ScanMetrics, SqlState};
use std::sync::Arc;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{CopyOutStream, RowStream, Statement};

use crate::copy::CopyReader;
use crate::decode::RowDecoder;
use crate::error::{is_connection_lost, statement_error};
use crate::pool::{Session, Source};
use crate::read::{Access, ReadPlan};
use crate::snapshot::{begin_text, is_change};
use crate::types::ColumnType;

/// Rows that builders make room for when nothing is known of the result.
const EXPECTED_SMALL_ROWS: usize = 16;

enum Rows {
    Copy(Pin<Box<CopyOutStream>>, CopyReader),
    Prepared(Pin<Box<RowStream>>),
    Ended,
}

/// A running statement.
pub(crate) struct Scan {
    /// Given back with the last row.
    session: Option<Arc<Session>>,
    rows: Rows,
    decoder: RowDecoder,
    catalog: Arc<str>,
    metrics: Arc<dyn ScanMetrics>,
}

/// Why a start failed.
enum StartError {
    /// By the client library: the connection may be gone, or the server refused.
    Source(tokio_postgres::Error),
    /// By what the server answered.
    Other(Error),
}

impl From<tokio_postgres::Error> for StartError {
    fn from(error: tokio_postgres::Error) -> Self {
        StartError::Source(error)
    }
}

impl Scan {
    /// Starts the plan's statement.
    pub(crate) async fn start(
        source: &Source,
        plan: ReadPlan,
        schema: SchemaRef,
        request: &ReadRequest,
    ) -> Result<Scan> {
        let expected = match plan.access {
            Access::Copy => request.batch_rows,
            _ => EXPECTED_SMALL_ROWS.min(request.limit.unwrap_or(EXPECTED_SMALL_ROWS)),
        };
        let types: Vec<&ColumnType> = plan.types.iter().collect();
        let decoder = RowDecoder::new(
            &types,
            schema.clone(),
            request.batch_rows,
            expected,
            source.mapping().keep_infinity,
        )?;
        let (session, rows) = run(source, &plan, request, |session| async {
            match plan.access {
                Access::Copy => start_copy(session, &plan, &schema).await,
                _ => start_prepared(session, &plan, &schema).await,
            }
        })
        .await?;
        Ok(Scan {
            session: Some(session),
            rows,
            decoder,
            catalog: source.catalog().into(),
            metrics: request.metrics.clone(),
        })
    }

    /// Runs a plan that counts, and says how many.
    pub(crate) async fn count(
        source: &Source,
        plan: &ReadPlan,
        request: &ReadRequest,
    ) -> Result<u64> {
        let (session, rows) = run(source, plan, request, |session| async move {
            let statement = prepare(session.clone(), plan).await?;
            let client = &session;
            Ok(client
                .query_raw(&statement, plan.sql.parameters.iter().map(Parameter))
                .await?)
        })
        .await?;
        let mut rows = Box::pin(rows);
        let mut count = None;
        while let Some(row) = rows.next().await {
            match row.and_then(|row| row.try_get::<_, i64>(0)) {
                Ok(rows) => count = u64::try_from(rows).ok(),
                Err(error) => {
                    session.idle();
                    return Err(statement_error(source.catalog(), &error));
                }
            }
        }
        session.idle();
        count.ok_or_else(|| Error::internal("the source did not count"))
    }

    fn ended(&mut self) {
        self.rows = Rows::Ended;
        if let Some(session) = self.session.take() {
            session.idle();
        }
    }

    /// The server ended the statement, or the connection is gone: nothing is left to cancel.
    fn failed(&mut self, error: &tokio_postgres::Error) -> Error {
        self.ended();
        statement_error(&self.catalog, error)
    }
}

impl BatchSource for Scan {
    /// The session is free again before the last batch is out.
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while !self.decoder.is_full() {
            match &mut self.rows {
                Rows::Copy(stream, reader) => match stream.next().await {
                    Some(Ok(piece)) => {
                        self.metrics.add_source_bytes(piece.len());
                        reader.feed(&piece, &mut self.decoder)?;
                    }
                    Some(Err(error)) => return Err(self.failed(&error)),
                    None => {
                        reader.finish()?;
                        self.ended();
                        break;
                    }
                },
                Rows::Prepared(stream) => match stream.next().await {
                    Some(Ok(row)) => {
                        self.metrics.add_source_bytes(row.raw_size_bytes());
                        for index in 0..self.decoder.width() {
                            match row.try_get::<_, Raw<'_>>(index) {
                                Ok(Raw(raw)) => self.decoder.field(index, raw)?,
                                Err(error) => return Err(statement_error(&self.catalog, &error)),
                            }
                        }
                        self.decoder.end_row();
                    }
                    Some(Err(error)) => return Err(self.failed(&error)),
                    None => {
                        self.ended();
                        break;
                    }
                },
                Rows::Ended => break,
            }
        }
        let catalog = &self.catalog;
        self.decoder
            .finish()
            .map_err(|error| error.with_source(catalog.as_ref()))
    }
}

/// Starts a statement on a session of its own, twice if the first connection turns out to be gone or its
/// prepared statement to be older than the table.
async fn run<T, F>(
    source: &Source,
    plan: &ReadPlan,
    request: &ReadRequest,
    start: impl Fn(Arc<Session>) -> F,
) -> Result<(Arc<Session>, T)>
where
    F: Future<Output = std::result::Result<T, StartError>>,
{
    let begin = match &request.snapshot {
        None => None,
        Some(token) => Some(
            begin_text(token, plan.ranges)
                .ok_or_else(|| Error::internal("a snapshot of another kind of source"))?,
        ),
    };
    let mut attempts = 2;
    loop {
        attempts -= 1;
        let session = source.session().await?;
        if plan.native {
            session.make_private();
        }
        session.run();
        let (began, started) = match &begin {
            None => (Ok(()), start(session.clone()).await),
            Some(text) => {
                session.begin();
                // In one breath: what follows does not wait for the transaction's own answer.
                futures::join!(session.batch_execute(text), start(session.clone()))
            }
        };
        let error = match (began, started) {
            (Ok(()), Ok(started)) => return Ok((session, started)),
            (Err(error), started) => {
                drop(started);
                session.idle();
                if !is_connection_lost(&error) {
                    return Err(lost_snapshot(source.catalog(), &error));
                }
                error
            }
            (Ok(()), Err(StartError::Other(error))) => {
                session.idle();
                return Err(error.with_source(source.catalog()));
            }
            (Ok(()), Err(StartError::Source(error))) => {
                session.idle();
                error
            }
        };
        let stale = error.code().is_some_and(|code| code.code() == "0A000");
        if stale {
            session.statement_cache.remove(&plan.sql.text, &[]);
        }
        if is_connection_lost(&error) {
            source.lost(&session);
        }
        if attempts == 0 || !(stale || is_connection_lost(&error)) {
            return Err(explain_stale(
                statement_error(source.catalog(), &error),
                plan,
            ));
        }
    }
}

/// The query's snapshot cannot be taken over.
fn lost_snapshot(catalog: &str, error: &tokio_postgres::Error) -> Error {
    let cause = statement_error(catalog, error);
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the query's snapshot at the source of catalog \"{catalog}\" is gone"),
    )
    .with_detail(format!("The server says: {}.", cause.message))
    .with_hint(
        "Where connections go through a balancer to several servers, set snapshot = \"statement\" in the \
         catalog's file.",
    )
    .with_source(catalog)
}

async fn start_copy(
    session: Arc<Session>,
    plan: &ReadPlan,
    schema: &SchemaRef,
) -> std::result::Result<Rows, StartError> {
    let copy = format!("COPY ({}) TO STDOUT (FORMAT binary)", plan.sql.text);
    // COPY does not say what its columns are; the same SELECT, only described, does. Not in one breath
    // with it: the client asks about types that it does not know, and those answers would queue behind
    // rows that nobody takes yet.
    let described = session.prepare(&plan.sql.text).await?;
    check_columns(&described, plan, schema)?;
    let stream = session.copy_out(&copy).await?;
    Ok(Rows::Copy(Box::pin(stream), CopyReader::new()))
}

async fn start_prepared(
    session: Arc<Session>,
    plan: &ReadPlan,
    schema: &SchemaRef,
) -> std::result::Result<Rows, StartError> {
    let mut statement = prepare(session.clone(), plan).await?;
    if check_columns(&statement, plan, schema).is_err() && !plan.native {
        // Described before the table changed, perhaps: only the server knows what it is now.
        session.statement_cache.remove(&plan.sql.text, &[]);
        statement = prepare(session.clone(), plan).await?;
    }
    check_columns(&statement, plan, schema)?;
    let rows = session
        .query_raw(&statement, plan.sql.parameters.iter().map(Parameter))
        .await?;
    Ok(Rows::Prepared(Box::pin(rows)))
}

async fn prepare(
    session: Arc<Session>,
    plan: &ReadPlan,
) -> std::result::Result<Statement, StartError> {
    let client = session;
    Ok(if plan.native {
        client.prepare(&plan.sql.text).await?
    } else {
        client.prepare_cached(&plan.sql.text).await?
    })
}

/// A table that changed after its description was cached must not be read as what it was.
fn check_columns(
    statement: &Statement,
    plan: &ReadPlan,
    schema: &SchemaRef,
) -> std::result::Result<(), StartError> {
    for (index, column) in statement.columns().iter().enumerate() {
        if !plan
            .types
            .get(index)
            .is_some_and(|expected| expected.reads(column.type_()))
        {
            let name = schema
                .fields()
                .get(index)
                .map_or(column.name(), |field| field.name());
            return Err(StartError::Other(Error::changed(format!(
                "column \"{name}\" has become {} at the source",
                column.type_()
            ))));
        }
    }
    Ok(())
}

/// Our own statement names only what the source described: where that is gone, it went since. The user's
/// own text may be wrong by itself.
fn explain_stale(error: Error, plan: &ReadPlan) -> Error {
    if plan.native || !is_change(&error, plan.ranges) {
        return error;
    }
    error.because_of_change()
}

/// A value as it came over the wire.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(Some(raw)))
    }

    fn from_sql_null(
        _: &Type,
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A parameter in text form: the server's input function reads it, as it reads a constant.
#[derive(Debug)]
struct Parameter<'a>(&'a String);

impl ToSql for Parameter<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
