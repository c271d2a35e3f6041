//! Writing statements, made into what the rest of binding knows: a query whose rows are written
//! ([`insert`], [`change`]), or a definition without one ([`define`]).
//!
//! The sources are not asked here beyond the description of the table that is written. Whether a change
//! can run where the rows are is found out when it runs, since its parameters decide, too.

pub(crate) mod change;
mod constants;
mod define;
mod insert;
mod quoted;

use arrow::datatypes::FieldRef;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use sluice_spi::{Assigned, ColumnDefault, Error, OnConflict, Result, SqlState};

use super::names::object_name;
use super::{QueryPlan, StatementKind, TargetTable};
use crate::errors::engine_error;
use crate::semantics::assign;
use crate::session::{PlanSession, Planner};
use datafusion::execution::session_state::SessionState;

/// What becomes of the rows of a query.
pub(super) enum Purpose {
    /// Nothing special: they are the statement's own, or the engine's planner says what they are for.
    Plain,
    /// They are added to a table.
    Insert {
        target: TargetTable,
        /// The columns that they have.
        fields: Vec<FieldRef>,
        /// The statement named them all.
        named: bool,
        on_conflict: Option<OnConflict>,
    },
    /// They are the values of columns, one row per row to be changed.
    Update {
        target: TargetTable,
        fields: Vec<FieldRef>,
        /// Columns that get no expression.
        fixed: Vec<(String, Assigned)>,
    },
    /// They are to be deleted.
    Delete { target: TargetTable },
    /// A view shows them.
    View {
        target: TargetTable,
        /// Its columns' names, where the statement gives them.
        names: Vec<String>,
        or_replace: bool,
    },
    /// A new table, whose definition has more than columns and types.
    Define {
        primary_key: Vec<String>,
        unique: Vec<Vec<String>>,
        defaults: Vec<Option<ColumnDefault>>,
    },
    /// A new table of a query's rows, or of its columns alone.
    DefineAs { with_data: bool },
}

/// A statement, taken apart.
pub(super) enum Parts {
    /// A definition: it has no query and no parameters.
    Whole(Box<StatementKind>),
    /// A statement for the engine's planner.
    Planned(Box<Statement>, Purpose),
}

/// What the engine's planner is told of the types that a query's values get.
#[derive(Default)]
pub(super) struct Expected {
    /// The types of the columns of VALUES.
    pub(super) values: Option<DFSchemaRef>,
    /// The types of parameters by number, `$1` first.
    pub(super) parameters: Vec<Option<FieldRef>>,
}

/// Takes a writing statement apart; leaves any other as it is.
pub(super) async fn take_apart(
    planner: &Planner,
    state: &SessionState,
    session: &PlanSession,
    statement: Statement,
) -> Result<(Parts, Expected)> {
    let none = Expected::default();
    Ok(match with_first(statement) {
        Statement::Insert(insert) => {
            let (query, purpose, expected) = insert::take_apart(planner, session, insert).await?;
            (Parts::Planned(Box::new(query), purpose), expected)
        }
        Statement::Update(update) => {
            let (query, purpose, expected) = change::update(planner, session, update).await?;
            (Parts::Planned(Box::new(query), purpose), expected)
        }
        Statement::Delete(delete) => {
            let (query, purpose) = change::delete(planner, session, delete).await?;
            (Parts::Planned(Box::new(query), purpose), none)
        }
        Statement::CreateView(view) => {
            let (query, purpose) = define::view(planner, session, view).await?;
            (Parts::Planned(Box::new(query), purpose), none)
        }
        Statement::CreateTable(create) if create.query.is_some() => {
            let purpose = define::table_as(&create)?;
            let create = Statement::CreateTable(create);
            (Parts::Planned(Box::new(create), purpose), none)
        }
        Statement::CreateTable(create) => {
            let (create, purpose) = define::table(create)?;
            (
                Parts::Planned(Box::new(Statement::CreateTable(create)), purpose),
                none,
            )
        }
        other => match define::whole(planner, state, session, &other).await? {
            Some(kind) => (Parts::Whole(Box::new(kind)), none),
            None => (Parts::Planned(Box::new(other), Purpose::Plain), none),
        },
    })
}

