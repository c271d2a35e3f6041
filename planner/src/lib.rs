//! SQL → bound → optimized → pushed down → staged, and EXPLAIN.
//!
//! Relies on the engine for parsing rules, optimization and staging, and on `catalogs` for names. Never
//! runs a plan and never opens a connection: the coordinator does.

mod bind;
mod errors;
pub mod explain;
mod generic;
mod physical;
mod reads;
mod rules;
mod semantics;
mod session;
#[cfg(test)]
mod test_support;

pub use bind::{
    AnalyzedTable, BoundStatement, CallArgument, QueryPlan, RowsAtSource, StatementKind,
    TargetTable,
};
pub use errors::engine_error;
pub use physical::{PhysicalStatement, Placement};
pub use reads::CatalogReads;
pub use rules::RULE_SETTINGS;
pub use session::{Fleet, PlanSession, Planner, PlannerConfig, VirtualTables};
