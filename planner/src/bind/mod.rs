//! A statement's names become tables, its text becomes a typed plan.
//!
//! Tables are looked up first, all at once and without blocking ([`names`]); then the engine's own SQL
//! planner runs over what was found ([`provider`]). No source is asked while the plan is made.

mod analyze;
mod correlated_names;
mod grouped_exists;
mod keys;
mod membership;
mod multisets;
mod names;
mod passthrough;
mod provider;
mod single_rows;
mod spelling;
mod statistics;
mod text_forms;
mod types;
mod unread;
mod windows;
mod writes;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan, Volatility};
use datafusion::scalar::ScalarValue;
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Statement};
use sluice_catalogs::Catalog;
use sluice_catalogs::pg_catalog::visible_name;
use sluice_spi::{
    Assigned, Error, NewColumn, OnConflict, Result, SqlState, TableChange, TruncateOptions,
};

pub use analyze::AnalyzedTable;
pub use names::TargetTable;
pub(crate) use types::PgTypePlanner;
pub use writes::change::RowsAtSource;
use writes::{Expected, Parts, Purpose};

use crate::errors::engine_error;
use crate::explain::ExplainOptions;
use crate::generic::GenericPlan;
use crate::rules::pushdown;
use crate::session::{ParameterType, PlanSession, Planner};

/// A statement with every name and type known. May run many times.
pub struct BoundStatement {
    /// What it does.
    pub kind: StatementKind,
    /// One field per parameter, `$1` first.
    pub parameters: Vec<FieldRef>,
    /// The columns it returns; `None` where it returns no rows.
    pub output: Option<SchemaRef>,
    /// When its names were looked up: they are believed for the metadata's time to live.
    pub bound_at: Instant,
    /// True where the plan has to run in the coordinator's process (it reads virtual tables).
    pub(crate) local_only: bool,
    /// True where another session with the same settings would be given the very same plan.
    pub is_shareable: bool,
    /// True where its tables hold what was so when it was bound (`generate_series(1, extract(day FROM now()))`).
    is_momentary: bool,
    /// The catalogs whose names it uses or would use, with the version of their metadata.
    metadata: Vec<(Arc<Catalog>, u64)>,
}

/// For how long a plan over the session's own tables is believed: they change with every statement, and a
/// client that prepares and runs at once must not pay twice.
const VIRTUAL_TTL: Duration = Duration::from_millis(500);

impl BoundStatement {
    /// A statement without parameters that every session binds for itself.
    fn unshared(kind: StatementKind, output: Option<SchemaRef>, local_only: bool) -> Self {
        BoundStatement {
            kind,
            parameters: Vec::new(),
            output,
            bound_at: Instant::now(),
            local_only,
            is_shareable: false,
            is_momentary: false,
            metadata: Vec::new(),
        }
    }

    /// True where its names were looked up too long ago to be believed, or a catalog has forgotten what it
    /// said of them since.
    pub fn must_be_bound_again(&self, ttl: Duration) -> bool {
        let ttl = if self.local_only {
            VIRTUAL_TTL.min(ttl)
        } else {
            ttl
        };
        self.is_momentary
            || self.bound_at.elapsed() > ttl
            || self
                .metadata
                .iter()
                .any(|(catalog, version)| catalog.metadata().version() != *version)
    }
}

