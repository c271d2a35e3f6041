//! Running statements: what both protocols share.

use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::FieldRef;
use datafusion::scalar::ScalarValue;
use sluice_spi::{Error, Result, SqlState};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Failure};
use super::decode;
use super::encode::{Format, RowEncoder};
use super::rows::{Pump, piece_rows};
use super::types::{PgType, field_for_name, oid};
use super::wire::FLUSH_BYTES;
use crate::engine::{Execution, Prepared};
use crate::session::{
    Action, Body, Count, Parsed, Portal, PortalState, PreparedStatement, Ran, RowSource, Rows,
    Utility, forward_only,
};

/// What a statement gave.
pub(super) enum Outcome {
    /// An empty text.
    Empty,
    /// No rows; the tag.
    Done(String),
    /// Rows to be sent.
    Rows(Box<Rows>),
}

/// Where the sending of rows stopped.
pub(super) enum Sent {
    /// All of them; so many.
    All(u64),
    /// The limit was reached first.
    Suspended,
}

/// Results up to this many bytes are encoded by the connection itself: tasks would only add latency.
const INLINE_BYTES: usize = 64 * 1024;
/// Batches up to this many rows are encoded by the connection itself.
const INLINE_ROWS: usize = 1024;

impl Connection {
    /// Plans a parsed statement (`None` for an empty text).
    pub(super) async fn prepare(
        &mut self,
        parsed: Option<Parsed>,
        text: Arc<str>,
        types: &[Option<FieldRef>],
        from_sql: bool,
        cancel: &CancellationToken,
    ) -> Result<PreparedStatement, Failure> {
        let offset = parsed.as_ref().map_or(0, |parsed| parsed.offset);
        let (action, prepared) = match parsed {
            None => (Action::Empty, None),
            Some(Parsed {
                body: Body::Sql(statement),
                text,
                ..
            }) => {
                let prepared = self.plan(&statement, &text, offset, types, cancel).await?;
                (Action::Query(Arc::clone(&prepared)), Some(prepared))
            }
            Some(Parsed {
                body: Body::Utility(utility),
                ..
            }) => match utility.as_ref() {
                Utility::Declare { query, .. } => {
                    let Body::Sql(statement) = &query.body else {
                        return Err(Error::internal("DECLARE without a query").into());
                    };
                    let prepared = self
                        .plan(statement, &query.text, query.offset, types, cancel)
                        .await?;
                    let parameters = Arc::clone(&prepared);
                    (
                        Action::Declare(Arc::from(utility), prepared),
                        Some(parameters),
                    )
                }
                _ => (Action::Utility(Arc::from(utility)), None),
            },
        };
        let output = match &action {
            Action::Query(prepared) => prepared.output().cloned(),
            Action::Utility(utility) => self.session.utility_output(utility),
            Action::Empty | Action::Declare(..) => None,
        };
        let (parameters, wire) = parameters(prepared.as_deref(), types);
        Ok(PreparedStatement {
            text,
            offset,
            action,
            parameters,
            wire,
            output,
            from_sql,
        })
    }

    /// The statement of a text that the engine still knows, so that it need not be parsed.
    pub(super) fn recall(
        &mut self,
        text: &Arc<str>,
        types: &[Option<FieldRef>],
    ) -> Option<PreparedStatement> {
        // A failed transaction has its own answer.
        if self.session.transaction() == crate::session::Transaction::Failed {
            return None;
        }
        // The engine knows statements without what ends them.
        let own = text.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        let prepared = self.engine.recall(&self.session.view(), own, types)?;
        let (parameters, wire) = parameters(Some(prepared.as_ref()), types);
        Some(PreparedStatement {
            text: Arc::clone(text),
            offset: 0,
            output: prepared.output().cloned(),
            action: Action::Query(prepared),
            parameters,
            wire,
            from_sql: false,
        })
    }

