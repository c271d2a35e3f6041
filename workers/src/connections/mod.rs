//! Connection budgets over a fleet: `max_connections` of a catalog holds for the coordinator and all of
//! its workers together.
//!
//! | file | holds |
//! | --- | --- |
//! | `account` | one catalog's account: who holds, who waits, who gives way |
//! | `desk` | the coordinator's end: all accounts, its own pools, the workers' orders |
//! | `client` | a worker's end: its pools, and what the coordinator is told |
//!
//! Workers and coordinator talk over the stream of membership (`rpc/fleet.rs`, `agent.rs`), so that a
//! worker's leases end with its membership. Messages carry changes; both ends start from what a worker
//! says it holds when it registers. Relies on the stream keeping order and losing nothing while it lives.

mod account;
mod client;
mod desk;

use serde::{Deserialize, Serialize};

pub use client::WorkerConnections;
pub(crate) use desk::{ConnectionDesk, Identity};

/// What a worker tells of one catalog: changes since the message before, and what it holds now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionNeeds {
    pub(crate) catalog: String,
    /// Check-outs that began to wait.
    pub(crate) asked: usize,
    /// Check-outs that gave up.
    pub(crate) withdrawn: usize,
    /// Connections that were closed, or not wanted after all.
    pub(crate) returned: usize,
    pub(crate) open: usize,
    pub(crate) in_use: usize,
}

/// What a worker is told of one catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConnectionOrders {
    pub(crate) catalog: String,
    /// Connections that it may open.
    pub(crate) granted: usize,
    /// Idle connections to close.
    pub(crate) close_idle: usize,
    /// Connections to close as they come back.
    pub(crate) give_up: usize,
    /// The coordinator has no such catalog.
    pub(crate) refused: bool,
}

/// The connections of one process to one catalog's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReport {
    /// The catalog.
    pub catalog: String,
    /// The worker's name, or `coordinator`.
    pub process: String,
    /// `active`, or `lost` for a process whose connections may still be closing.
    pub state: &'static str,
    /// Open, whether in use or idle.
    pub open: usize,
    /// Lent to a statement.
    pub in_use: usize,
    /// Most connections of the catalog over the fleet.
    pub limit: usize,
}
