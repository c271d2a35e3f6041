//! `tableoid` of a system table: the OID of the table itself, which a query names to say what kind of
//! object a row describes.
//!
//! It is a constant for each table of a query, so that it is replaced by its value instead of being a hidden
//! column of every table. Tables of sources have none, and keep the engine's "no such column".

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, Select, SelectItem, TableFactor, Value, VisitMut, VisitorMut,
};

use super::output_names::fold;
use super::relations::relation;
use super::rewrite::call;

/// Replaces `alias.tableoid` wherever the alias is one of the query's system tables.
pub(super) fn replace_tableoid(select: &mut Select) {
    let mut tables = HashMap::new();
    for from in &select.from {
        for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation))
        {
            if let TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } = factor
                && let Some((table, oid)) = system_table(name)
            {
                tables.insert(alias.as_ref().map_or(table, |a| fold(&a.name)), oid);
            }
        }
    }
    if tables.is_empty() {
        return;
    }
    let mut replacer = Replacer(tables);
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } = item {
            let _ = VisitMut::visit(e, &mut replacer);
        }
    }
    let _ = VisitMut::visit(&mut select.from, &mut replacer);
    let _ = VisitMut::visit(&mut select.selection, &mut replacer);
}

/// A table of `pg_catalog`, written with its schema or without.
fn system_table(name: &ObjectName) -> Option<(String, u32)> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Some(fold(ident)),
        ObjectNamePart::Function(_) => None,
    };
    let table = match name.0.as_slice() {
        [table] => part(table)?,
        [schema, table] if part(schema).as_deref() == Some("pg_catalog") => part(table)?,
        _ => return None,
    };
    let oid = relation("pg_catalog", &table)?.oid;
    Some((table, oid))
}

struct Replacer(HashMap<String, u32>);

impl VisitorMut for Replacer {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [table, column] = parts.as_slice()
            && fold(column) == "tableoid"
            && let Some(oid) = self.0.get(&fold(table))
        {
            let number = Expr::Value(Value::Number(oid.to_string(), false).into());
            *expr = call("oid", vec![number]);
        }
        ControlFlow::Continue(())
    }
}
