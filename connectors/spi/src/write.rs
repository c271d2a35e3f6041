//! Writing: what a catalog can be asked to change. A statement happens whole or not at all.
//!
//! Rows that the engine computed go through a [`TableSink`]. What a source does by itself (UPDATE, DELETE,
//! ALTER TABLE, views) are powers of their own, offered by [`Writer::row_changes`] and
//! [`Writer::definitions`]: they take typed values, never a statement's text. Only
//! [`NativeStatements`] takes the user's own text, where the catalog's file allows it.

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use std::sync::Arc;

use crate::{Literal, Result, ScalarExpr, ScalarValue, TableHandle};

/// What a sink fills.
#[derive(Debug, Clone)]
pub enum WriteTarget {
    /// A new table that appears, whole, at commit. Its rows have all of its columns, in order.
    Create(NewTable),
    /// Rows for a table that is there.
    Insert(InsertTarget),
}

/// A table to be made.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// The schema's name; it must exist.
    pub schema: String,
    /// The table's name; it must not exist, unless `replace`.
    pub table: String,
    /// The columns.
    pub columns: Vec<NewColumn>,
    /// Names of the primary key's columns, in key order; empty without one.
    pub primary_key: Vec<String>,
    /// Names of the columns of each further unique key.
    pub unique: Vec<Vec<String>>,
    /// Take the place of a table of that name.
    pub replace: bool,
}

impl NewTable {
    /// A table of those columns, without keys and defaults.
    pub fn plain(schema: &str, table: &str, columns: &Schema, replace: bool) -> Self {
        NewTable {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns: columns
                .fields()
                .iter()
                .map(|field| NewColumn {
                    field: field.clone(),
                    default: None,
                })
                .collect(),
            primary_key: Vec::new(),
            unique: Vec::new(),
            replace,
        }
    }

    /// The columns as a schema.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns
                .iter()
                .map(|column| column.field.clone())
                .collect::<Vec<_>>(),
        ))
    }

    /// True where the table asks for more than names, types and NOT NULL.
    pub fn has_keys_or_defaults(&self) -> bool {
        !self.primary_key.is_empty()
            || !self.unique.is_empty()
            || self.columns.iter().any(|column| column.default.is_some())
    }
}

/// A column to be made.
#[derive(Debug, Clone)]
pub struct NewColumn {
    /// Name, Arrow type, nullability, and the PostgreSQL type tag of [`crate::types`].
    pub field: FieldRef,
    /// What a row gets that does not name the column; NULL without.
    pub default: Option<ColumnDefault>,
}

/// The default of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnDefault {
    /// A constant, not NULL, of the column's type or as text that the type reads.
    Constant(ScalarValue),
    /// A function without arguments, by PostgreSQL's name in lower case (`now`, `current_date`,
    /// `gen_random_uuid`). The connector takes the ones that mean the same at its source.
    Call(String),
    /// The next number of the column's own sequence (`GENERATED … AS IDENTITY`, `serial`).
    Identity {
        /// Rows may not bring a number of their own.
        always: bool,
    },
}

/// Where rows go.
#[derive(Debug, Clone)]
pub struct InsertTarget {
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// The columns that the rows have, in their order. The others get their defaults at the source.
    pub columns: Vec<String>,
    /// What to do with a row whose key is there already; an error without.
    pub on_conflict: Option<OnConflict>,
}

/// `ON CONFLICT`.
#[derive(Debug, Clone, PartialEq)]
pub struct OnConflict {
    /// The columns of the unique key that decides; empty for any.
    pub key: Vec<String>,
    /// `DO UPDATE SET`; empty for `DO NOTHING`.
    pub assignments: Vec<(String, ConflictValue)>,
}

/// What a column of a row that was there already becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum ConflictValue {
    /// The value that the new row brought in that column.
    Excluded(String),
    /// A constant.
    Constant(Literal),
    /// NULL.
    Null,
    /// The column's default.
    Default,
}

/// A value for a column of a row at the source.
#[derive(Debug, Clone, PartialEq)]
pub enum Assigned {
    /// An expression over the row as it was.
    Expr(ScalarExpr),
    /// NULL.
    Null,
    /// The column's default.
    Default,
}

/// Creates, fills and drops tables of a catalog.
#[async_trait]
pub trait Writer: Send + Sync {
    /// True where the catalog's file forbids every write: then nothing below is called.
    fn read_only(&self) -> bool {
        false
    }

    /// Opens a sink. Fails here, before any row is computed, where the target cannot be written.
    async fn begin(&self, target: WriteTarget) -> Result<Box<dyn TableSink>>;

    /// Drops a table. False where there was none.
    async fn drop_table(&self, schema: &str, table: &str, cascade: bool) -> Result<bool>;

    /// Creates a schema. False where there was one.
    async fn create_schema(&self, schema: &str) -> Result<bool>;

