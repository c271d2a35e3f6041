//! One statement at the source, from its start to its last batch.
//!
//! Owns the session while it runs. A connection that turned out to be closed is replaced once, before the
//! first row; after it, a lost connection is an error.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mysql_async::prelude::Queryable;
use mysql_async::{BinaryProtocol, Column, Error as ClientError, Params, QueryResult, Row};
use sluice_spi::{BatchSource, Error, ReadRequest, Result, ScanMetrics};

use crate::decode::RowDecoder;
use crate::error::{is_connection_lost, statement_error};
use crate::pool::{Session, Source};
use crate::read::{Access, ReadPlan};

/// Rows that builders make room for when few are expected.
const EXPECTED_SMALL_ROWS: usize = 16;

/// A running statement.
pub(crate) struct Scan {
    session: Session,
    running: bool,
    decoder: RowDecoder,
    catalog: Arc<str>,
    metrics: Arc<dyn ScanMetrics>,
}

impl Scan {
    /// Starts the plan's statement.
    pub(crate) async fn start(
        source: &Source,
        plan: &ReadPlan,
        schema: SchemaRef,
        request: &ReadRequest,
    ) -> Result<Scan> {
        let expected = match plan.access {
            Access::Rows => request.batch_rows,
            _ => EXPECTED_SMALL_ROWS.min(request.limit.unwrap_or(EXPECTED_SMALL_ROWS)),
        };
        let (session, columns) = run(source, plan).await?;
        check_columns(source.catalog(), &columns, plan, &schema)?;
        let decoder = RowDecoder::new(
            &plan.types,
            plan.zero_dates,
            schema,
            request.batch_rows,
            expected,
        )?;
        Ok(Scan {
            session,
            running: true,
            decoder,
            catalog: source.catalog().into(),
            metrics: request.metrics.clone(),
        })
    }

    /// Runs a plan that counts, and says how many.
    pub(crate) async fn count(source: &Source, plan: &ReadPlan) -> Result<u64> {
        let (mut session, _) = run(source, plan).await?;
        let answer = async {
            let mut result = QueryResult::<BinaryProtocol>::new(session.conn());
            let row: Option<Row> = result.next().await?;
            result.drop_result().await?;
            Ok::<_, ClientError>(row)
        };
        let row = answer.await;
        session.idle();
        let row = row.map_err(|error| statement_error(source.catalog(), &error))?;
        row.and_then(|row| row.get::<u64, _>(0))
            .ok_or_else(|| Error::internal("the source did not count"))
    }
}

impl BatchSource for Scan {
    /// The session is free again before the last batch is out.
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.running {
            // What the client library has begun to read stays with the connection.
            let mut result = QueryResult::<BinaryProtocol>::new(self.session.conn());
            let ended = loop {
                if self.decoder.is_full() {
                    break None;
                }
                match result.next().await {
                    Ok(Some(row)) => self.decoder.row(&row)?,
                    Ok(None) => break Some(Ok(())),
                    // The server ended the statement, or the connection is gone: nothing is left to kill.
                    Err(error) => break Some(Err(statement_error(&self.catalog, &error))),
                }
            };
            if let Some(outcome) = ended {
                self.running = false;
                self.session.idle();
                outcome?;
            }
        }
        self.metrics.add_source_bytes(self.decoder.bytes());
        self.decoder.finish()
    }
}

/// Starts the statement on a session of its own, twice if the first connection turns out to be gone.
async fn run(source: &Source, plan: &ReadPlan) -> Result<(Session, Arc<[Column]>)> {
    let mut attempts = 2;
    loop {
        attempts -= 1;
        let mut session = source.session().await?;
        if plan.native {
            session.make_private();
        }
        session.run();
        let parameters = match plan.sql.parameters.is_empty() {
            true => Params::Empty,
            false => Params::Positional(plan.sql.parameters.clone()),
        };
        let started = match session
            .conn()
            .exec_iter(plan.sql.text.as_str(), parameters)
            .await
        {
            Ok(result) => Ok(result.columns().unwrap_or_default()),
            Err(error) => Err(error),
        };
        match started {
            Ok(columns) => return Ok((session, columns)),
            Err(error) => {
                session.idle();
                let lost = is_connection_lost(&error);
                drop(session);
                if lost {
                    source.forget_idle();
                }
                if attempts == 0 || !lost {
                    let error = statement_error(source.catalog(), &error);
                    return Err(explain_stale(error, plan));
                }
            }
        }
    }
}

/// A table that changed after its description was cached must not be read as what it was.
fn check_columns(
    catalog: &str,
    columns: &[Column],
    plan: &ReadPlan,
    schema: &SchemaRef,
) -> Result<()> {
    if columns.len() != plan.types.len() {
        return Err(
            Error::changed("the table has other columns at the source".into()).with_source(catalog),
        );
    }
    for (index, column) in columns.iter().enumerate() {
        if !plan.types[index].reads(column) {
            let name = schema.field(index).name();
            let wire = format!("{:?}", column.column_type());
            let wire = wire.trim_start_matches("MYSQL_TYPE_").to_lowercase();
            let message = format!("column \"{name}\" has become {wire} at the source");
            return Err(Error::changed(message).with_source(catalog));
        }
    }
    Ok(())
}

/// Our own statement names only what the source described: where that is gone, it went since.
fn explain_stale(error: Error, plan: &ReadPlan) -> Error {
    if !plan.native && matches!(error.code.code(), "42P01" | "42703" | "3F000") {
        return error.because_of_change();
    }
    error
}
