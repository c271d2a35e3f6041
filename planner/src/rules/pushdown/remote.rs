//! A relation at a source that stands for a subtree of the plan.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    Expr, LogicalPlan, Projection, Sort, SortExpr, TableScan, TableScanBuilder,
};
use sluice_catalogs::{Catalog, CatalogTable, Catalogs, PushdownNote};
use sluice_spi::{
    ColumnMetadata, ColumnStatistics, Estimate, Generated, JoinMethod, Operation, Output, Pushdown,
    Pushed, Reason, ScalarExpr, TableHandle, TableKind, TableMetadata, TableStatistics,
};

use super::{Offer, Refusal, cost};

/// How scans' names begin in the plan; no user's column is qualified by them.
const PUSHED: &str = "pushed";

/// Bytes of a name that sources keep apart: PostgreSQL cuts at 63.
const NAME_BYTES: usize = 48;

/// One column of the plan node.
#[derive(Debug, Clone)]
pub(super) struct RemoteColumn {
    /// Its name in the relation.
    pub(super) name: String,
    /// Distinct values, where known.
    pub(super) distinct: Option<f64>,
    /// Rows of its table that have the same value, before any filter, where known.
    pub(super) repeats: Option<f64>,
}

/// A relation at a source, and which of its columns are those of the plan node.
#[derive(Clone)]
pub(super) struct Remote {
    catalogs: Arc<Catalogs>,
    catalog: Arc<Catalog>,
    pub(super) handle: TableHandle,
    /// One per column of `schema`. More than these may be in the relation, and one of it may be here twice.
    pub(super) columns: Vec<RemoteColumn>,
    /// The node's.
    pub(super) schema: DFSchemaRef,
    /// Rows of it, as estimated.
    pub(super) rows: f64,
    /// What the source does for it, without sending it.
    pub(super) work: f64,
    /// It has an operation that saves something: else it is read as it was planned.
    pub(super) is_worth_it: bool,
    /// A setting says that it is to run at the source whatever it costs.
    pub(super) is_forced: bool,
    /// The order in which the node returns its rows, and the engine has to restore.
    order: Option<(Vec<SortExpr>, Option<usize>)>,
    notes: Vec<PushdownNote>,
    /// The table, as long as this is nothing but a table.
    table: Option<Arc<dyn TableProvider>>,
}

/// The note on what stays with the engine.
pub(super) fn refused(subject: &str, reason: &Reason) -> PushdownNote {
    PushdownNote {
        subject: subject.to_owned(),
        outcome: Pushed::No(reason.clone()),
    }
}

impl Remote {
    /// A table whose filters were all taken exactly.
    pub(super) fn of_table(
        state: &SessionState,
        scan: &TableScan,
        provider: &Arc<dyn TableProvider>,
        table: &CatalogTable,
    ) -> Result<Option<Remote>> {
        let Ok(handle) = table.exactly(&scan.filters) else {
            return Ok(None);
        };
        let session: &dyn Session = state;
        let statistics = table.estimate(session, &scan.filters)?;
        let rows = statistics
            .num_rows
            .get_value()
            .map_or(cost::UNKNOWN_ROWS, |rows| *rows as f64);
        let unfiltered = table.estimate(session, &[])?;
        let whole = provider.schema();
        let key = match table.metadata().primary_key.as_slice() {
            [column] => Some(column.as_str()),
            _ => None,
        };
        let all: Vec<usize> = (0..whole.fields().len()).collect();
        let columns = scan
            .projection
            .as_ref()
            .unwrap_or(&all)
            .iter()
            .map(|&index| {
                let name = whole.field(index).name().clone();
                let known = statistics.column_statistics.get(index);
                let counted = known.and_then(|c| c.distinct_count.get_value().copied());
                let repeats = || {
                    let all = *unfiltered.num_rows.get_value()? as f64;
                    let column = unfiltered.column_statistics.get(index)?;
                    let distinct = *column.distinct_count.get_value()?;
                    Some(all / distinct.max(1) as f64)
                };
                RemoteColumn {
                    repeats: match key == Some(name.as_str()) {
                        true => Some(1.0),
                        false => repeats(),
                    },
                    distinct: match key == Some(name.as_str()) {
                        true => Some(rows),
                        false => counted.map(|n| (n as f64).min(rows).max(1.0)),
                    },
                    name,
                }
            })
            .collect();
        Ok(Some(Remote {
            catalogs: table.catalogs().clone(),
            catalog: table.catalog().clone(),
            handle,
            columns,
            schema: scan.projected_schema.clone(),
            rows,
            work: cost::of_scanning(rows),
            is_worth_it: false,
            is_forced: false,
            order: None,
            notes: table.notes(),
            table: Some(Arc::clone(provider)),
        }))
    }

