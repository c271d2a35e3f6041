//! One split per table: one statement, and so one snapshot.

use async_trait::async_trait;
use sluice_spi::{Relation, Result, Split, SplitRequest, SplitSource, TableHandle};

/// Cuts nothing.
pub(crate) struct WholeTable;

#[async_trait]
impl SplitSource for WholeTable {
    async fn splits(&self, handle: &TableHandle, _request: &SplitRequest) -> Result<Vec<Split>> {
        let mut base = &handle.relation;
        while let Relation::Filter { input, .. } = base {
            base = input;
        }
        let label = match base {
            Relation::Scan { schema, table, .. } => format!("{schema}.{table}"),
            _ => "native query".to_owned(),
        };
        Ok(vec![Split {
            payload: Vec::new(),
            rows: None,
            bytes: None,
            label,
        }])
    }
}
