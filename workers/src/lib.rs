//! The worker room: the service that runs tasks, the fleet's membership, and the wires between
//! processes.
//!
//! - [`WorkerService`] runs tasks (standalone in `sluice worker`, embedded in `sluice serve`) and keeps
//!   a [`TaskReport`] for each.
//! - [`Membership`] is the coordinator's view: who is here, who is healthy, what runs where.
//! - [`Agent`] is the worker's end of membership: register, heartbeat, drain, leave.
//! - [`WorkerChannels`] opens the connections that stages stream over, [`RpcServer`] accepts them, and
//!   [`RpcRuntime`] keeps both answering while queries use every core.
//! - [`Membership::connections`] and [`WorkerConnections`] keep each catalog's connections within its
//!   budget, over the fleet.
//! - [`runtime_env`] gives a process its memory limit and its spill folder.
//!
//! Relies on datafusion-distributed for stages, tasks and exchanges, and on tonic for transport.
//! Never plans a query, never knows a client's session, never names a connector.

mod agent;
mod channels;
mod config;
mod connections;
mod failure;
mod members;
mod membership;
mod memory;
mod probe;
mod report;
mod resolver;
mod rpc;
mod service;
mod sweep;
mod tasks;
mod text;

pub use agent::Agent;
pub use channels::WorkerChannels;
pub use config::{MemoryConfig, RpcConfig, SpillConfig, WorkerConfig};
pub use connections::{ConnectionReport, WorkerConnections};
pub use failure::{failed_worker, worker_failed};
pub use membership::{Membership, WorkerLost};
pub use memory::{MemoryUsage, memory_usage, runtime_env};
pub use report::{QUERY_ID_HEADER, TaskReport, TaskState, WorkerInfo, WorkerState, query_headers};
pub use resolver::PinnedWorkers;
pub use rpc::{RpcOptions, RpcRuntime, RpcServer, advertised_url, bind};
pub use service::{SessionCustomizer, WorkerOptions, WorkerService};
pub use sweep::hand_over_garbage;
