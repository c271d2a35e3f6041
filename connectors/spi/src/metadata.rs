//! What a catalog holds: schemas, tables, columns, keys, statistics.

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use std::sync::Arc;

use crate::{Result, ScalarValue, TableHandle};

/// Reads names and descriptions from a source. Answers are cached by the caller (TTL, single flight),
/// so an implementation asks its source each time and keeps nothing.
#[async_trait]
pub trait Metadata: Send + Sync {
    /// Every schema's name.
    async fn schemas(&self) -> Result<Vec<String>>;

    /// Every table and view of `schema`. An unknown schema is an empty list.
    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>>;

    /// One table with its columns, or `None` where there is none of that name.
    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>>;

    /// Statistics of a table as the source knows them; unknown where it does not.
    async fn statistics(&self, table: &TableMetadata) -> Result<TableStatistics>;

    /// Has the source bring its own statistics of a table up to date. False where it keeps none of this
    /// kind of table, or does not let us: then the engine reads the table for its own.
    async fn analyze(&self, _table: &TableMetadata) -> Result<bool> {
        Ok(false)
    }

    /// Every table of `schema` with its columns, for catalog queries over many tables. The default asks
    /// table by table; a source with a bulk query overrides it.
    async fn describe_schema(&self, schema: &str) -> Result<Vec<Arc<TableMetadata>>> {
        let mut described = Vec::new();
        for summary in self.tables(schema).await? {
            if let Some(table) = self.table(schema, &summary.name).await? {
                described.push(Arc::new(table));
            }
        }
        Ok(described)
    }

    /// Keys and definitions of the tables of `schema`, for catalog queries. Tables without any may be left
    /// out. The default knows none.
    async fn details(&self, _schema: &str) -> Result<Vec<TableDetails>> {
        Ok(Vec::new())
    }
}

/// What a table promises beside its columns. Shown by catalog queries; no plan relies on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDetails {
    /// The table's name.
    pub table: String,
    /// Unique keys, the primary one first.
    pub keys: Vec<KeyDetails>,
    /// Foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// The query of a view or materialized view, in the source's own words.
    pub view_query: Option<String>,
}

/// A unique key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDetails {
    /// Its name.
    pub name: String,
    /// Its columns, in key order.
    pub columns: Vec<String>,
    /// It is the primary key.
    pub primary: bool,
    /// It was declared as a constraint, not as an index alone.
    pub constraint: bool,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Its columns, in key order.
    pub columns: Vec<String>,
    /// The schema that it refers to.
    pub schema: String,
    /// The table that it refers to.
    pub table: String,
    /// The columns that it refers to, in the same order.
    pub referenced: Vec<String>,
    /// What a change of the referenced key does.
    pub on_update: ReferentialAction,
    /// What the end of the referenced row does.
    pub on_delete: ReferentialAction,
}

/// What becomes of a row whose referenced row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReferentialAction {
    /// The change is refused when the statement or transaction ends.
    #[default]
    NoAction,
    /// The change is refused at once.
    Restrict,
    /// The row follows.
    Cascade,
    /// Its key becomes NULL.
    SetNull,
    /// Its key becomes the default.
    SetDefault,
}

impl ReferentialAction {
    /// SQL's words.
    pub fn words(self) -> &'static str {
        match self {
            ReferentialAction::NoAction => "NO ACTION",
            ReferentialAction::Restrict => "RESTRICT",
            ReferentialAction::Cascade => "CASCADE",
            ReferentialAction::SetNull => "SET NULL",
            ReferentialAction::SetDefault => "SET DEFAULT",
        }
    }
}

/// What kind of relation a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A stored table.
    Table,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A table that the source itself reads from elsewhere.
    ForeignTable,
    /// A partitioned parent.
    PartitionedTable,
}

/// One line of a table listing.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSummary {
    /// Its name, without schema.
    pub name: String,
    /// Its kind.
    pub kind: TableKind,
    /// Its comment at the source.
    pub comment: Option<String>,
}

/// A table as planning needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableMetadata {
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// Its kind.
    pub kind: TableKind,
    /// Its comment at the source.
    pub comment: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<ColumnMetadata>,
    /// Names of the primary key's columns, in key order; empty without one.
    pub primary_key: Vec<String>,
    /// The handle that reads the whole table.
    pub handle: TableHandle,
}

impl TableMetadata {
    /// The Arrow schema of the whole table.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns
                .iter()
                .map(|c| c.field.clone())
                .collect::<Vec<_>>(),
        ))
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnMetadata {
    /// Name, Arrow type, nullability, and the PostgreSQL type tag of [`crate::types`].
    pub field: FieldRef,
    /// The type in the source's own words.
    pub native_type: String,
    /// Its comment at the source.
    pub comment: Option<String>,
    /// Its default expression, in the source's own words.
    pub default: Option<String>,
    /// Whether the source computes its values.
    pub generated: Generated,
}

/// Whether, and how far, the source computes a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generated {
    /// Rows bring the value, or get the default.
    #[default]
    No,
    /// From a sequence, for rows that bring none.
    IdentityByDefault,
    /// From a sequence; rows may not bring one.
    IdentityAlways,
    /// From other columns; rows may not bring one.
    Expression,
}

impl Generated {
    /// True where a row may not bring a value.
    pub fn refuses_values(self) -> bool {
        matches!(self, Generated::IdentityAlways | Generated::Expression)
    }
}

/// A figure and how far to trust it.
#[derive(Debug, Clone, PartialEq)]
pub enum Estimate<T> {
    /// True of the data that will be read.
    Exact(T),
    /// A guess that is worth having.
    About(T),
    /// Nothing is known.
    Unknown,
}

/// What a source knows about a table's data.
#[derive(Debug, Clone, PartialEq)]
pub struct TableStatistics {
    /// Rows.
    pub rows: Estimate<u64>,
    /// Bytes of the whole table in memory.
    pub bytes: Estimate<u64>,
    /// One entry per column of the table, in order; empty when nothing is known about any.
    pub columns: Vec<ColumnStatistics>,
}

impl TableStatistics {
    /// Nothing is known.
    pub fn unknown() -> Self {
        TableStatistics {
            rows: Estimate::Unknown,
            bytes: Estimate::Unknown,
            columns: Vec::new(),
        }
    }
}

/// What a source knows about a column's data.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnStatistics {
    /// NULLs.
    pub nulls: Estimate<u64>,
    /// Distinct values other than NULL.
    pub distinct: Estimate<u64>,
    /// The smallest value, in the column's Arrow type.
    pub min: Estimate<ScalarValue>,
    /// The largest value, in the column's Arrow type.
    pub max: Estimate<ScalarValue>,
}

impl ColumnStatistics {
    /// Nothing is known.
    pub fn unknown() -> Self {
        ColumnStatistics {
            nulls: Estimate::Unknown,
            distinct: Estimate::Unknown,
            min: Estimate::Unknown,
            max: Estimate::Unknown,
        }
    }
}