    /// Drops a schema. False where there was none. Fails when tables are left in it, unless `cascade`.
    async fn drop_schema(&self, schema: &str, cascade: bool) -> Result<bool>;

    /// Changes the definition of tables and views, where the source can.
    fn definitions(&self) -> Option<&dyn Definitions> {
        None
    }

    /// Changes rows where they are, where the source can.
    fn row_changes(&self) -> Option<&dyn RowChanges> {
        None
    }

    /// Runs the user's own text, where the source has a language and the catalog's file allows it.
    fn native(&self) -> Option<&dyn NativeStatements> {
        None
    }
}

/// Takes the rows of one statement. Dropped without [`TableSink::commit`], it leaves nothing behind.
#[async_trait]
pub trait TableSink: Send {
    /// Takes a batch of the target's columns. Waits while the source is behind.
    async fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// No more rows will come: waits until the source has taken all of them, and may be cancelled as
    /// [`TableSink::write`] may. What is left for [`TableSink::commit`] is short, and not cancelled: else a
    /// client could be told of a failure that did not happen.
    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Makes every row visible at once and says how many there were (with
    /// [`InsertTarget::on_conflict`]: how many were inserted or updated).
    async fn commit(self: Box<Self>) -> Result<u64>;
}

/// Changes the definition of tables and views. Each call happens whole or not at all.
#[async_trait]
pub trait Definitions: Send + Sync {
    /// Changes a table, in the order of `changes`. False where there is no such table.
    async fn alter_table(&self, schema: &str, table: &str, changes: &[TableChange])
    -> Result<bool>;

    /// Creates a view over what `query` reads: its columns at the indices `projection`, under `names`.
    /// Fails where the source cannot say it.
    async fn create_view(&self, view: NewView<'_>) -> Result<()>;

    /// Drops a view. False where there was none.
    async fn drop_view(&self, schema: &str, view: &str, cascade: bool) -> Result<bool>;
}

/// A view to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewView<'a> {
    /// The schema's name.
    pub schema: &'a str,
    /// The view's name.
    pub view: &'a str,
    /// What it reads, at the same source.
    pub query: &'a TableHandle,
    /// Which of the query's columns it has, as indices into [`crate::Relation::columns`].
    pub projection: &'a [usize],
    /// The names of those columns.
    pub names: &'a [String],
    /// Take the place of a view of that name.
    pub replace: bool,
}

/// One change of a table's definition.
#[derive(Debug, Clone)]
pub enum TableChange {
    /// A further column at the end.
    AddColumn {
        /// The column.
        column: NewColumn,
        /// No error where there is one of that name.
        if_not_exists: bool,
    },
    /// A column less.
    DropColumn {
        /// Its name.
        column: String,
        /// No error where there is none of that name.
        if_exists: bool,
        /// Drop what depends on it, too.
        cascade: bool,
    },
    /// Another name for a column.
    RenameColumn {
        /// The name it has.
        from: String,
        /// The name it gets.
        to: String,
    },
    /// Another name for the table, in the same schema.
    RenameTable {
        /// The name it gets.
        to: String,
    },
    /// Whether a column may be NULL.
    SetNullable {
        /// Its name.
        column: String,
        /// True to allow NULL.
        nullable: bool,
    },
    /// What a row gets that does not name the column; NULL for `None`.
    SetDefault {
        /// Its name.
        column: String,
        /// The default.
        default: Option<ColumnDefault>,
    },
    /// Another type. The source converts the values as it does on assignment.
    SetType {
        /// Name and type; nullability stays as it is.
        column: FieldRef,
    },
}

/// Changes rows where they are. Each call is one statement at the source, and gives its number of rows.
///
/// `rows` reads the rows to be changed: a table, or a filter over one that the connector took over
/// exactly.
#[async_trait]
pub trait RowChanges: Send + Sync {
    /// `UPDATE … SET`. Fails, and does nothing, where a value cannot be said exactly.
    async fn update(&self, rows: &TableHandle, assignments: &[(String, Assigned)]) -> Result<u64>;

    /// `DELETE FROM`.
    async fn delete(&self, rows: &TableHandle) -> Result<u64>;

    /// Empties tables: all of them, or none.
    async fn truncate(&self, tables: &[(String, String)], options: TruncateOptions) -> Result<()>;
}

/// How [`RowChanges::truncate`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TruncateOptions {
    /// Start the tables' sequences again.
    pub restart_identity: bool,
    /// Empty the tables that refer to them, too.
    pub cascade: bool,
}

/// `CALL CATALOG.system.execute('native text')`.
#[async_trait]
pub trait NativeStatements: Send + Sync {
    /// Runs one statement in the source's own language. Rows that it returns are not read.
    async fn execute(&self, text: &str) -> Result<()>;
}