/// What a statement does.
pub enum StatementKind {
    /// Returns rows.
    Query(QueryPlan),
    /// Shows the plan of another statement.
    Explain(Box<ExplainOptions>, QueryPlan),
    /// Makes a table, with rows where there is a query.
    CreateTable {
        /// Where.
        target: TargetTable,
        /// Its columns.
        columns: Vec<NewColumn>,
        /// The names of its primary key's columns.
        primary_key: Vec<String>,
        /// The names of the columns of each further unique key.
        unique: Vec<Vec<String>>,
        /// Its first rows.
        input: Option<QueryPlan>,
        /// Not said to be made without them (`WITH NO DATA`).
        with_data: bool,
        /// Leave an existing table as it is.
        if_not_exists: bool,
        /// Take an existing table's place.
        or_replace: bool,
    },
    /// Adds rows to a table.
    Insert {
        /// Where.
        target: TargetTable,
        /// The names of the columns that the rows have, in their order.
        columns: Vec<String>,
        /// The rows.
        input: QueryPlan,
        /// What becomes of a row whose key is there already.
        on_conflict: Option<OnConflict>,
    },
    /// Changes rows where they are.
    Update {
        /// Where.
        target: TargetTable,
        /// The columns that get the query's values, in order.
        columns: Vec<String>,
        /// Columns that get no expression.
        fixed: Vec<(String, Assigned)>,
        /// Which rows, and their values.
        rows: QueryPlan,
    },
    /// Deletes rows where they are.
    Delete {
        /// Where.
        target: TargetTable,
        /// Which rows.
        rows: QueryPlan,
    },
    /// Empties tables.
    Truncate {
        /// Which.
        tables: Vec<TargetTable>,
        /// How.
        options: TruncateOptions,
    },
    /// Changes a table's definition.
    AlterTable {
        /// Which.
        target: TargetTable,
        /// The changes, in order.
        changes: Vec<TableChange>,
        /// No error where there is no such table.
        if_exists: bool,
    },
    /// Makes a view.
    CreateView {
        /// Where.
        target: TargetTable,
        /// The names of its columns.
        names: Vec<String>,
        /// What it shows.
        query: QueryPlan,
        /// Take an existing view's place.
        or_replace: bool,
    },
    /// Drops a view.
    DropView {
        /// Which.
        target: TargetTable,
        /// No error where there is none.
        if_exists: bool,
        /// Drop what depends on it, too.
        cascade: bool,
    },
    /// Drops a table.
    DropTable {
        /// Which.
        target: TargetTable,
        /// No error where there is none.
        if_exists: bool,
        /// Drop what depends on it, too.
        cascade: bool,
    },
    /// Makes a schema.
    CreateSchema {
        /// The catalog's name.
        catalog: String,
        /// The schema's name.
        schema: String,
        /// No error where there is one.
        if_not_exists: bool,
    },
    /// Drops a schema.
    DropSchema {
        /// The catalog's name.
        catalog: String,
        /// The schema's name.
        schema: String,
        /// No error where there is none.
        if_exists: bool,
        /// Drop its tables too.
        cascade: bool,
    },
    /// Brings the statistics of a table up to date.
    Analyze(AnalyzedTable),
    /// `CALL name(arguments)`.
    Call {
        /// The procedure's name, as many parts as were written, lower case.
        name: Vec<String>,
        /// Its arguments.
        arguments: Vec<CallArgument>,
    },
}

/// An argument of `CALL`: a constant.
pub type CallArgument = ScalarValue;

/// A logical plan, optimized already where it means the same at every run.
pub struct QueryPlan {
    /// Bound, not optimized.
    pub(crate) bound: LogicalPlan,
    /// Optimized once for all runs: without parameters and without functions of the current time.
    pub(crate) optimized: Option<LogicalPlan>,
    /// It means the same at every run with the same parameters.
    is_settled: bool,
    /// Runs that were planned.
    runs: AtomicU32,
    /// What later runs are made of, once it was tried.
    generic: OnceLock<Option<GenericPlan>>,
}

/// At which run the generic plan is made: most statements run once.
const GENERIC_AT_RUN: u32 = 2;

impl QueryPlan {
    fn new(state: &SessionState, bound: LogicalPlan) -> Result<Self> {
        let is_settled = !depends_on_the_moment(&bound)?;
        let optimized = if is_settled && !has_parameters(&bound)? {
            Some(optimized(state, &bound).map_err(engine_error)?)
        } else {
            None
        };
        Ok(QueryPlan {
            bound,
            optimized,
            is_settled,
            runs: AtomicU32::new(0),
            generic: OnceLock::new(),
        })
    }

