//! Table names → tables, in the order PostgreSQL looks: virtual schemas first, then the search path of
//! the current database; three parts name a catalog outright.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::TableSource;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{ObjectName, Statement, TableFactor, Visit, Visitor};
use sluice_catalogs::{Catalog, CatalogTable};
use sluice_spi::{Error, Result, SqlState, TableMetadata, TableStatistics, nearest};

use crate::errors::engine_error;
use crate::session::{PlanSession, Planner};

/// The database that shows every catalog, its schemas named `catalog.schema`.
const WHOLE: &str = "sluice";

/// What the names of one statement stand for.
pub(super) struct ResolvedTables {
    found: HashMap<TableReference, Found>,
    /// True where a virtual table is among them.
    pub(super) has_virtual: bool,
}

enum Found {
    Table(Arc<Catalog>, Arc<TableMetadata>, Arc<TableStatistics>),
    Virtual(Arc<dyn TableProvider>),
}

impl ResolvedTables {
    /// For a statement that names no table.
    pub(super) fn none() -> Self {
        ResolvedTables {
            found: HashMap::new(),
            has_virtual: false,
        }
    }

    /// True where a table of `catalog` is among them.
    pub(super) fn uses(&self, catalog: &Arc<Catalog>) -> bool {
        self.found
            .values()
            .any(|found| matches!(found, Found::Table(of, ..) if Arc::ptr_eq(of, catalog)))
    }

    /// The table a reference stands for. Each call gives a source of its own, since each reference keeps
    /// its own notes on what was pushed.
    pub(super) fn source(
        &self,
        planner: &Planner,
        session: &PlanSession,
        reference: &TableReference,
    ) -> Option<Arc<dyn TableSource>> {
        let provider: Arc<dyn TableProvider> = match self.found.get(reference)? {
            Found::Virtual(provider) => provider.clone(),
            Found::Table(catalog, metadata, statistics) => Arc::new(CatalogTable::new(
                planner.catalogs.clone(),
                catalog.clone(),
                metadata.clone(),
                statistics.clone(),
                session.pushdown,
            )),
        };
        Some(provider_as_source(provider))
    }
}

/// A table to be written, made or dropped; it need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTable {
    /// The catalog's name.
    pub catalog: String,
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub table: String,
}

/// Looks every table of `statement` up. `native` are tables that stand for native queries.
pub(super) async fn resolve(
    planner: &Planner,
    session: &PlanSession,
    statement: &Statement,
    native: Vec<(TableReference, Arc<Catalog>, Arc<TableMetadata>)>,
) -> Result<ResolvedTables> {
    let wrapped = EngineStatement::Statement(Box::new(statement.clone()));
    let (references, _ctes) = resolve_table_references(&wrapped, true).map_err(engine_error)?;
    let mut tables = ResolvedTables {
        found: HashMap::new(),
        has_virtual: false,
    };
    for (reference, catalog, metadata) in native {
        let unknown = Arc::new(TableStatistics::unknown());
        tables
            .found
            .insert(reference, Found::Table(catalog, metadata, unknown));
    }
    let creates = matches!(
        statement,
        Statement::CreateTable(_) | Statement::CreateView(_)
    );
    let functions = called_functions(statement);
    for reference in references {
        if tables.found.contains_key(&reference) {
            continue;
        }
        // `generate_series(1, 3)` is no table, although it stands where tables stand.
        if reference.schema().is_none() && functions.contains(reference.table()) {
            continue;
        }
        match find(planner, session, &reference).await {
            Ok(found) => {
                tables.has_virtual |= matches!(found, Found::Virtual(_));
                tables.found.insert(reference, found);
            }
            // The name of a table to be made or dropped is among the references too.
            Err(error) if creates && error.code == SqlState::UNDEFINED_TABLE => {}
            Err(error) => return Err(error),
        }
    }
    Ok(tables)
}