/// `WITH … INSERT …`: the names belong to the query of its rows.
fn with_first(statement: Statement) -> Statement {
    let Statement::Query(mut query) = statement else {
        return statement;
    };
    match (query.with.take(), *query.body) {
        (Some(with), SetExpr::Insert(Statement::Insert(mut insert)))
            if insert
                .source
                .as_ref()
                .is_some_and(|rows| rows.with.is_none()) =>
        {
            if let Some(rows) = &mut insert.source {
                rows.with = Some(with);
            }
            Statement::Insert(insert)
        }
        (with, body) => {
            query.with = with;
            query.body = Box::new(body);
            Statement::Query(query)
        }
    }
}

/// The one name of a column to be set.
fn set_column(name: &ObjectName) -> Result<String> {
    let [column] = object_name(name)?
        .try_into()
        .map_err(|_| Error::unsupported("SET of a part of a column is not supported"))?;
    Ok(column)
}

impl Purpose {
    /// The query's plan with its columns in the types that they are written in.
    pub(super) fn typed(&self, plan: LogicalPlan, session: &PlanSession) -> Result<LogicalPlan> {
        let fields = match self {
            Purpose::Insert { fields, named, .. } => insert::filled(&plan, fields, *named)?,
            Purpose::Update { fields, .. } => fields,
            _ => return Ok(plan),
        };
        // Without any, the plan is the SELECT 1 that stands for a row without columns.
        assign(plan, fields, &session.time_zone).map_err(engine_error)
    }

    /// What the statement does with the plan; the plan again where only the plan itself says.
    pub(super) fn kind(
        self,
        state: &SessionState,
        plan: LogicalPlan,
    ) -> Result<std::result::Result<StatementKind, (LogicalPlan, Purpose)>> {
        // Fewer than the fields where the rows have fewer values; none for a row without columns.
        let columns = |plan: &LogicalPlan, fields: &[FieldRef]| -> Vec<String> {
            let found = plan.schema().fields().len();
            let fields = fields.iter().take(found);
            fields.map(|field| field.name().clone()).collect()
        };
        Ok(Ok(match self {
            Purpose::Insert {
                target,
                fields,
                on_conflict,
                ..
            } => StatementKind::Insert {
                target,
                columns: columns(&plan, &fields),
                input: QueryPlan::new(state, plan)?,
                on_conflict,
            },
            Purpose::Update {
                target,
                fields,
                fixed,
            } => StatementKind::Update {
                target,
                columns: columns(&plan, &fields),
                fixed,
                rows: QueryPlan::new(state, plan)?,
            },
            Purpose::Delete { target } => StatementKind::Delete {
                target,
                rows: QueryPlan::new(state, plan)?,
            },
            Purpose::View {
                target,
                mut names,
                or_replace,
            } => {
                let found: Vec<String> = plan
                    .schema()
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .collect();
                if names.len() > found.len() {
                    return Err(Error::new(
                        SqlState::SYNTAX_ERROR,
                        "CREATE VIEW specifies more column names than columns",
                    ));
                }
                names.extend(found.into_iter().skip(names.len()));
                StatementKind::CreateView {
                    target,
                    names,
                    query: QueryPlan::new(state, plan)?,
                    or_replace,
                }
            }
            purpose @ (Purpose::Plain | Purpose::Define { .. } | Purpose::DefineAs { .. }) => {
                return Ok(Err((plan, purpose)));
            }
        }))
    }
}

/// A name as PostgreSQL folds it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// `SELECT 1`, to be filled.
fn empty_query() -> Result<Query> {
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT 1");
    match parsed.map(|mut statements| statements.pop()) {
        Ok(Some(Statement::Query(query))) => Ok(*query),
        _ => Err(Error::internal("SELECT 1 is no query any more")),
    }
}

/// Refuses RETURNING, which no connector can answer.
fn no_returning<T>(returning: Option<&T>) -> Result<()> {
    match returning {
        None => Ok(()),
        Some(_) => Err(Error::unsupported("RETURNING is not supported")
            .with_hint("Read the rows with a SELECT of its own.")),
    }
}

/// The SELECT of a query that is nothing else.
fn select_of(query: &mut Query) -> Result<&mut datafusion::sql::sqlparser::ast::Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(Error::internal("SELECT 1 is no SELECT any more")),
    }
}
