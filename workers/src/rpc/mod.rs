//! The RPC port of a process: its runtime, its listener, who may call, and the fleet's own messages.
//!
//! One port serves two services: datafusion-distributed's worker service (plans and batches) and the
//! fleet's (register, heartbeat, leave). Relies on tonic; knows nothing of what a plan means.

mod client;
mod fleet;
mod guard;
mod listen;
mod runtime;
mod server;
mod wire;

pub(crate) use client::{Secret, attend, connect};
pub use listen::{advertised_url, bind};
pub use runtime::RpcRuntime;
pub use server::{RpcOptions, RpcServer};
pub(crate) use wire::{FromWorker, Heartbeat, Registration, ToWorker};
