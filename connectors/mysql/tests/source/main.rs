//! The connector against a real, private MariaDB server.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

// The suites' harness, which no room imports: its files are shared instead.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/mariadb.rs"]
mod mariadb;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/process.rs"]
mod process;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/src/wait.rs"]
mod wait;

mod changes;
mod conformance;
mod faults;
mod literals;
mod metadata;
mod operations;
mod reading;
mod support;
mod trap_operations;
mod traps;
mod types;
mod writing;
