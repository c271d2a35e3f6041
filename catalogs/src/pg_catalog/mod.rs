//! PostgreSQL 16's system catalogs: `pg_catalog` and `information_schema` of the session's database.
//!
//! Every table and column of PostgreSQL 16 exists; what has no meaning here is empty. Rows come from a
//! [`DatabaseSnapshot`] that the caller filled from cached metadata, so a catalog query never waits for
//! a source. [`rewrite`] and [`bind`] make the queries that clients send plannable, over the syntax tree
//! and the plan, never over text.
//!
//! Relies on the connector contract's metadata. Never resolves names by search path for planning (the
//! planner does), and knows no protocol.

mod arrays;
pub mod bind;
mod builtin;
mod decorrelate;
mod existence;
mod fill;
pub mod names;
mod oids;
mod output_names;
pub mod pg_types;
mod relations;
pub mod rewrite;
mod rows;
mod snapshot;
mod system_columns;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

pub use builtin::{
    BuiltinFunction, BuiltinType, FUNCTIONS, TYPES, function_by_oid, type_by_name, type_by_oid,
};
pub use oids::{ConstraintRef, Directory, ForeignKeyEntry, KeyEntry, RelationRef, TableEntry};
pub use output_names::visible_name;
pub use relations::{RELATIONS, SystemRelation, relation};
pub use snapshot::{DatabaseSnapshot, Derived, SchemaSnapshot, SessionRow, SettingRow};

/// The two schemas that every database has and no source holds.
pub const VIRTUAL_SCHEMAS: [&str; 2] = ["pg_catalog", "information_schema"];

/// Whether a schema is one of the system's own.
pub fn is_virtual_schema(name: &str) -> bool {
    VIRTUAL_SCHEMAS.contains(&name)
}

/// The relations of a system schema; none of any other.
pub fn table_names(schema: &str) -> &'static [&'static str] {
    static NAMES: LazyLock<[Vec<&'static str>; 2]> = LazyLock::new(|| {
        VIRTUAL_SCHEMAS.map(|s| {
            RELATIONS
                .iter()
                .filter(|r| r.schema == s)
                .map(|r| r.name)
                .collect()
        })
    });
    match VIRTUAL_SCHEMAS.iter().position(|s| *s == schema) {
        Some(at) => &NAMES[at],
        None => &[],
    }
}

/// A relation of `pg_catalog` or `information_schema` over a snapshot. Its rows are made when it is
/// first scanned, and once per snapshot.
pub fn table(
    snapshot: &Arc<DatabaseSnapshot>,
    schema: &str,
    name: &str,
) -> Option<Arc<dyn TableProvider>> {
    let relation = relation(schema, name)?;
    Some(Arc::new(SystemTable {
        relation,
        snapshot: snapshot.clone(),
    }))
}

/// A system relation as the engine scans it.
#[derive(Debug)]
struct SystemTable {
    relation: &'static SystemRelation,
    snapshot: Arc<DatabaseSnapshot>,
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.relation.arrow.clone()
    }

    fn table_type(&self) -> TableType {
        if self.relation.kind == "v" {
            TableType::View
        } else {
            TableType::Base
        }
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let key = (self.relation.schema, self.relation.name);
        let batch = self
            .snapshot
            .batch(key, || fill::rows_of(&self.snapshot, self.relation))?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}
