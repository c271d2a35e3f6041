//! The connector against a real, private PostgreSQL server.

mod faults;
mod literals;
mod metadata;
mod pushdown;
mod reading;
mod support;
mod tls;
mod types;