    pub(super) fn pushdown(&self) -> Option<&dyn Pushdown> {
        self.catalog.connector().pushdown()
    }

    /// What a byte costs on its way from the source.
    pub(super) fn transfer_cost(&self) -> f64 {
        self.pushdown().map_or(1.0, Pushdown::transfer_cost)
    }

    /// How the source joins.
    pub(super) fn join_method(&self) -> JoinMethod {
        self.pushdown()
            .map_or(JoinMethod::Hash, Pushdown::join_method)
    }

    pub(super) fn is_same_source(&self, other: &Remote) -> bool {
        self.handle.catalog == other.handle.catalog
    }

    /// Still a plain table, which the engine may read in pieces.
    pub(super) fn is_table(&self) -> bool {
        self.handle.relation.is_plain()
    }

    /// The table, where it is nothing else.
    pub(super) fn table(&self) -> Option<Arc<dyn TableProvider>> {
        self.table.clone()
    }

    /// Rows come in an order that operators above may rely on.
    pub(super) fn is_ordered(&self) -> bool {
        self.order.is_some()
    }

    /// Bytes of a row.
    pub(super) fn width(&self) -> f64 {
        self.schema.fields().iter().map(|f| cost::width(f)).sum()
    }

    /// The same relation for a node that only renames columns.
    pub(super) fn standing_for(mut self, plan: &LogicalPlan) -> Remote {
        if self.order.is_some() {
            // Sort keys have the names of the columns below.
            self.order = self.order.map(|(keys, fetch)| {
                let renamed = keys
                    .into_iter()
                    .map(|key| SortExpr {
                        expr: rename(key.expr, &self.schema, plan.schema()),
                        ..key
                    })
                    .collect();
                (renamed, fetch)
            });
        }
        self.schema = plan.schema().clone();
        self
    }

    /// The node's columns under the relation's names, to type expressions over them.
    pub(super) fn names_schema(&self) -> Result<DFSchema> {
        let mut taken = HashSet::new();
        let fields: Vec<Field> = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .filter(|(column, _)| taken.insert(column.name.clone()))
            .map(|(column, field)| field.as_ref().clone().with_name(&column.name))
            .collect();
        DFSchema::from_unqualified_fields(fields.into(), Default::default())
    }

    /// The expression over the node's columns as one over the relation's.
    pub(super) fn over_names(&self, expr: &Expr) -> Result<Expr> {
        expr.clone()
            .transform_up(|e| {
                Ok(match e {
                    Expr::Column(column) => {
                        let index = self.schema.index_of_column(&column)?;
                        let name = &self.columns[index].name;
                        Transformed::yes(Expr::Column(Column::from_name(name)))
                    }
                    other => Transformed::no(other),
                })
            })
            .map(|t| t.data)
    }

    /// The expression as connectors are offered it.
    pub(super) fn typed(&self, expr: &Expr) -> std::result::Result<ScalarExpr, Reason> {
        let unknown = |_| Reason("it refers to a column of another relation".to_owned());
        let expr = self.over_names(expr).map_err(unknown)?;
        let schema = self.names_schema().map_err(unknown)?;
        ScalarExpr::typed(&expr, &schema)
    }

    /// Distinct values of an expression, where it is a column of which they are known.
    pub(super) fn distinct(&self, expr: &ScalarExpr) -> Option<f64> {
        self.column(expr)?.distinct
    }