    async fn plan(
        &mut self,
        statement: &datafusion::sql::sqlparser::ast::Statement,
        text: &str,
        offset: u32,
        types: &[Option<FieldRef>],
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Prepared>, Failure> {
        if self.session.transaction() == crate::session::Transaction::Failed {
            self.session
                .check_not_failed(&Action::Utility(Arc::new(Utility::ShowAll)))?;
        }
        let (engine, view) = (Arc::clone(&self.engine), self.session.view());
        let planned = self
            .watched(cancel, engine.prepare(&view, statement, text, types))
            .await;
        planned.map_err(|failure| placed(failure, offset))
    }

    /// Runs a statement; rows come later.
    pub(super) async fn start(
        &mut self,
        statement: &PreparedStatement,
        parameters: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        self.session.check_not_failed(&statement.action)?;
        match &statement.action {
            Action::Empty => Ok(Outcome::Empty),
            Action::Query(prepared) => {
                let started = self.start_query(prepared, parameters, cancel).await;
                started.map_err(|failure| placed(failure, statement.offset))
            }
            Action::Declare(utility, prepared) => {
                self.declare(utility, prepared, parameters, statement, cancel)
                    .await
            }
            Action::Utility(utility) => match utility.as_ref() {
                Utility::Prepare {
                    name,
                    types,
                    statement,
                } => self.prepare_sql(name, types, statement, cancel).await,
                Utility::Execute { name, arguments } => {
                    self.execute_sql(name, arguments.as_deref(), cancel).await
                }
                Utility::Fetch {
                    name,
                    count,
                    discard,
                } => self.fetch(name, *count, *discard),
                utility => {
                    let ran = self.session.run(utility)?;
                    Ok(match ran {
                        Ran::Done(tag) => Outcome::Done(tag),
                        Ran::Rows(verb, batch) => {
                            Outcome::Rows(Box::new(rows(RowSource::of_batch(batch), verb, cancel)))
                        }
                    })
                }
            },
        }
    }

    async fn start_query(
        &mut self,
        prepared: &Arc<dyn Prepared>,
        parameters: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let (engine, view) = (Arc::clone(&self.engine), self.session.view());
        let running = engine.execute(&view, prepared, parameters, cancel.clone());
        Ok(match self.watched(cancel, running).await? {
            Execution::Done(tag) => {
                self.session.committed_alone();
                Outcome::Done(tag)
            }
            Execution::Rows(stream) => {
                let source =
                    RowSource::new(stream.schema, stream.batches).with_changed(stream.changed);
                Outcome::Rows(Box::new(rows(source, stream.verb, cancel)))
            }
        })
    }

    async fn prepare_sql(
        &mut self,
        name: &str,
        types: &[String],
        parsed: &Parsed,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        self.session.check_new_statement(name)?;
        let mut fields = Vec::with_capacity(types.len());
        for spelled in types {
            let unknown = || {
                Error::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("type \"{spelled}\" does not exist"),
                )
            };
            fields.push(Some(field_for_name(spelled).ok_or_else(unknown)?));
        }
        let text = Arc::from(parsed.text.as_str());
        let statement =
            Box::pin(self.prepare(Some(parsed.clone()), text, &fields, true, cancel)).await?;
        self.session.keep_statement(name.to_owned(), statement)?;
        Ok(Outcome::Done("PREPARE".to_owned()))
    }

