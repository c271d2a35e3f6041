//! The extended protocol: Parse, Bind, Describe, Execute.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use sluice_spi::{Error, Result, SqlState};

use super::connection::{Connection, Failure};
use super::decode;
use super::encode::{Format, describe};
use super::frame::violation;
use super::message;
use super::statements::{Outcome, Sent, parameter_oid, tag_of};
use super::types::{field_for_oid, oid};
use crate::session::{Action, PortalState, PreparedStatement, RowSource, Rows, bind, parse};

fn formats(binary: &[bool]) -> Vec<Format> {
    binary
        .iter()
        .map(|binary| {
            if *binary {
                Format::Binary
            } else {
                Format::Text
            }
        })
        .collect()
}

fn is_binary(code: i16) -> Result<bool> {
    match code {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("unsupported format code: {other}"),
        )),
    }
}

/// The declared types of parameters; `None` where the client leaves it to us.
fn declared(types: &[u32]) -> Result<Vec<Option<FieldRef>>> {
    types
        .iter()
        .map(|type_oid| match *type_oid {
            0 | oid::UNKNOWN => Ok(None),
            known => field_for_oid(known).map(Some).ok_or_else(|| {
                Error::new(
                    SqlState::UNDEFINED_OBJECT,
                    format!("type with OID {known} does not exist"),
                )
            }),
        })
        .collect()
}

