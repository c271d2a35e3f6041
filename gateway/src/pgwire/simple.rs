//! The simple protocol: a text of statements, run one after the other, answered as they run.

use std::sync::Arc;

use super::connection::{Connection, Failure};
use super::encode::describe;
use super::message;
use super::statements::{Outcome, Sent, tag_of};
use crate::session::{Body, Parsed, PreparedStatement, parse};

impl Connection {
    /// Answers `Query`.
    pub(super) async fn simple_query(&mut self, text: String) -> Result<(), Failure> {
        let text: Arc<str> = Arc::from(text);
        let cancel = self.statement_token();
        self.session.entry().begin_statement(&text, cancel.clone());
        // The unnamed statement and portal end here, as in PostgreSQL.
        self.session.drop_statement("");
        self.session.drop_portal("");
        if let Some(statement) = self.recall(&text, &[]) {
            self.run_simple(statement, &text, &cancel).await?;
            self.session.end_implicit(true);
            self.session.close_transaction_portals();
            return self.ready().await;
        }
        let statements = parse(&text)?;
        if statements.is_empty() {
            message::empty_query(&mut self.wire.out);
            return self.ready().await;
        }
        let several = statements.len() > 1;
        for parsed in statements {
            if several {
                self.session.begin_implicit();
            }
            // An error leaves here: what earlier statements gave is in the buffer already, or sent.
            self.simple_statement(parsed, &text, &cancel).await?;
        }
        self.session.end_implicit(true);
        self.session.close_transaction_portals();
        self.ready().await
    }

    async fn simple_statement(
        &mut self,
        parsed: Parsed,
        text: &Arc<str>,
        cancel: &tokio_util::sync::CancellationToken,
    ) -> Result<(), Failure> {
        let own: Arc<str> = match &parsed.body {
            Body::Utility(_) => Arc::from(parsed.text.as_str()),
            Body::Sql(_) => Arc::clone(text),
        };
        let statement = self.prepare(Some(parsed), own, &[], false, cancel).await?;
        self.run_simple(statement, text, cancel).await
    }

    async fn run_simple(
        &mut self,
        statement: PreparedStatement,
        text: &Arc<str>,
        cancel: &tokio_util::sync::CancellationToken,
    ) -> Result<(), Failure> {
        if !statement.parameters.is_empty() {
            let message = format!("there is no parameter ${}", statement.parameters.len());
            return Err(
                sluice_spi::Error::new(sluice_spi::SqlState::UNDEFINED_PARAMETER, message).into(),
            );
        }
        let outcome = self.start(&statement, Vec::new(), cancel).await?;
        self.notices();
        match outcome {
            Outcome::Empty => message::empty_query(&mut self.wire.out),
            Outcome::Done(tag) => message::complete(&mut self.wire.out, &tag),
            Outcome::Rows(mut rows) => {
                // A cursor's own token governs its query; a cancel of this statement must reach it too.
                if rows.cursor.is_some() {
                    self.session
                        .entry()
                        .begin_statement(text, rows.cancel.clone());
                }
                if !rows.discard {
                    let formats = self.fetch_formats(&rows, &[]);
                    message::row_description(
                        &mut self.wire.out,
                        &describe(rows.source.schema(), &formats),
                    );
                }
                let sent = self.send_rows(&mut rows, &[], None).await;
                let (verb, is_fetch) = (rows.verb, rows.cursor.is_some());
                // A result that was read to its end needs no cancel, and the next statement of this text
                // runs under the same token.
                if is_fetch || sent.is_err() {
                    self.session.release_rows(*rows);
                }
                match sent? {
                    Sent::All(count) => message::complete(&mut self.wire.out, &tag_of(verb, count)),
                    Sent::Suspended => message::complete(&mut self.wire.out, verb),
                }
                if is_fetch {
                    self.session.entry().begin_statement(text, cancel.clone());
                }
            }
        }
        Ok(())
    }
}
