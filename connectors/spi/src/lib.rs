//! The connector contract: what a source offers to Sluice, and nothing of how any source works.
//!
//! A connector implements [`Connector`] (one configured catalog) and [`ConnectorFactory`] (makes one
//! from a catalog file). Optional powers ([`Pushdown`], [`Writer`], [`Passthrough`]) are separate
//! traits, so that nothing answers "not implemented" at run time.
//!
//! What connectors to servers share is here too: [`ConnectionPool`], within the fleet's
//! [`ConnectionBudget`].
//!
//! Relies on Arrow for data and on DataFusion for [`Expr`], [`ScalarValue`] and [`PhysicalExpr`] only.
//! Never knows a protocol, a planner or another connector.

mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connections;
mod connector;
mod convert;
mod error;
mod handle;
mod metadata;
mod pool;
mod pushdown;
mod read;
mod relation;
mod scalar;
mod snapshot;
mod streaming;
pub mod types;
mod verdict;
mod write;

pub use config::{ByteSize, ConfigReference, Secret, interpolate, parse_section};
pub use connections::{
    ConnectionBudget, ConnectionBudgets, ConnectionHolder, ConnectionLease, ConnectionUsage,
    LocalConnections,
};
pub use connector::{Connector, ConnectorContext, ConnectorFactory, Passthrough};
pub use datafusion::logical_expr::Expr;
pub use datafusion::physical_plan::PhysicalExpr;
pub use datafusion::scalar::ScalarValue;
pub use error::{Error, NativePlace, Result, SqlState, nearest};
pub use handle::{HANDLE_VERSION, Split, TableHandle};
pub use metadata::{
    ColumnMetadata, ColumnStatistics, Estimate, ForeignKey, Generated, KeyDetails, Metadata,
    ReferentialAction, TableDetails, TableKind, TableMetadata, TableStatistics, TableSummary,
};
pub use pool::{ConnectionPool, Dial, PoolTimes, Pooled};
pub use pushdown::{
    Aggregation, FilterPushdown, JoinMethod, Operation, Output, Pushdown, Pushed, Reason,
};
pub use read::{
    BatchStream, DynamicFilter, ReadRequest, Reader, RunTimeKeys, ScanDescription, ScanMetrics,
    SplitRequest, SplitSource,
};
pub use relation::{AggregateCall, AggregateFunction, JoinKind, RelColumn, Relation, SortKey};
pub use scalar::{ArithmeticOp, CompareOp, Literal, ScalarExpr, ValueType};
pub use snapshot::{OpenSnapshot, SnapshotRead, SnapshotToken, Snapshots};
pub use streaming::{BatchSource, stream_apart, stream_here, stream_of_counts};
pub use verdict::Verdict;
pub use write::{
    Assigned, ColumnDefault, ConflictValue, Definitions, InsertTarget, NativeStatements, NewColumn,
    NewTable, NewView, OnConflict, RowChanges, TableChange, TableSink, TruncateOptions,
    WriteTarget, Writer,
};
