//! Sluice's own optimizer rules: one file each, one pattern, one rewrite.

use datafusion::execution::session_state::SessionStateBuilder;

/// Adds every rule to the engine's own.
pub(crate) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
}
