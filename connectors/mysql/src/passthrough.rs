//! `CATALOG.system.query('native text')`: the user's own SELECT as a table.
//!
//! The server prepares the text twice and runs it never: alone, where the protocol allows one statement
//! only, so that the text cannot close the parenthesis it is put into; and as a subquery, which only
//! something like a SELECT can be. It runs later in a read-only transaction on a connection that nobody
//! uses after it.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::Error as ClientError;
use mysql_async::prelude::Queryable;
use sluice_spi::{
    ColumnMetadata, Error, Generated, Passthrough, RelColumn, Relation, Result, SqlState,
    TableHandle, TableKind, TableMetadata,
};

use crate::error::{is_connection_lost, statement_error};
use crate::facts::Facts;
use crate::pool::{Session, Source};
use crate::types::ColumnType;

/// Makes tables of native texts.
pub(crate) struct NativeQueries {
    pub(crate) source: Arc<Source>,
}

#[async_trait]
impl Passthrough for NativeQueries {
    async fn query(&self, text: &str) -> Result<TableMetadata> {
        let catalog = self.source.catalog();
        let text = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        if text.contains('\0') || text.is_empty() {
            return Err(Error::new(
                SqlState::SYNTAX_ERROR,
                "the native text is empty or holds a NUL",
            )
            .with_source(catalog));
        }
        let (mut session, alone) = self.prepare(text).await?;
        let refused = |error: Error, session: &mut Session| {
            session.idle();
            Err(error.with_source(catalog))
        };
        if alone.num_params() > 0 {
            let error = Error::new(
                SqlState::UNDEFINED_PARAMETER,
                "the native text must not have parameters",
            );
            return refused(error, &mut session);
        }
        if alone.num_columns() == 0 {
            return refused(not_a_query(), &mut session);
        }
        let columns = alone.columns();
        // As the scan will run it, with the names that it will use. The text itself is right, so what
        // fails here is its kind, or two columns of one name.
        let names: Vec<String> = columns
            .iter()
            .map(|column| column.name_str().into_owned())
            .collect();
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.to_lowercase())) {
            let error = Error::new(
                SqlState::from_source("42701"),
                format!("the native text has two columns \"{twice}\""),
            )
            .with_hint("Give them names of their own with AS.");
            return refused(error, &mut session);
        }
        let nested = format!("SELECT * FROM (\n{text}\n) AS `q`");
        let outcome = session.conn().prep(nested).await;
        session.idle();
        match outcome {
            Ok(_) => {}
            Err(ClientError::Server(server)) => {
                return Err(not_a_query()
                    .with_detail(format!("The server says: {}.", server.message))
                    .with_source(catalog));
            }
            Err(error) => return Err(statement_error(catalog, &error)),
        }

        let (mut described, mut rel_columns, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for (column, name) in columns.iter().zip(names) {
            let (column_type, native) = ColumnType::of_result(column, &self.source.reading);
            described.push(ColumnMetadata {
                field: Arc::new(column_type.field(&name, true)),
                native_type: native.clone(),
                comment: None,
                default: None,
                generated: Generated::No,
            });
            rel_columns.push(RelColumn {
                name,
                native_type: native,
                // The server does not say: text is compared by its bytes.
                collation: matches!(column_type, ColumnType::Text(_)).then(|| "unknown".to_owned()),
                deterministic: !matches!(column_type, ColumnType::Text(_)),
                // A date's NOT NULL is not known, and with it what IS NULL would say.
                nullable: !column_type.is_calendar(),
            });
            types.push(column_type);
        }
        let relation = Relation::Native {
            text: text.to_owned(),
            columns: rel_columns,
        };
        let facts = Facts {
            columns: types,
            unique: Vec::new(),
            zero_dates: self.source.reading.zero_dates,
            split_by: None,
            leaves: Vec::new(),
        };
        Ok(TableMetadata {
            schema: "system".to_owned(),
            name: "query".to_owned(),
            kind: TableKind::View,
            comment: None,
            columns: described,
            primary_key: Vec::new(),
            handle: TableHandle::new(catalog, relation, facts.to_payload()?),
        })
    }
}

impl NativeQueries {
    /// The text as the server understands it, and the session that asked, which is still marked as
    /// running. A connection that was closed while it was idle is replaced once.
    async fn prepare(&self, text: &str) -> Result<(Session, mysql_async::Statement)> {
        let mut attempts = 2;
        loop {
            attempts -= 1;
            let mut session = self.source.session().await?;
            session.make_private();
            session.run();
            match session.conn().prep(text).await {
                Ok(statement) => return Ok((session, statement)),
                Err(error) => {
                    session.idle();
                    if is_write(&error) {
                        return Err(not_a_query().with_source(self.source.catalog()));
                    }
                    if attempts == 0 || !is_connection_lost(&error) {
                        return Err(statement_error(self.source.catalog(), &error));
                    }
                    drop(session);
                    self.source.forget_idle();
                }
            }
        }
    }
}

/// A read-only transaction refuses it as soon as it is prepared.
fn is_write(error: &ClientError) -> bool {
    matches!(error, ClientError::Server(server) if server.code == 1792)
}

fn not_a_query() -> Error {
    Error::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        "the native text must be a SELECT, VALUES, TABLE or WITH query",
    )
}
