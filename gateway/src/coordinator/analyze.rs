//! `ANALYZE table`: the source brings its own statistics up to date; where it keeps none, or does not let us,
//! the engine reads the table for its own.

use sluice_planner::{AnalyzedTable, BoundStatement, PlanSession};
use sluice_spi::{Error, Result};

use super::{Coordinator, Run};

impl Coordinator {
    pub(super) async fn analyze(
        &self,
        plan_session: &PlanSession,
        bound: &BoundStatement,
        analyzed: &AnalyzedTable,
        run: Run,
    ) -> Result<()> {
        let (catalog, table) = (&analyzed.catalog, &analyzed.table);
        let asked = catalog.connector().metadata().analyze(table);
        if run.within(asked).await? {
            catalog.metadata().forget_statistics(table);
            run.guard.finish();
            return Ok(());
        }
        let (mut running, _) = self
            .run_query(plan_session, bound, &analyzed.reading, run)
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
