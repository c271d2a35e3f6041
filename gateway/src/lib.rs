//! sluice-gateway
pub mod engine;
pub mod pgwire;
pub mod session;
pub mod users;
