//! The `postgres` connector: a PostgreSQL database (12 or newer) as a catalog.
//!
//! ```text
//! config ─► dial ─► pool ─► metadata, statistics, passthrough   names and descriptions
//!                     │
//!                     └──► read ─► scan ─► copy ─► decode        rows
//! layout ─► splits ─► share, snapshot                            pieces, under one snapshot
//! pushdown ─► render ─► literal                                  SQL
//! write ─► pool                                                  changes
//! ```
//!
//! Relies on tokio-postgres for the protocol, on deadpool for prepared statements that are kept, and on the
//! contract for the pool. Every session is read-only but for the transactions of [`mod@write`], and no statement
//! outlives the stream that asked for it. Never sends an expression whose meaning at the source is not the
//! engine's.

mod catalog_sql;
mod config;
mod connector;
mod copy;
mod decode;
mod details;
mod dial;
mod error;
mod facts;
mod layout;
mod literal;
mod metadata;
mod passthrough;
mod pool;
mod pushdown;
mod read;
mod render;
mod scan;
mod share;
mod snapshot;
mod source_plan;
mod splits;
mod statistics;
mod tls;
mod types;
mod write;

pub use config::PostgresConfig;
pub use connector::PostgresFactory;