    /// True from the run that shows that there will be more, until it was tried: a run may be cancelled
    /// before.
    pub(crate) fn wants_generic(&self) -> bool {
        self.is_settled
            && self.generic.get().is_none()
            && self.runs.fetch_add(1, Ordering::Relaxed) + 1 >= GENERIC_AT_RUN
    }

    /// Keeps the generic plan; without one, further runs are planned one by one.
    pub(crate) fn keep_generic(&self, generic: Option<GenericPlan>) {
        // Two runs at once make the same plan: either will do.
        let _ = self.generic.set(generic);
    }

    /// The generic plan, where there is one.
    pub(crate) fn generic(&self) -> Option<&GenericPlan> {
        self.generic.get()?.as_ref()
    }

    /// The plan for one run.
    pub(crate) fn for_run(
        &self,
        state: &SessionState,
        parameters: Vec<ScalarValue>,
    ) -> Result<LogicalPlan> {
        if let Some(plan) = &self.optimized {
            return Ok(plan.clone());
        }
        self.with_values(parameters)
            .and_then(|plan| optimized(state, &plan))
            .map_err(engine_error)
    }

    /// The plan for one run by the engine's rules alone, over whole tables.
    pub(crate) fn unpushed(
        &self,
        state: &SessionState,
        parameters: Vec<ScalarValue>,
    ) -> Result<LogicalPlan> {
        self.with_values(parameters)
            .and_then(|plan| state.optimize(&plan))
            .map_err(engine_error)
    }

    fn with_values(&self, parameters: Vec<ScalarValue>) -> datafusion::common::Result<LogicalPlan> {
        let values = parameters
            .into_iter()
            .map(|v| ScalarAndMetadata::new(v, None))
            .collect();
        self.bound
            .clone()
            .with_param_values(ParamValues::List(values))
    }
}

/// By the engine's rules, and then with what the sources take over.
fn optimized(state: &SessionState, plan: &LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    pushdown::push_into_sources(state, state.optimize(plan)?)
}

impl Planner {
    /// Looks up every name of `statement` and types it.
    pub async fn bind(
        &self,
        session: &PlanSession,
        statement: &Statement,
        parameter_types: &[ParameterType],
    ) -> Result<BoundStatement> {
        // With or without workers decides how scalar subqueries are optimized.
        let workers = match session.workers {
            Some(0) => 0,
            limit => self.fleet.workers(limit).len(),
        };
        let state = self.statement_state(session, workers);
        Box::pin(self.bind_in(&state, session, statement.clone(), parameter_types)).await
    }

