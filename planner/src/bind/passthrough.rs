//! `SELECT … FROM CATALOG.system.query('native text')`: the source is asked for the columns, and the call
//! becomes a table like any other.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Statement, TableAlias, TableFactor,
    Value, VisitMut, VisitorMut,
};
use sluice_catalogs::Catalog;
use sluice_spi::{Error, Result, SqlState, TableMetadata};

use super::names::object_name;
use crate::session::Planner;

/// A call that was found, and the name that stands for it now.
struct Call {
    catalog: String,
    text: String,
    stand_in: String,
}

#[derive(Default)]
struct Calls {
    found: Vec<Call>,
}

impl VisitorMut for Calls {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table {
            name, alias, args, ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let Some(arguments) = args else {
            return ControlFlow::Continue(());
        };
        let parts = match object_name(name) {
            Ok(parts) => parts,
            Err(error) => return ControlFlow::Break(error),
        };
        let [catalog, system, query] = parts.as_slice() else {
            return ControlFlow::Continue(());
        };
        if system != "system" || query != "query" {
            return ControlFlow::Continue(());
        }
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] =
            arguments.args.as_slice()
        else {
            return ControlFlow::Break(one_text());
        };
        let text = match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            Value::DollarQuotedString(text) => text.value.clone(),
            _ => return ControlFlow::Break(one_text()),
        };
        let stand_in = format!("{catalog}.system.query#{}", self.found.len());
        self.found.push(Call {
            catalog: catalog.clone(),
            text,
            stand_in: stand_in.clone(),
        });
        *name = ObjectName::from(vec![Ident::with_quote('"', stand_in)]);
        *args = None;
        if alias.is_none() {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::new("query"),
                columns: Vec::new(),
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}

fn one_text() -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        "system.query takes one text constant",
    )
    .with_hint("Write catalog.system.query('SELECT …').")
}

/// Asks the sources about every native query of `statement` and puts a table's name in its place.
pub(super) async fn resolve(
    planner: &Planner,
    statement: &mut Statement,
) -> Result<Vec<(TableReference, Arc<Catalog>, Arc<TableMetadata>)>> {
    let mut calls = Calls::default();
    if let ControlFlow::Break(error) = statement.visit(&mut calls) {
        return Err(error);
    }
    let mut tables = Vec::new();
    for call in calls.found {
        let catalog = planner.catalogs.require(&call.catalog)?;
        let Some(passthrough) = catalog.connector().passthrough() else {
            return Err(Error::unsupported(format!(
                "catalog \"{}\" has no native query language",
                call.catalog
            )));
        };
        let table = passthrough.query(&call.text).await?;
        tables.push((
            TableReference::bare(call.stand_in),
            catalog.clone(),
            Arc::new(table),
        ));
    }
    Ok(tables)
}
