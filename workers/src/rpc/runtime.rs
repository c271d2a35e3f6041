//! Threads that do nothing but answer.
//!
//! A peer that gives no sign of life for some seconds is taken for dead. Queries keep the main
//! runtime's threads busy for long stretches (one poll of a sort can take seconds), so pings,
//! heartbeats and sockets live on threads of their own, where no query ever runs.

use std::sync::Arc;

use sluice_spi::{Error, Result, SqlState};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::sweep::hand_over_garbage;

/// Cores per RPC thread: one thread moves some gigabytes per second, about what eight cores produce.
const CORES_PER_THREAD: usize = 8;

/// Most RPC threads: beyond that the network is the limit.
const THREADS_MAX: usize = 4;

/// The threads that carry a process's RPC connections.
#[derive(Debug)]
pub struct RpcRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl RpcRuntime {
    /// Starts the threads. They end when the last reference is dropped.
    pub fn start() -> Result<Arc<Self>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads((cores / CORES_PER_THREAD).clamp(1, THREADS_MAX))
            .thread_name("sluice-rpc")
            .on_thread_park(hand_over_garbage)
            .enable_all()
            .build()
            .map_err(|e| {
                Error::new(
                    SqlState::IO_ERROR,
                    format!("could not start the rpc threads: {e}"),
                )
            })?;
        Ok(Arc::new(RpcRuntime {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        }))
    }

    /// Where RPC work is spawned.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for RpcRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last reference may be dropped inside of another runtime, which must not block.
            runtime.shutdown_background();
        }
    }
}
