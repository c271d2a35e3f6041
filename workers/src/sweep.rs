//! Gives back what ended tasks still hold on a worker that has become idle.
//!
//! The engine keeps each task's plan, with the build sides of its joins, in a cache. An ended task is taken
//! out at once, but the cache drops the value only in its maintenance, which runs along with some later
//! operation. On an idle worker there is none, and the memory would stay until the next query. Such an
//! operation is made here: a look-up of a task that never was.
//!
//! What the cache drops is freed by epochs (crossbeam-epoch): a thread collects what it has taken out, and hands
//! it over after the operation. An operation that was moved to another thread half-way leaves its part behind on
//! the first one, for as long as that one sleeps. So each thread hands over before it parks.

use std::sync::Arc;
use std::time::Duration;

use datafusion_distributed::{ExecuteTaskRequest, ProducerHead, TaskKey};
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::WorkerService;

/// What every thread that may run tasks does before it parks (`on_thread_park` of its runtime).
pub fn hand_over_garbage() {
    crossbeam_epoch::pin().flush();
}

/// How often an idle worker is looked at. The cache's maintenance runs at most every 300 ms.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// The look-up would wait for a plan that never comes.
const LOOK_UP_TIMEOUT: Duration = Duration::from_millis(20);

/// Sweeps for as long as it is polled.
pub(crate) async fn sweep_when_idle(worker: Arc<WorkerService>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if worker.running_tasks() == 0 && worker.memory_usage().used_bytes > 0 {
            // Always the same key: it leaves one empty entry.
            let nobody = ExecuteTaskRequest {
                task_key: TaskKey {
                    query_id: Uuid::nil(),
                    stage_id: 0,
                    task_number: 0,
                },
                target_partition_start: 0,
                target_partition_end: 0,
                producer_head: ProducerHead::None,
            };
            let _ = timeout(LOOK_UP_TIMEOUT, worker.worker().execute_task(nobody)).await;
        }
    }
}
