//! The `mysql` connector: a MySQL or MariaDB server as a catalog.
//!
//! ```text
//! config ─► pool ─► metadata, statistics, passthrough      names and descriptions
//!             │
//!             ├──► read ─► scan ─► decode                   rows
//!             └──► write                                    tables and rows
//! pushdown ─► render ─► literal                             SQL
//! ```
//!
//! Relies on mysql_async for the protocol (binary rows, TLS by rustls, no compression) and on the contract's
//! pool. Sessions that read are read-only, and no statement outlives the stream that asked for it:
//! the server is told to kill it. Never sends an expression whose meaning at the source is not the
//! engine's.
//!
//! # Servers
//!
//! Written for MySQL 5.6 to 9 and MariaDB 10.2 to 11; the tests run on MariaDB. What differs is decided by
//! [`version`], and nothing is asked of a server that lacks it:
//!
//! | what | MySQL | MariaDB |
//! | --- | --- | --- |
//! | read-only sessions | 5.6 | 10.0 |
//! | fractions of seconds in information_schema | 5.6.4 | 10.0 |
//! | `json` | a type, from 5.7.8 | text with a check, known by that check from 10.4.3 |
//! | collations without padding | `…_0900_…` | `…_nopad_…` |
//! | histograms | `information_schema.column_statistics`, from 8.0.3 | `mysql.column_stats`, from 10.0 |
//! | uuid, inet4, inet6 as types | none | 10.7, 10.10, 10.5 |
//! | a statement that ran too long | error 3024 | error 1969 |

mod catalog_sql;
mod config;
mod connector;
mod decode;
mod error;
mod facts;
mod literal;
mod metadata;
mod passthrough;
mod pool;
mod pushdown;
mod read;
mod render;
mod scan;
mod splits;
mod statistics;
mod types;
mod version;
mod write;

pub use config::MySqlConfig;
pub use connector::MySqlFactory;
