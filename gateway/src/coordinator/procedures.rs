//! `CALL`: what operators do by SQL.

use datafusion::scalar::ScalarValue;
use sluice_planner::CallArgument;
use sluice_spi::{Error, Result, SqlState};

use tokio_util::sync::CancellationToken;

use super::{Coordinator, stream, write};
use crate::engine::SessionView;

impl Coordinator {
    /// Runs a procedure: `system.kill_query(id)`, `system.drain_worker(id)`,
    /// `CATALOG.system.flush_metadata()`, `CATALOG.system.execute(text)`.
    pub(super) async fn call(
        &self,
        session: &SessionView,
        name: &[String],
        arguments: &[CallArgument],
        cancel: &CancellationToken,
    ) -> Result<()> {
        let parts: Vec<&str> = name.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["system", "kill_query"] => {
                let id = text_argument("system.kill_query(query_id)", arguments)?;
                if self.queries.kill(id) {
                    return Ok(());
                }
                Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("no query \"{id}\" runs"))
                    .with_hint("system.runtime.queries shows which ones do."))
            }
            ["system", "drain_worker"] => {
                self.membership.drain(text_argument("system.drain_worker(worker_id)", arguments)?)
            }
            ["system", "flush_metadata"] => {
                let catalog = self.catalogs.require(&session.database)?;
                catalog.metadata().flush();
                Ok(())
            }
            [catalog, "system", "flush_metadata"] => {
                self.catalogs.require(catalog)?.metadata().flush();
                Ok(())
            }
            [catalog, "system", "execute"] => {
                let text = text_argument("CATALOG.system.execute(statement)", arguments)?;
                self.execute_native(session, catalog, text, cancel).await
            }
            _ => Err(Error::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("procedure {} does not exist", parts.join(".")),
            )
            .with_hint(
                "Procedures: system.kill_query, system.drain_worker, CATALOG.system.flush_metadata, \
                 CATALOG.system.execute.",
            )),
        }
    }
}

impl Coordinator {
    /// Runs the user's own text at a source whose catalog file allows it.
    async fn execute_native(
        &self,
        session: &SessionView,
        catalog: &str,
        text: &str,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let catalog = self.catalogs.require(catalog)?;
        let writer = write::writer(catalog)?;
        write::check_writable(session, catalog, "CALL")?;
        let native = writer.native().ok_or_else(|| {
            Error::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!(
                    "catalog \"{}\" does not allow system.execute",
                    catalog.name()
                ),
            )
            .with_hint(format!(
                "allow_execute = true in catalogs/{}.toml allows it.",
                catalog.name()
            ))
        })?;
        let done = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(stream::cancelled()),
            done = native.execute(text) => done,
        };
        // Whatever it did, what was known of the catalog may be wrong now.
        catalog.metadata().flush();
        done
    }
}

fn text_argument<'a>(usage: &str, arguments: &'a [CallArgument]) -> Result<&'a str> {
    match arguments {
        [ScalarValue::Utf8(Some(text))] => Ok(text),
        _ => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("{usage} takes one text"),
        )),
    }
}