    /// `EXECUTE name (expressions)`: the engine evaluates the expressions as one row.
    async fn execute_sql(
        &mut self,
        name: &str,
        arguments: Option<&str>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let statement = self.session.statement(name)?;
        let mut values = Vec::new();
        if let Some(arguments) = arguments {
            let text = format!("SELECT {arguments}");
            let parsed = crate::session::parse(&text)?;
            let Some(Parsed {
                body: Body::Sql(select),
                ..
            }) = parsed.into_iter().next()
            else {
                return Err(Error::new(
                    SqlState::SYNTAX_ERROR,
                    "syntax error in the arguments of EXECUTE",
                )
                .into());
            };
            // Positions would be in a text that the client never wrote.
            let unplaced = |failure| match failure {
                Failure::Statement(Error {
                    position: Some(_), ..
                }) => {
                    let Failure::Statement(mut error) = failure else {
                        return failure;
                    };
                    error.position = None;
                    Failure::Statement(error)
                }
                other => other,
            };
            let prepared = self
                .plan(&select, &text, 0, &[], cancel)
                .await
                .map_err(unplaced)?;
            let Outcome::Rows(mut row) = self
                .start_query(&prepared, Vec::new(), cancel)
                .await
                .map_err(unplaced)?
            else {
                return Err(Error::internal("the arguments of EXECUTE gave no row").into());
            };
            if let Some(batch) = self.pull(cancel, &mut row.source, 1).await? {
                for column in batch.columns() {
                    let value = ScalarValue::try_from_array(column, 0);
                    values.push(value.map_err(|error| Error::internal(error.to_string()))?);
                }
            }
        }
        if values.len() != statement.parameters.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!(
                "Expected {} parameters but got {}.",
                statement.parameters.len(),
                values.len()
            );
            return Err(Error::new(SqlState::SYNTAX_ERROR, message)
                .with_detail(detail)
                .into());
        }
        let zone = self.style().zone;
        let mut parameters = Vec::with_capacity(values.len());
        for (index, (value, field)) in values.into_iter().zip(&statement.parameters).enumerate() {
            // Text is read as the parameter's type reads it, like a value that a driver sends.
            if let Some(Some(text)) = value.try_as_str() {
                let bytes = Some(text.as_bytes());
                let target = field.data_type();
                let read = decode::parameter(bytes, Format::Text, field, target, &zone);
                parameters.push(read?);
                continue;
            }
            let cast = value.cast_to(field.data_type()).map_err(|_| {
                let wanted = super::types::type_name(PgType::of_field(field).oid);
                let message = format!(
                    "parameter ${} cannot be coerced to the expected type {wanted}",
                    index + 1
                );
                Error::new(SqlState::DATATYPE_MISMATCH, message)
            })?;
            parameters.push(cast);
        }
        match &statement.action {
            Action::Query(prepared) => self.start_query(prepared, parameters, cancel).await,
            _ => Err(Error::internal("EXECUTE of a statement that is no query").into()),
        }
    }

    async fn declare(
        &mut self,
        utility: &Utility,
        prepared: &Arc<dyn Prepared>,
        parameters: Vec<ScalarValue>,
        statement: &PreparedStatement,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let Utility::Declare {
            name, hold, binary, ..
        } = utility
        else {
            return Err(Error::internal("DECLARE without a name").into());
        };
        self.session.check_new_cursor(name, *hold)?;
        // The cursor lives longer than this statement: a cancel of this one must not end it.
        let own = self.statement_token();
        let started = {
            let starting = self.start_query(prepared, parameters, &own);
            tokio::select! {
                biased;
                started = starting => started,
                () = cancel.cancelled() => Err(super::message::canceled().into()),
            }
        };
        let Outcome::Rows(rows) = started? else {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "DECLARE CURSOR needs a query that returns rows",
            )
            .into());
        };
        let cursor = PreparedStatement {
            text: Arc::clone(&statement.text),
            offset: statement.offset,
            action: Action::Query(Arc::clone(prepared)),
            parameters: Vec::new(),
            wire: Vec::new(),
            output: Some(Arc::clone(rows.source.schema())),
            from_sql: true,
        };
        let portal = Portal {
            statement: Arc::new(cursor),
            parameters: Vec::new(),
            binary: vec![*binary],
            state: PortalState::Open(rows),
            hold: *hold,
            is_cursor: true,
            created: SystemTime::now(),
        };
        self.session.keep_cursor(name.clone(), portal)?;
        Ok(Outcome::Done("DECLARE CURSOR".to_owned()))
    }

    fn fetch(&mut self, name: &str, count: Count, discard: bool) -> Result<Outcome, Failure> {
        let cursor = self.session.cursor_mut(name)?;
        let limit = match count {
            Count::All => None,
            Count::Rows(rows) => Some(rows),
            Count::Backward => return Err(forward_only().into()),
        };
        let verb = if discard { "MOVE" } else { "FETCH" };
        match &mut cursor.state {
            PortalState::Open(rows) => {
                let schema = Arc::clone(rows.source.schema());
                let source = std::mem::replace(&mut rows.source, RowSource::ended(schema));
                let cancel = rows.cancel.clone();
                let rows = Rows {
                    source,
                    verb,
                    cancel,
                    cursor: Some(name.to_owned()),
                    limit,
                    discard,
                };
                Ok(Outcome::Rows(Box::new(rows)))
            }
            PortalState::Finished => Ok(Outcome::Done(format!("{verb} 0"))),
            PortalState::Ready => Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("portal \"{name}\" cannot be fetched from before it is executed"),
            )
            .into()),
        }
    }

    /// The formats of a `FETCH`: a binary cursor's rows are binary, whatever the message says.
    pub(super) fn fetch_formats(&mut self, rows: &Rows, formats: &[Format]) -> Vec<Format> {
        let cursor = rows
            .cursor
            .as_deref()
            .and_then(|name| self.session.cursor_mut(name).ok());
        match cursor {
            Some(portal) if portal.is_cursor && portal.binary.first() == Some(&true) => {
                vec![Format::Binary]
            }
            _ => formats.to_vec(),
        }
    }

    /// Sends rows up to `limit` (all without), as far as the client takes them. On an error the result is
    /// over; a cursor that was read from stays where it stopped.
    pub(super) async fn send_rows(
        &mut self,
        rows: &mut Rows,
        formats: &[Format],
        limit: Option<u64>,
    ) -> Result<Sent, Failure> {
        let style = self.style();
        let formats = self.fetch_formats(rows, formats);
        let encoder = Arc::new(RowEncoder::new(rows.source.schema(), &formats, style)?);
        let cancel = rows.cancel.clone();
        let mut sent = 0u64;
        let mut inline = 0usize;
        loop {
            let mut most = match (limit, rows.limit) {
                (Some(a), Some(b)) => Some(a.saturating_sub(sent).min(b)),
                (Some(a), None) => Some(a.saturating_sub(sent)),
                (None, b) => b,
            };
            if most == Some(0) {
                let more = rows.limit != Some(0);
                return Ok(if more {
                    Sent::Suspended
                } else {
                    Sent::All(sent)
                });
            }
            if rows.discard {
                most = most.or(Some(u64::MAX));
            }
            let next = usize::try_from(most.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            let Some(batch) = self.pull(&cancel, &mut rows.source, next).await? else {
                return Ok(Sent::All(sent));
            };
            let mut take = batch.num_rows();
            if rows.discard {
                count(rows, &mut sent, take);
                continue;
            }
            if most.is_none() && (inline > INLINE_BYTES || take > INLINE_ROWS) {
                rows.source.give_back(batch);
                return self.pump_rows(rows, encoder, sent).await;
            }
            let piece = piece_rows(&batch);
            if piece < take {
                rows.source.give_back(batch.slice(piece, take - piece));
                take = piece;
            }
            let start = self.wire.out.len();
            if let Err(error) = encoder.encode(&batch.slice(0, take), &mut self.wire.out) {
                // Half a row must not reach the client.
                self.wire.out.truncate(start);
                return Err(error.into());
            }
            inline += self.wire.out.len() - start;
            count(rows, &mut sent, take);
            if self.wire.out.len() >= FLUSH_BYTES {
                self.flush().await?;
            }
        }
    }

    /// Sends all that is left through the pipeline of tasks.
    async fn pump_rows(
        &mut self,
        rows: &mut Rows,
        encoder: Arc<RowEncoder>,
        sent: u64,
    ) -> Result<Sent, Failure> {
        let schema = Arc::clone(rows.source.schema());
        let source = std::mem::replace(&mut rows.source, RowSource::ended(schema));
        let cancel = rows.cancel.clone();
        let mut pump = Pump::start(source, encoder);
        let mut sent = sent;
        while let Some(piece) = self
            .watched(&cancel, async { pump.next().await.transpose() })
            .await?
        {
            sent += piece.rows;
            self.send_chunk(&piece.bytes).await?;
        }
        Ok(Sent::All(sent))
    }
}

