//! The harness of the black-box suites: it starts real servers on private ports, talks to them over their
//! public protocols, compares their answers, and takes everything down again.
//!
//! It relies on the built `sluice` binary and on the PostgreSQL and MariaDB server programs of the machine. It never
//! imports a crate of the product: what a suite cannot see through a port, a user cannot see either.
//!
//! Everything is blocking. A suite that needs an asynchronous client brings its own runtime.

pub mod client;
pub mod compare;
pub mod corpus;
pub mod data;
pub mod frames;
pub mod gateway;
pub mod golden;
pub mod leaks;
pub mod mariadb;
pub mod paths;
pub mod postgres;
pub mod process;
pub mod tpch;
pub mod wait;

pub use client::{Connection, Rows, ServerError};
pub use gateway::{Gateway, GatewayOptions};
pub use mariadb::MariaDbServer;
pub use postgres::PostgresServer;

/// Whether the long variants run, too (`make test-all`).
pub fn all() -> bool {
    std::env::var_os("SLUICE_TEST_ALL").is_some_and(|value| value != "0" && !value.is_empty())
}
