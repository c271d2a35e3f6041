//! `CALL`: what operators do by SQL.

use datafusion::scalar::ScalarValue;
use sluice_planner::CallArgument;
use sluice_spi::{Error, Result, SqlState};

use super::Coordinator;
use crate::engine::SessionView;

impl Coordinator {
    /// Runs a procedure: `system.kill_query(id)`, `system.drain_worker(id)`,
    /// `CATALOG.system.flush_metadata()`.
    pub(super) async fn call(
        &self,
        session: &SessionView,
        name: &[String],
        arguments: &[CallArgument],
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
            _ => Err(Error::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("procedure {} does not exist", parts.join(".")),
            )
            .with_hint(
                "Procedures: system.kill_query, system.drain_worker, CATALOG.system.flush_metadata.",
            )),
        }
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