/// The parameters as the engine wants them, and as the client writes them.
fn parameters(
    prepared: Option<&dyn Prepared>,
    types: &[Option<FieldRef>],
) -> (Vec<FieldRef>, Vec<FieldRef>) {
    let wanted = prepared.map_or(&[][..], |prepared| prepared.parameters());
    let declared = |index: usize| types.get(index).cloned().flatten();
    let wire = wanted
        .iter()
        .enumerate()
        .map(|(index, field)| declared(index).unwrap_or_else(|| Arc::clone(field)))
        .collect();
    (wanted.to_vec(), wire)
}

fn rows(source: RowSource, verb: &'static str, cancel: &CancellationToken) -> Rows {
    Rows {
        source,
        verb,
        cancel: cancel.clone(),
        cursor: None,
        limit: None,
        discard: false,
    }
}

fn count(rows: &mut Rows, sent: &mut u64, taken: usize) {
    *sent += taken as u64;
    if let Some(limit) = &mut rows.limit {
        *limit -= taken as u64;
    }
}

/// Moves an error's position from the statement's own text to the client's whole message.
fn placed(failure: Failure, offset: u32) -> Failure {
    match failure {
        Failure::Statement(mut error) => {
            error.position = error.position.map(|position| position + offset);
            Failure::Statement(error)
        }
        other => other,
    }
}

/// The tag of a statement that gave rows.
pub(super) fn tag_of(verb: &str, rows: u64) -> String {
    match verb {
        "SELECT" | "FETCH" | "MOVE" | "UPDATE" | "DELETE" | "MERGE" | "COPY" => {
            format!("{verb} {rows}")
        }
        "TABLE" | "VALUES" | "WITH" => format!("SELECT {rows}"),
        "INSERT" => format!("INSERT 0 {rows}"),
        _ => verb.to_owned(),
    }
}

/// The object id that a parameter is announced with: text where nothing is known of it.
pub(super) fn parameter_oid(field: &FieldRef) -> u32 {
    match field.data_type() {
        arrow::datatypes::DataType::Null => oid::TEXT,
        _ => PgType::of_field(field).oid,
    }
}