    async fn bind_in(
        &self,
        state: &SessionState,
        session: &PlanSession,
        statement: Statement,
        parameter_types: &[ParameterType],
    ) -> Result<BoundStatement> {
        if let Some((options, inner)) = ExplainOptions::of(&statement)? {
            let inner = Box::pin(self.bind_in(state, session, inner, parameter_types)).await?;
            let plan = match inner.kind {
                StatementKind::Query(plan) => plan,
                StatementKind::Insert { input, .. }
                | StatementKind::CreateTable {
                    input: Some(input), ..
                }
                | StatementKind::Update { rows: input, .. }
                | StatementKind::Delete { rows: input, .. }
                | StatementKind::CreateView { query: input, .. }
                    if !options.analyze =>
                {
                    input
                }
                _ => return Err(Error::unsupported("this statement cannot be explained")),
            };
            let output = Some(options.output_schema());
            let kind = StatementKind::Explain(Box::new(options), plan);
            return Ok(BoundStatement {
                kind,
                output,
                ..inner
            });
        }
        if let Statement::Call(function) = &statement {
            return bind_call(function);
        }
        if let Statement::Analyze(asked) = &statement {
            return self.bind_analyze(state, session, asked).await;
        }
        if let Some(table) = statistics::shown_table(&statement) {
            return self.bind_statistics(state, session, &table?).await;
        }
        // Before the first name is looked up: what is forgotten meanwhile is noticed.
        let versions: Vec<(Arc<Catalog>, u64)> = self
            .catalogs
            .iter()
            .map(|catalog| (catalog.clone(), catalog.metadata().version()))
            .collect();
        let mut statement = statement;
        spelling::normalize(&mut statement)?;
        session.virtual_tables.normalize(&mut statement)?;
        unread::refuse(&statement, state, session)?;
        let (parts, mut expected) = writes::take_apart(self, state, session, statement).await?;
        let (mut statement, purpose) = match parts {
            Parts::Planned(statement, purpose) => (*statement, purpose),
            Parts::Whole(kind) => {
                return Ok(BoundStatement::unshared(*kind, None, false));
            }
        };
        let native = passthrough::resolve(self, &mut statement).await?;
        let tables = names::resolve(self, session, &statement, native).await?;
        // What the client declared goes before what a column makes of a parameter.
        for (index, declared) in parameter_types.iter().enumerate() {
            if expected.parameters.len() <= index {
                expected.parameters.push(None);
            }
            if declared.is_some() {
                expected.parameters[index].clone_from(declared);
            }
        }
        let (plan, is_momentary) =
            plan_statement(self, state, session, &tables, statement, &expected)?;
        let plan = session.virtual_tables.finish(plan)?;
        // Before rows are compared as PostgreSQL does, so that copies are counted by that, too.
        let plan = multisets::count_copies(plan).map_err(engine_error)?;
        let plan = crate::semantics::apply(plan).map_err(engine_error)?;
        let plan = purpose.typed(plan, session)?;
        let plan = grouped_exists::join_before_grouping(plan).map_err(engine_error)?;
        let plan = membership::keep_unknown(plan).map_err(engine_error)?;
        let plan = correlated_names::tell_apart(plan).map_err(engine_error)?;
        let plan = keys::forget(plan).map_err(engine_error)?;
        let joined = !state
            .config_options()
            .optimizer
            .enable_physical_uncorrelated_scalar_subquery;
        let mut plan = single_rows::hold_subqueries(plan, joined).map_err(engine_error)?;
        // The catalogs' own types (regclass and its kin) have rules of their own.
        if !tables.has_virtual {
            plan = text_forms::check(plan).map_err(engine_error)?;
        }
        let parameters = parameter_fields(&plan, &expected.parameters)?;
        let local_only = tables.has_virtual;
        let is_shareable = !local_only && !is_momentary && !calls_session(&plan, session)?;
        let searched = names::searched(self, session);
        let is_searched =
            |catalog: &Arc<Catalog>| searched.iter().any(|of| Arc::ptr_eq(of, catalog));
        let metadata = versions
            .into_iter()
            .filter(|(catalog, _)| tables.uses(catalog) || is_searched(catalog))
            .collect();
        let (kind, output) = match purpose.kind(state, plan)? {
            Ok(kind) => (kind, None),
            Err((plan, purpose)) => self.classify(state, session, plan, purpose).await?,
        };
        Ok(BoundStatement {
            kind,
            parameters,
            output,
            bound_at: Instant::now(),
            local_only,
            is_shareable,
            is_momentary,
            metadata,
        })
    }