impl Connection {
    /// Answers `Parse`.
    pub(super) async fn parse(
        &mut self,
        name: String,
        query: String,
        types: &[u32],
    ) -> Result<(), Failure> {
        let text: Arc<str> = Arc::from(query);
        let cancel = self.statement_token();
        self.session.entry().begin_statement(&text, cancel.clone());
        self.session.check_new_statement(&name)?;
        let fields = declared(types);
        if let Ok(fields) = &fields
            && let Some(statement) = self.recall(&text, fields)
        {
            return self.keep_parsed(name, statement);
        }
        let mut statements = parse(&text)?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).into());
        }
        let fields = fields?;
        let parsed = statements.pop();
        if let Some(parsed) = &parsed {
            let action = match &parsed.body {
                crate::session::Body::Utility(utility) => {
                    Action::Utility(Arc::new(utility.as_ref().clone()))
                }
                crate::session::Body::Sql(_) => {
                    Action::Utility(Arc::new(crate::session::Utility::ShowAll))
                }
            };
            self.session.check_not_failed(&action)?;
        }
        let statement = self.prepare(parsed, text, &fields, false, &cancel).await?;
        self.keep_parsed(name, statement)
    }

    fn keep_parsed(&mut self, name: String, statement: PreparedStatement) -> Result<(), Failure> {
        if name.is_empty() {
            self.session.drop_statement("");
        }
        self.session.keep_statement(name, statement)?;
        message::bare(&mut self.wire.out, b'1');
        Ok(())
    }

    /// Answers `Bind`.
    pub(super) fn bind(
        &mut self,
        portal: String,
        statement: &str,
        parameter_formats: &[i16],
        parameters: &[Option<bytes::Bytes>],
        results: &[i16],
    ) -> Result<(), Failure> {
        let name = statement;
        let statement = self.session.statement(name)?;
        self.session.check_not_failed(&statement.action)?;
        let count = statement.parameters.len();
        if parameters.len() != count {
            return Err(violation(format!(
                "bind message supplies {} parameters, but prepared statement \"{name}\" requires {count}",
                parameters.len()
            ))
            .into());
        }
        if parameter_formats.len() > 1 && parameter_formats.len() != count {
            return Err(violation(format!(
                "bind message has {} parameter formats but {count} parameters",
                parameter_formats.len()
            ))
            .into());
        }
        let zone = self.style().zone;
        let mut values = Vec::with_capacity(count);
        for (index, bytes) in parameters.iter().enumerate() {
            let code = match parameter_formats {
                [] => 0,
                [one] => *one,
                many => many[index],
            };
            let format = if is_binary(code)? {
                Format::Binary
            } else {
                Format::Text
            };
            let target = statement.parameters[index].data_type();
            values.push(decode::parameter(
                bytes.as_deref(),
                format,
                &statement.wire[index],
                target,
                &zone,
            )?);
        }
        let binary = results
            .iter()
            .map(|code| is_binary(*code))
            .collect::<Result<Vec<_>>>()?;
        self.session
            .keep_portal(portal, bind(statement, values, binary))?;
        message::bare(&mut self.wire.out, b'2');
        Ok(())
    }

    /// Answers `Describe` of a statement.
    pub(super) fn describe_statement(&mut self, name: &str) -> Result<(), Failure> {
        let statement = self.session.statement(name)?;
        self.check_describable(&statement)?;
        let types: Vec<u32> = statement.wire.iter().map(parameter_oid).collect();
        message::parameter_description(&mut self.wire.out, &types);
        match &statement.output {
            // The formats are not known before Bind: all zero.
            Some(schema) => message::row_description(&mut self.wire.out, &describe(schema, &[])),
            None => message::bare(&mut self.wire.out, b'n'),
        }
        Ok(())
    }

    fn check_describable(&self, statement: &PreparedStatement) -> Result<()> {
        if statement.output.is_some() {
            self.session.check_not_failed(&statement.action)
        } else {
            Ok(())
        }
    }

    /// Answers `Describe` of a portal.
    pub(super) fn describe_portal(&mut self, name: &str) -> Result<(), Failure> {
        let portal = self.session.portal_mut(name)?;
        let (statement, formats) = (Arc::clone(&portal.statement), formats(&portal.binary));
        self.check_describable(&statement)?;
        let output = statement
            .output
            .clone()
            .or_else(|| self.session.portal_output(name));
        match output {
            Some(schema) if !matches!(statement.action, Action::Declare(..)) => {
                let columns = schema.fields().len();
                if formats.len() > 1 && formats.len() != columns {
                    let message = format!(
                        "bind message has {} result formats but query has {columns} columns",
                        formats.len()
                    );
                    return Err(violation(message).into());
                }
                message::row_description(&mut self.wire.out, &describe(&schema, &formats));
            }
            _ => message::bare(&mut self.wire.out, b'n'),
        }
        Ok(())
    }

    /// Answers `Execute`.
    pub(super) async fn execute_portal(
        &mut self,
        name: &str,
        max_rows: i32,
    ) -> Result<(), Failure> {
        let portal = self.session.portal_mut(name)?;
        let statement = Arc::clone(&portal.statement);
        let formats = formats(&portal.binary);
        // Zero and less mean all, as in PostgreSQL.
        let limit = u64::try_from(max_rows).ok().filter(|limit| *limit > 0);
        let state = std::mem::replace(&mut portal.state, PortalState::Finished);
        let rows = match state {
            PortalState::Open(rows) => {
                self.session.check_not_failed(&statement.action)?;
                self.session
                    .entry()
                    .begin_statement(&statement.text, rows.cancel.clone());
                rows
            }
            PortalState::Finished => {
                if statement.output.is_some() {
                    // Read to its end before: no rows are left.
                    message::complete(&mut self.wire.out, &tag_of("SELECT", 0));
                    return Ok(());
                }
                let message = format!("portal \"{name}\" cannot be run");
                return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into());
            }
            PortalState::Ready => {
                let parameters = std::mem::take(&mut portal.parameters);
                let cancel = self.statement_token();
                self.session
                    .entry()
                    .begin_statement(&statement.text, cancel.clone());
                let outcome = self.start(&statement, parameters, &cancel).await?;
                self.notices();
                match outcome {
                    Outcome::Empty => {
                        message::empty_query(&mut self.wire.out);
                        return Ok(());
                    }
                    Outcome::Done(tag) => {
                        message::complete(&mut self.wire.out, &tag);
                        return Ok(());
                    }
                    Outcome::Rows(rows) => {
                        // A client reads rows as it was told they are.
                        if rows.source.is_changed() {
                            let message = "cached plan must not change result type";
                            return Err(Error::unsupported(message).into());
                        }
                        rows
                    }
                }
            }
        };
        self.send_portal(name, rows, &formats, limit).await
    }

    async fn send_portal(
        &mut self,
        name: &str,
        mut rows: Box<Rows>,
        formats: &[Format],
        limit: Option<u64>,
    ) -> Result<(), Failure> {
        let text = self.current_query(name);
        self.session
            .entry()
            .begin_statement(&text, rows.cancel.clone());
        let sent = self.send_rows(&mut rows, formats, limit).await;
        match sent {
            Ok(Sent::Suspended) => {
                message::bare(&mut self.wire.out, b's');
                // The portal may be gone: its own statement can't close it, so it isn't.
                if let Ok(portal) = self.session.portal_mut(name) {
                    portal.state = PortalState::Open(rows);
                }
                Ok(())
            }
            Ok(Sent::All(count)) => {
                let tag = tag_of(rows.verb, count);
                message::complete(&mut self.wire.out, &tag);
                self.finish(name, *rows);
                Ok(())
            }
            Err(failure) => {
                self.session.release_rows(*rows);
                Err(failure)
            }
        }
    }

    /// The portal stays, at its end, so that a further Execute finds no rows.
    fn finish(&mut self, name: &str, mut rows: Rows) {
        if rows.cursor.is_some() {
            self.session.release_rows(rows);
            return;
        }
        rows.source = RowSource::ended(Arc::clone(rows.source.schema()));
        if let Ok(portal) = self.session.portal_mut(name) {
            portal.state = PortalState::Open(Box::new(rows));
        }
    }

    fn current_query(&mut self, portal: &str) -> Arc<str> {
        match self.session.portal_mut(portal) {
            Ok(portal) => Arc::clone(&portal.statement.text),
            Err(_) => Arc::from(""),
        }
    }
}