    /// Rows that have the same value of an expression, where it is a column of which they are known.
    pub(super) fn repeats(&self, expr: &ScalarExpr) -> Option<f64> {
        self.column(expr)?.repeats
    }

    fn column(&self, expr: &ScalarExpr) -> Option<&RemoteColumn> {
        let name = expr.as_column()?;
        self.columns.iter().find(|column| column.name == name)
    }

    /// The relation with an operation on top, as the connector answers. `columns` and `schema` are those of
    /// the operation.
    pub(super) fn with(
        &self,
        subject: String,
        operation: &Operation<'_>,
        columns: Vec<RemoteColumn>,
        schema: DFSchemaRef,
    ) -> Offer {
        let Some(pushdown) = self.pushdown() else {
            return Err(Refusal::Silent);
        };
        let handle = pushdown
            .apply(&self.handle, operation)
            .map_err(|reason| Refusal::Because(subject.clone(), reason))?;
        let mut notes = self.notes.clone();
        notes.push(PushdownNote {
            subject,
            outcome: Pushed::Exactly,
        });
        Ok(Remote {
            handle,
            columns,
            schema,
            notes,
            order: None,
            table: None,
            ..self.clone()
        })
    }

    /// The same with another handle, columns unchanged.
    pub(super) fn with_handle(&self, handle: TableHandle, note: PushdownNote) -> Remote {
        let mut notes = self.notes.clone();
        notes.push(note);
        Remote {
            handle,
            notes,
            order: None,
            table: None,
            ..self.clone()
        }
    }

    /// The same, returned in that order.
    pub(super) fn ordered(self, keys: Vec<SortExpr>, fetch: Option<usize>) -> Remote {
        Remote {
            order: Some((keys, fetch)),
            ..self
        }
    }

    /// With what was noted on another relation that became part of this one.
    pub(super) fn with_notes_of(mut self, other: &Remote) -> Remote {
        let last = self.notes.pop();
        self.notes.extend(other.notes.iter().cloned());
        self.notes.extend(last);
        self
    }

    /// Takes the note on the last operation back, where it says nothing to a reader.
    pub(super) fn forget_last_note(&mut self) {
        self.notes.pop();
    }

    /// The operation on top, in a few words.
    pub(super) fn last_operation(&self) -> Option<String> {
        let pushed = |note: &&PushdownNote| note.outcome == Pushed::Exactly;
        self.notes
            .iter()
            .rfind(pushed)
            .map(|note| note.subject.clone())
    }

    /// Notes an operation that stays with the engine.
    pub(super) fn refuse(&mut self, subject: &str, reason: &Reason) {
        let note = refused(subject, reason);
        match self
            .table
            .as_ref()
            .and_then(|t| t.downcast_ref::<CatalogTable>())
        {
            Some(table) => table.add_note(note),
            None => self.notes.push(note),
        }
    }

