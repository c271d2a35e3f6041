//! `WINDOW w AS (…)`: each `OVER w` and `OVER (w …)` gets what its name stands for.
//!
//! The engine's SQL planner knows `OVER w` in the select list only, and passes over the name in `OVER (w ORDER BY
//! x)`: its rows would be counted over the whole table. The rules of what a copy may add are PostgreSQL's
//! (`transformWindowDefinitions`).

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowExpr, OrderBy, OrderByKind, Query, Select, SetExpr, VisitMut,
    VisitorMut, WindowSpec, WindowType,
};
use sluice_spi::{Error, Result, SqlState};

/// Puts the windows of a query's SELECT in the place of their names.
pub(super) fn spell_out(query: &mut Query) -> Result<()> {
    let Query { body, order_by, .. } = query;
    match body.as_mut() {
        SetExpr::Select(select) => spell_out_in(select, order_by.as_mut()),
        _ => Ok(()),
    }
}

/// Likewise, of a SELECT and of the ORDER BY that sees its windows.
pub(super) fn spell_out_in(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
    if select.named_window.is_empty() {
        return Ok(());
    }
    let mut names = Names {
        windows: defined(select)?,
        depth: 0,
    };
    let mut visited = select.projection.visit(&mut names);
    if let (ControlFlow::Continue(()), Some(order_by)) = (&visited, order_by)
        && let OrderByKind::Expressions(keys) = &mut order_by.kind
    {
        visited = keys.visit(&mut names);
    }
    if let (ControlFlow::Continue(()), Some(qualify)) = (&visited, &mut select.qualify) {
        visited = qualify.visit(&mut names);
    }
    match visited {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

type Windows = HashMap<String, WindowSpec>;

/// The windows of the SELECT, taken out of it.
fn defined(select: &mut Select) -> Result<Windows> {
    let mut windows = Windows::new();
    for definition in std::mem::take(&mut select.named_window) {
        let name = folded(&definition.0);
        let spec = match definition.1 {
            NamedWindowExpr::WindowSpec(spec) => resolved(spec, &windows)?,
            NamedWindowExpr::NamedWindow(other) => find(&other, &windows)?.clone(),
        };
        if windows.insert(name.clone(), spec).is_some() {
            let message = format!("window \"{name}\" is already defined");
            return Err(Error::new(SqlState::from_source("42P20"), message));
        }
    }
    Ok(windows)
}

fn find<'a>(name: &Ident, windows: &'a Windows) -> Result<&'a WindowSpec> {
    let name = folded(name);
    windows.get(&name).ok_or_else(|| {
        let message = format!("window \"{name}\" does not exist");
        Error::new(SqlState::UNDEFINED_OBJECT, message)
    })
}

/// A window that copies another one, in full.
fn resolved(mut spec: WindowSpec, windows: &Windows) -> Result<WindowSpec> {
    let Some(name) = spec.window_name.take() else {
        return Ok(spec);
    };
    let copied = find(&name, windows)?;
    let refused = |what: &str| {
        let message = format!("cannot {what} of window \"{}\"", folded(&name));
        Err(Error::new(SqlState::from_source("42P20"), message))
    };
    if !spec.partition_by.is_empty() {
        return refused("override PARTITION BY clause");
    }
    if !spec.order_by.is_empty() && !copied.order_by.is_empty() {
        return refused("override ORDER BY clause");
    }
    if copied.window_frame.is_some() {
        let message = format!(
            "cannot copy window \"{}\" because it has a frame clause",
            folded(&name)
        );
        return Err(Error::new(SqlState::from_source("42P20"), message));
    }
    spec.partition_by.clone_from(&copied.partition_by);
    if spec.order_by.is_empty() {
        spec.order_by.clone_from(&copied.order_by);
    }
    Ok(spec)
}

fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

struct Names {
    windows: Windows,
    /// Queries around the expression, without the one whose windows these are: names do not reach into others.
    depth: usize,
}

impl Names {
    fn replace(&self, over: &mut WindowType) -> Result<()> {
        let spec = match over {
            WindowType::NamedWindow(name) => find(name, &self.windows)?.clone(),
            WindowType::WindowSpec(spec) if spec.window_name.is_some() => {
                resolved(spec.clone(), &self.windows)?
            }
            WindowType::WindowSpec(_) => return Ok(()),
        };
        *over = WindowType::WindowSpec(spec);
        Ok(())
    }
}

impl VisitorMut for Names {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        if self.depth == 0
            && let Expr::Function(function) = expr
            && let Some(over) = &mut function.over
            && let Err(error) = self.replace(over)
        {
            return ControlFlow::Break(Box::new(error));
        }
        ControlFlow::Continue(())
    }
}
