//! `ANALYZE table`: the source brings its own statistics up to date; where it keeps none, or does not let us,
//! the engine reads the table for its own.

use sluice_planner::{AnalyzedTable, BoundStatement, PlanSession};
use sluice_spi::{Error, Result};

use super::{Coordinator, Run, statement_timeout, stream};
use crate::engine::SessionView;

impl Coordinator {
    pub(super) async fn analyze(
        &self,
        session: &SessionView,
        plan_session: &PlanSession,
        bound: &BoundStatement,
        analyzed: &AnalyzedTable,
        run: Run,
    ) -> Result<()> {
        let (catalog, table) = (&analyzed.catalog, &analyzed.table);
        let patience = statement_timeout(session);
        let asked = tokio::select! {
            biased;
            () = run.cancel.cancelled() => Err(stream::cancelled()),
            () = stream::patience_ends(patience) => Err(stream::timed_out()),
            asked = catalog.connector().metadata().analyze(table) => asked,
        };
        if asked.inspect_err(|error| run.guard.fail(error))? {
            catalog.metadata().forget_statistics(table);
            run.guard.finish();
            return Ok(());
        }
        let (mut running, _) = self
            .run_query(session, plan_session, bound, &analyzed.reading, run)
            .await?;
        let mut found = None;
        while let Some(batch) = running.next().await {
            let batch = batch?;
            if batch.num_rows() > 0 {
                found = Some(analyzed.figures(&batch)?);
            }
        }
        let found = found.ok_or_else(|| Error::internal("a table was read without its figures"))?;
        catalog.metadata().keep_statistics(table, found);
        Ok(())
    }
}
