//! The gateway: PostgreSQL front, sessions, coordinator, HTTP, and the one binary `sluice`.
//!
//! Everything meets here and nothing imports it. The front knows protocol and sessions, the coordinator
//! knows queries; they meet at [`engine`].

pub mod commands;
pub mod config;
pub mod connectors;
pub mod coordinator;
pub mod engine;
pub mod fleet;
mod http;
pub mod pgwire;
pub mod session;
pub mod users;
