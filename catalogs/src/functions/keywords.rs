//! `pg_get_keywords()`: the words that SQL knows, for clients that decide what to quote.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{TableFunctionImpl, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use crate::pg_catalog::names::KEYWORDS;

/// The function.
#[derive(Debug)]
pub(super) struct PgGetKeywords;

impl TableFunctionImpl for PgGetKeywords {
    fn call(&self, _args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        let column = |name| Field::new(name, DataType::Utf8, true);
        let schema = Arc::new(Schema::new(vec![
            column("word"),
            column("catcode"),
            column("catdesc"),
        ]));
        // Only words that need quotes are listed: those are what clients ask for.
        let count = KEYWORDS.len();
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(StringArray::from(KEYWORDS.clone())),
                Arc::new(StringArray::from(vec!["R"; count])),
                Arc::new(StringArray::from(vec!["reserved"; count])),
            ],
        )?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}
