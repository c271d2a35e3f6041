//! Sluice's own optimizer rules: one file each, one pattern, one rewrite.

mod yield_in_joins;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;

/// Adds every rule to the engine's own.
pub(crate) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.with_physical_optimizer_rule(Arc::new(yield_in_joins::YieldInJoins))
}