/// The functions that are called in FROM.
fn called_functions(statement: &Statement) -> HashSet<String> {
    #[derive(Default)]
    struct Calls(HashSet<String>);
    impl Visitor for Calls {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let TableFactor::Table {
                name,
                args: Some(_),
                ..
            } = factor
                && let Ok(mut parts) = object_name(name)
                && let Some(function) = parts.pop()
            {
                self.0.insert(function);
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls::default();
    // The visitor never breaks.
    let _ = statement.visit(&mut calls);
    calls.0
}

async fn find(
    planner: &Planner,
    session: &PlanSession,
    reference: &TableReference,
) -> Result<Found> {
    let table = reference.table();
    let in_virtual = |schema: &str| {
        session
            .virtual_tables
            .table(schema, table)
            .map(Found::Virtual)
    };
    match (reference.catalog(), reference.schema()) {
        (Some(catalog), Some(schema)) => {
            if session.virtual_tables.is_schema(schema) && catalog == session.database.as_ref() {
                return in_virtual(schema).ok_or_else(|| undefined(reference));
            }
            let catalog = planner.catalogs.require(catalog)?;
            match load(catalog, schema, table).await? {
                Some(found) => Ok(found),
                None => Err(explain_missing(catalog, schema, table, reference).await),
            }
        }
        (_, Some(schema)) => {
            if session.virtual_tables.is_schema(schema) {
                return in_virtual(schema).ok_or_else(|| undefined(reference));
            }
            let (catalog, schema) = schema_in_database(planner, session, schema)?;
            match load(catalog, schema, table).await? {
                Some(found) => Ok(found),
                None => Err(explain_missing(catalog, schema, table, reference).await),
            }
        }
        _ => {
            if let Some(found) = in_virtual("pg_catalog") {
                return Ok(found);
            }
            let mut last = None;
            // Schemas that are believed not to have the table, as long as another one has it.
            let mut passed_over = Vec::new();
            for schema in session.search_path.iter() {
                if session.virtual_tables.is_schema(schema) {
                    if let Some(found) = in_virtual(schema) {
                        return Ok(found);
                    }
                    continue;
                }
                let Ok((catalog, schema)) = schema_in_database(planner, session, schema) else {
                    continue;
                };
                last = Some((catalog, schema));
                if catalog.metadata().is_known_absent(schema, table) {
                    passed_over.push((catalog, schema));
                    continue;
                }
                if let Some(found) = load(catalog, schema, table).await? {
                    return Ok(found);
                }
            }
            for (catalog, schema) in passed_over {
                if let Some(found) = load(catalog, schema, table).await? {
                    return Ok(found);
                }
            }
            Err(match last {
                Some((catalog, schema)) => explain_missing(catalog, schema, table, reference).await,
                None => undefined(reference),
            })
        }
    }
}

/// A stored table with its statistics.
pub(super) async fn stored(
    planner: &Planner,
    session: &PlanSession,
    reference: &TableReference,
) -> Result<(Arc<Catalog>, Arc<TableMetadata>, Arc<TableStatistics>)> {
    match find(planner, session, reference).await? {
        Found::Table(catalog, metadata, statistics) => Ok((catalog, metadata, statistics)),
        Found::Virtual(_) => Err(Error::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{reference}\" is not a stored table"),
        )),
    }
}

async fn load(catalog: &Arc<Catalog>, schema: &str, table: &str) -> Result<Option<Found>> {
    let Some(metadata) = catalog.metadata().table(schema, table).await? else {
        return Ok(None);
    };
    let statistics = catalog.metadata().statistics(&metadata).await;
    Ok(Some(Found::Table(catalog.clone(), metadata, statistics)))
}

/// The catalog and schema that a two-part name's first part means in the current database.
fn schema_in_database<'a>(
    planner: &'a Planner,
    session: &'a PlanSession,
    schema: &'a str,
) -> Result<(&'a Arc<Catalog>, &'a str)> {
    if session.database.as_ref() == WHOLE {
        let (catalog, schema) = schema.split_once('.').unwrap_or((schema, "public"));
        return Ok((planner.catalogs.require(catalog)?, schema));
    }
    Ok((planner.catalogs.require(&session.database)?, schema))
}

/// A schema of the search path that a catalog may have.
fn stored_schema<'a>(
    planner: &'a Planner,
    session: &'a PlanSession,
    schema: &'a str,
) -> Option<(&'a Arc<Catalog>, &'a str)> {
    if session.virtual_tables.is_schema(schema) {
        return None;
    }
    schema_in_database(planner, session, schema).ok()
}

/// The catalogs that a name without a schema is looked up in: a table that one of them gets may come before
/// the one that was found.
pub(super) fn searched<'a>(
    planner: &'a Planner,
    session: &'a PlanSession,
) -> Vec<&'a Arc<Catalog>> {
    let path = session.search_path.iter();
    path.filter_map(|schema| schema_in_database(planner, session, schema).ok())
        .map(|(catalog, _)| catalog)
        .collect()
}

fn undefined(reference: &TableReference) -> Error {
    Error::new(
        SqlState::UNDEFINED_TABLE,
        format!("relation \"{reference}\" does not exist"),
    )
}

/// `relation "x" does not exist`, with the nearest name as a hint.
async fn explain_missing(
    catalog: &Arc<Catalog>,
    schema: &str,
    table: &str,
    reference: &TableReference,
) -> Error {
    let error = undefined(reference);
    let Ok(schemas) = catalog.metadata().schemas().await else {
        return error;
    };
    let listed = catalog.metadata().tables(schema).await;
    let known = listed.as_ref().is_ok_and(|tables| !tables.is_empty());
    if !known && !schemas.iter().any(|s| s == schema) {
        return match nearest(schema, schemas.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!(
                "Catalog \"{}\" has no schema \"{schema}\". Perhaps you meant \"{near}\".",
                catalog.name()
            )),
            None => error.with_hint(format!(
                "Catalog \"{}\" has no schema \"{schema}\". Its schemas: {}.",
                catalog.name(),
                schemas.join(", ")
            )),
        };
    }
    let Ok(tables) = listed else { return error };
    match nearest(table, tables.iter().map(|t| t.name.as_str())) {
        Some(near) => error.with_hint(format!(
            "Perhaps you meant \"{}.{schema}.{near}\".",
            catalog.name()
        )),
        None => error,
    }
}

