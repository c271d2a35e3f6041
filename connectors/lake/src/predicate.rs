//! Pushed predicates as the engine evaluates them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::config::ConfigOptions;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::create_physical_expr;
use datafusion::prelude::lit;
use sluice_spi::{Error, PhysicalExpr, Result, ScalarExpr};

/// All of `predicates`, with types coerced as the engine would over a table of this schema.
pub(crate) fn physical_predicate(
    predicates: &[ScalarExpr],
    schema: &SchemaRef,
) -> Result<Arc<dyn PhysicalExpr>> {
    let all = predicates
        .iter()
        .map(ScalarExpr::to_expr)
        .reduce(Expr::and)
        .unwrap_or_else(|| lit(true));
    let build = || -> datafusion::error::Result<Arc<dyn PhysicalExpr>> {
        let schema = Arc::new(DFSchema::try_from(schema.clone())?);
        let context = SimplifyContext::builder()
            .with_schema(schema.clone())
            .with_config_options(Arc::new(ConfigOptions::default()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        // Coercion first: it casts columns to the constants' types; simplification then moves the casts
        // over to the constants, which is what statistics can be compared with.
        let coerced = simplifier.coerce(all, &schema)?;
        let simple = simplifier.simplify(coerced)?;
        create_physical_expr(
            &simple,
            &schema,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        )
    };
    build().map_err(|e| Error::internal(format!("could not build a pushed predicate: {e}")))
}