    async fn classify(
        &self,
        state: &SessionState,
        session: &PlanSession,
        plan: LogicalPlan,
        purpose: Purpose,
    ) -> Result<(StatementKind, Option<SchemaRef>)> {
        let kind = match plan {
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => {
                let columns: SchemaRef = Arc::new(create.input.schema().as_arrow().clone());
                // Columns of one name are told apart by a mark that only results may carry.
                if let Some(twice) = columns
                    .fields()
                    .iter()
                    .find(|f| visible_name(f.name()) != f.name())
                {
                    return Err(Error::new(
                        SqlState::from_source("42701"),
                        format!(
                            "column \"{}\" specified more than once",
                            visible_name(twice.name())
                        ),
                    ));
                }
                let empty = matches!(create.input.as_ref(), LogicalPlan::EmptyRelation(e) if !e.produce_one_row);
                let input = if empty {
                    None
                } else {
                    Some(QueryPlan::new(state, create.input.as_ref().clone())?)
                };
                let with_data = !matches!(purpose, Purpose::DefineAs { with_data: false });
                let (primary_key, unique, mut defaults) = match purpose {
                    Purpose::Define {
                        primary_key,
                        unique,
                        defaults,
                    } => (primary_key, unique, defaults),
                    _ => Default::default(),
                };
                defaults.resize(columns.fields().len(), None);
                // As in PostgreSQL, the columns of a query may be NULL in a table made of it.
                let nullable = |field: &FieldRef| match input {
                    Some(_) => Arc::new(field.as_ref().clone().with_nullable(true)),
                    None => field.clone(),
                };
                let columns = columns.fields().iter().zip(defaults);
                StatementKind::CreateTable {
                    target: self.new_target(session, &create.name).await?,
                    columns: columns
                        .map(|(field, default)| NewColumn {
                            field: nullable(field),
                            default,
                        })
                        .collect(),
                    primary_key,
                    unique,
                    input,
                    with_data,
                    if_not_exists: create.if_not_exists,
                    or_replace: create.or_replace,
                }
            }
            LogicalPlan::Ddl(DdlStatement::CreateCatalogSchema(create)) => {
                let (catalog, schema) = self.schema_target(session, &create.schema_name)?;
                StatementKind::CreateSchema {
                    catalog,
                    schema,
                    if_not_exists: create.if_not_exists,
                }
            }
            LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) => {
                let name = plan.display().to_string();
                let name = name.split(':').next().unwrap_or("this statement");
                return Err(Error::unsupported(format!(
                    "{} is not supported",
                    spaced(name)
                )));
            }
            query => {
                let output = Arc::new(query.schema().as_arrow().clone());
                return Ok((
                    StatementKind::Query(QueryPlan::new(state, query)?),
                    Some(output),
                ));
            }
        };
        Ok((kind, None))
    }
}

/// `CreateIndex` as `CREATE INDEX`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !words.is_empty() && !words.ends_with(' ') {
            words.push(' ');
        }
        words.push(character.to_ascii_uppercase());
    }
    words
}

/// The typed plan; and whether it holds what was so only now.
fn plan_statement(
    planner: &Planner,
    state: &SessionState,
    session: &PlanSession,
    tables: &names::ResolvedTables,
    statement: Statement,
    expected: &Expected,
) -> Result<(LogicalPlan, bool)> {
    let parser = &state.config_options().sql_parser;
    let options = ParserOptions::from(parser);
    let provider = provider::BoundNames {
        planner,
        state,
        session,
        tables,
        depends_on_the_moment: AtomicBool::new(false),
    };
    let sql = SqlToRel::new_with_options(&provider, options);
    let mut context =
        PlannerContext::new().with_prepare_param_data_types(expected.parameters.clone());
    if let Some(values) = &expected.values {
        context.set_table_schema(Some(values.clone()));
    }
    let plan = sql
        .sql_statement_to_plan_with_context(statement, &mut context)
        .map_err(engine_error)?;
    Ok((plan, provider.depends_on_the_moment.into_inner()))
}

