//! The connector against a real, private PostgreSQL server.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod conformance;
mod faults;
mod literals;
mod metadata;
mod pushdown;
mod reading;
mod splits;
mod support;
mod tls;
mod types;
mod writing;
