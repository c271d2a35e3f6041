//! The connector contract: what a source offers to Sluice, and nothing of how any source works.
//!
//! A connector implements [`Connector`] (one configured catalog) and [`ConnectorFactory`] (makes one
//! from a catalog file). Optional powers ([`Pushdown`], [`Writer`], [`Passthrough`]) are separate
//! traits, so that nothing answers "not implemented" at run time.
//!
//! Relies on Arrow for data and on DataFusion for [`Expr`], [`ScalarValue`] and [`PhysicalExpr`] only.
//! Never knows a protocol, a planner or another connector.

mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connector;
mod error;
mod handle;
mod metadata;
mod pushdown;
mod read;
mod relation;
pub mod types;
mod write;

pub use config::{ByteSize, ConfigReference, Secret, interpolate, parse_section};
pub use connector::{Connector, ConnectorContext, ConnectorFactory, Passthrough};
pub use datafusion::logical_expr::Expr;
pub use datafusion::physical_plan::PhysicalExpr;
pub use datafusion::scalar::ScalarValue;
pub use error::{Error, Result, SqlState, nearest};
pub use handle::{HANDLE_VERSION, Split, TableHandle};
pub use metadata::{
    ColumnMetadata, ColumnStatistics, Estimate, Metadata, TableKind, TableMetadata,
    TableStatistics, TableSummary,
};
pub use pushdown::{FilterPushdown, Pushdown, Pushed, Reason};
pub use read::{
    BatchStream, DynamicFilter, ReadRequest, Reader, ScanDescription, ScanMetrics, SplitRequest,
    SplitSource,
};
pub use relation::{CompareOp, Literal, RelColumn, Relation, ScalarExpr};
pub use write::{TableSink, WriteTarget, Writer};