    /// The relation with just the node's columns, each under a name that `taken` does not have yet.
    pub(super) fn narrowed(&self, taken: &mut HashSet<String>) -> Offer {
        let relation = self.handle.relation.columns();
        let mut names = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            names.push(fresh_name(&column.name, taken));
        }
        let same = relation.len() == names.len()
            && relation.iter().zip(&names).all(|(c, name)| &c.name == name)
            && self
                .columns
                .iter()
                .zip(&names)
                .all(|(c, name)| &c.name == name);
        if same {
            return Ok(self.clone());
        }
        let outputs: Vec<Output> = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .zip(&names)
            .map(|((column, field), name)| Output {
                expr: ScalarExpr::Column(column.name.clone()),
                field: renamed(field, name),
            })
            .collect();
        let Some(pushdown) = self.pushdown() else {
            return Err(Refusal::Silent);
        };
        let operation = Operation::Project { outputs: &outputs };
        let handle = pushdown
            .apply(&self.handle, &operation)
            .map_err(|reason| Refusal::Because("columns".to_owned(), reason))?;
        let columns = self
            .columns
            .iter()
            .zip(names)
            .map(|(column, name)| RemoteColumn {
                name,
                ..column.clone()
            })
            .collect();
        Ok(Remote {
            handle,
            columns,
            ..self.clone()
        })
    }

    /// What the contract calls a table: the relation with its columns' Arrow types.
    pub(super) fn metadata(&self) -> TableMetadata {
        let relation = &self.handle.relation;
        TableMetadata {
            schema: String::new(),
            name: relation.to_string(),
            kind: TableKind::View,
            comment: None,
            columns: self
                .columns
                .iter()
                .zip(self.schema.fields())
                .map(|(column, field)| ColumnMetadata {
                    field: renamed(field, &column.name),
                    native_type: relation
                        .column(&column.name)
                        .map_or_else(String::new, |c| c.native_type.clone()),
                    comment: None,
                    default: None,
                    generated: Generated::No,
                })
                .collect(),
            primary_key: Vec::new(),
            handle: self.handle.clone(),
        }
    }

    /// The plan that reads it: a scan, under the node's own column names and in its order.
    pub(super) fn into_scan(self) -> Result<LogicalPlan> {
        let narrowed = match self.narrowed(&mut HashSet::new()) {
            Ok(narrowed) => narrowed,
            Err(_) => {
                return datafusion::common::internal_err!(
                    "a pushed relation cannot be cut to its columns"
                );
            }
        };
        let statistics = TableStatistics {
            rows: Estimate::About(narrowed.rows as u64),
            bytes: Estimate::About((narrowed.rows * narrowed.width()) as u64),
            columns: narrowed
                .columns
                .iter()
                .map(|column| ColumnStatistics {
                    distinct: column
                        .distinct
                        .map_or(Estimate::Unknown, |n| Estimate::About(n as u64)),
                    ..ColumnStatistics::unknown()
                })
                .collect(),
        };
        let table = CatalogTable::new(
            narrowed.catalogs.clone(),
            narrowed.catalog.clone(),
            Arc::new(narrowed.metadata()),
            Arc::new(statistics),
            true,
        );
        for note in &narrowed.notes {
            table.add_note(note.clone());
        }
        // The engine takes scans of one name and schema for the same: two subqueries would become one.
        let mut hasher = DefaultHasher::new();
        format!("{:?}", narrowed.handle).hash(&mut hasher);
        let name = format!("{PUSHED}_{:016x}", hasher.finish());
        let scan =
            TableScanBuilder::new(name.as_str(), provider_as_source(Arc::new(table))).build()?;
        let exprs = narrowed
            .columns
            .iter()
            .zip(narrowed.schema.iter())
            .map(|(column, (qualifier, field))| {
                Expr::Column(Column::new(Some(name.as_str()), &column.name))
                    .alias_qualified(qualifier.cloned(), field.name())
            })
            .collect();
        let named = LogicalPlan::Projection(Projection::try_new_with_schema(
            exprs,
            Arc::new(LogicalPlan::TableScan(scan)),
            narrowed.schema.clone(),
        )?);
        Ok(match narrowed.order {
            Some((expr, fetch)) => LogicalPlan::Sort(Sort {
                expr,
                input: Arc::new(named),
                fetch,
            }),
            None => named,
        })
    }
}

/// The field under another name.
pub(super) fn renamed(field: &FieldRef, name: &str) -> FieldRef {
    Arc::new(field.as_ref().clone().with_name(name))
}

/// A name like `wanted` that is not taken, and takes it. The engine's own names of expressions are cut.
pub(super) fn fresh_name(wanted: &str, taken: &mut HashSet<String>) -> String {
    let short = wanted.floor_char_boundary(NAME_BYTES);
    let mut name = wanted[..short].to_owned();
    let mut number = 0;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{}_{number}", &wanted[..short]);
    }
    name
}

fn rename(expr: Expr, from: &DFSchema, to: &DFSchema) -> Expr {
    let moved = expr.transform_up(|e| {
        Ok(match e {
            Expr::Column(column) => {
                let index = from.index_of_column(&column)?;
                Transformed::yes(Expr::Column(Column::from(to.qualified_field(index))))
            }
            other => Transformed::no(other),
        })
    });
    // The keys were columns of `from` when they were offered.
    moved.map(|t| t.data).unwrap_or_default()
}