impl Planner {
    /// The table or view that a name means which is to be changed or dropped: the first of the search path
    /// that is there. Where none is, the place where it would be made, whose source then says so.
    pub(super) async fn existing_target(
        &self,
        session: &PlanSession,
        reference: &TableReference,
    ) -> Result<TargetTable> {
        if reference.schema().is_none() {
            for schema in session.search_path.iter() {
                let Some((catalog, schema)) = stored_schema(self, session, schema) else {
                    continue;
                };
                let found = catalog.metadata().table(schema, reference.table()).await?;
                if found.is_some() {
                    return Ok(TargetTable {
                        catalog: catalog.name().to_owned(),
                        schema: schema.to_owned(),
                        table: reference.table().to_owned(),
                    });
                }
            }
        }
        self.new_target(session, reference).await
    }

    /// Where a table or view is made: in the first schema of the search path that is there.
    pub(super) async fn new_target(
        &self,
        session: &PlanSession,
        reference: &TableReference,
    ) -> Result<TargetTable> {
        let table = reference.table().to_owned();
        if let (Some(catalog), Some(schema)) = (reference.catalog(), reference.schema()) {
            let catalog = self.catalogs.require(catalog)?.name().to_owned();
            return Ok(TargetTable {
                catalog,
                schema: schema.to_owned(),
                table,
            });
        }
        if let Some(schema) = reference.schema() {
            let (catalog, schema) = schema_in_database(self, session, schema)?;
            return Ok(TargetTable {
                catalog: catalog.name().to_owned(),
                schema: schema.to_owned(),
                table,
            });
        }
        for schema in session.search_path.iter() {
            let Some((catalog, schema)) = stored_schema(self, session, schema) else {
                continue;
            };
            if catalog
                .metadata()
                .schemas()
                .await?
                .iter()
                .any(|s| s == schema)
            {
                return Ok(TargetTable {
                    catalog: catalog.name().to_owned(),
                    schema: schema.to_owned(),
                    table,
                });
            }
        }
        Err(Error::new(
            SqlState::INVALID_SCHEMA_NAME,
            format!("no schema of the search path is there for \"{table}\""),
        )
        .with_hint("Name it: CATALOG.SCHEMA.TABLE."))
    }

    /// The catalog and schema that `CREATE SCHEMA` or `DROP SCHEMA` names.
    pub(super) fn schema_target(
        &self,
        session: &PlanSession,
        name: &str,
    ) -> Result<(String, String)> {
        match name.split_once('.') {
            Some((catalog, schema)) => Ok((
                self.catalogs.require(catalog)?.name().to_owned(),
                schema.to_owned(),
            )),
            None => {
                let (catalog, schema) = schema_in_database(self, session, name)?;
                Ok((catalog.name().to_owned(), schema.to_owned()))
            }
        }
    }
}

/// The table that a statement writes, which must be there and be a catalog's.
pub(super) async fn written_table(
    planner: &Planner,
    session: &PlanSession,
    reference: &TableReference,
) -> Result<(TargetTable, Arc<TableMetadata>)> {
    match find(planner, session, reference).await? {
        Found::Table(catalog, metadata, _) => {
            let target = TargetTable {
                catalog: catalog.name().to_owned(),
                schema: metadata.schema.clone(),
                table: metadata.name.clone(),
            };
            Ok((target, metadata))
        }
        Found::Virtual(_) => Err(Error::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!(
                "permission denied: \"{}\" is a system catalog",
                reference.table()
            ),
        )),
    }
}

/// A name as a reference to a table.
pub(super) fn table_reference(name: &ObjectName) -> Result<TableReference> {
    match object_name(name)?.as_slice() {
        [table] => Ok(TableReference::bare(table.as_str())),
        [schema, table] => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => Ok(TableReference::full(
            catalog.as_str(),
            schema.as_str(),
            table.as_str(),
        )),
        _ => Err(Error::new(
            SqlState::SYNTAX_ERROR,
            format!("improper qualified name (too many dotted names): {name}"),
        )),
    }
}

/// The parts of a name, folded as PostgreSQL folds them.
pub(super) fn object_name(name: &ObjectName) -> Result<Vec<String>> {
    name.0
        .iter()
        .map(|part| {
            let ident = part.as_ident().ok_or_else(|| {
                Error::new(SqlState::SYNTAX_ERROR, format!("\"{part}\" is not a name"))
            })?;
            Ok(match ident.quote_style {
                Some(_) => ident.value.clone(),
                None => ident.value.to_lowercase(),
            })
        })
        .collect()
}