/// The fields of the parameters: the client's declarations first, then what the plan needs, then what a
/// cast makes of it, else text.
fn parameter_fields(plan: &LogicalPlan, declared: &[ParameterType]) -> Result<Vec<FieldRef>> {
    let inferred = plan.get_parameter_fields().map_err(engine_error)?;
    let of_casts = cast_parameters(plan)?;
    let number = |name: &str| name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
    let count = inferred
        .keys()
        .filter_map(|name| number(name))
        .max()
        .unwrap_or(0)
        .max(declared.len());
    // More cannot be named on the wire.
    if count > usize::from(u16::MAX) {
        return Err(Error::new(
            SqlState::UNDEFINED_PARAMETER,
            format!("there is no parameter ${count}"),
        ));
    }
    Ok((1..=count)
        .map(|n| {
            let of_client = declared.get(n - 1).cloned().flatten();
            let of_plan = inferred.get(&format!("${n}")).cloned().flatten();
            let is_known = |field: &FieldRef| field.data_type() != &DataType::Null;
            of_client
                .or(of_plan)
                .filter(is_known)
                .or_else(|| of_casts.get(&format!("${n}")).cloned())
                .unwrap_or_else(|| Arc::new(Field::new(format!("${n}"), DataType::Utf8, true)))
        })
        .collect())
}

/// `$1::bigint` declares the parameter, and `LIMIT $1` takes a bigint.
fn cast_parameters(plan: &LogicalPlan) -> Result<HashMap<String, FieldRef>> {
    let mut found = HashMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for bound in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(parameter) = bound.as_ref() {
                    let field = Field::new(&parameter.id, DataType::Int64, true);
                    found
                        .entry(parameter.id.clone())
                        .or_insert_with(|| Arc::new(field));
                }
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::Cast(cast) = e
                    && let Expr::Placeholder(parameter) = cast.expr.as_ref()
                {
                    found
                        .entry(parameter.id.clone())
                        .or_insert_with(|| Arc::clone(&cast.field));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(engine_error)?;
    Ok(found)
}

fn has_parameters(plan: &LogicalPlan) -> Result<bool> {
    Ok(!plan.get_parameter_names().map_err(engine_error)?.is_empty())
}

/// True where some function gives another answer in another statement (`now()`): such a plan is optimized
/// for each run, since the optimizer folds it.
fn depends_on_the_moment(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                found |= is_stable(e);
                Ok(if found {
                    TreeNodeRecursion::Stop
                } else {
                    TreeNodeRecursion::Continue
                })
            })
        })
    })
    .map_err(engine_error)?;
    Ok(found)
}

/// A function that gives one answer in a statement, and another one in the next.
fn is_stable(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Stable)
}

/// A function that may give another answer in the next statement.
fn may_change(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable)
}

/// True where the plan calls a function that holds facts of `session`.
fn calls_session(plan: &LogicalPlan, session: &PlanSession) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::ScalarFunction(call) = e {
                    let own = session.virtual_tables.function(call.func.name());
                    found |= own.is_some();
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(engine_error)?;
    Ok(found)
}

fn bind_call(function: &ast::Function) -> Result<BoundStatement> {
    let name = names::object_name(&function.name)?;
    let ast::FunctionArguments::List(list) = &function.args else {
        return Err(Error::new(
            SqlState::SYNTAX_ERROR,
            "CALL needs an argument list",
        ));
    };
    let arguments = list
        .args
        .iter()
        .map(|argument| match argument {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Value(value))) => {
                match &value.value {
                    ast::Value::SingleQuotedString(text) => {
                        Ok(ScalarValue::Utf8(Some(text.clone())))
                    }
                    ast::Value::Number(number, _) => number
                        .parse()
                        .map(|n| ScalarValue::Int64(Some(n)))
                        .map_err(|_| {
                            Error::new(SqlState::INVALID_PARAMETER_VALUE, "not an integer")
                        }),
                    other => Err(Error::unsupported(format!(
                        "CALL takes constants, not {other}"
                    ))),
                }
            }
            other => Err(Error::unsupported(format!(
                "CALL takes constants, not {other}"
            ))),
        })
        .collect::<Result<Vec<_>>>()?;
    let kind = StatementKind::Call { name, arguments };
    Ok(BoundStatement::unshared(kind, None, true))
}
