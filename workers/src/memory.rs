//! The memory and the spill folder of one process.
//!
//! Every operator reserves from one pool, shared by all queries of the process. Half of it goes to whoever comes
//! first; of the rest, operators that can spill get equal shares and write to disk beyond theirs. The pool
//! remembers its peak. Relies on DataFusion's pools; never frees anything itself.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::Result as EngineResult;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use sluice_spi::{Error, Result, SqlState};

use crate::MemoryConfig;

/// The largest consumers that an out-of-memory message lists: enough to see who, short enough to read.
const CONSUMERS_IN_MESSAGE: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

/// What a process's queries use now, and have used at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Bytes reserved now.
    pub used_bytes: u64,
    /// Most bytes reserved at any time since the start.
    pub peak_bytes: u64,
    /// Bytes that queries may reserve together.
    pub limit_bytes: u64,
    /// Bytes in spill files now.
    pub spilled_bytes: u64,
    /// Spill files open now.
    pub spill_files: u64,
}

/// Builds the runtime environment of a process: one memory pool and one spill folder for all of its
/// queries.
pub fn runtime_env(config: &MemoryConfig) -> Result<Arc<RuntimeEnv>> {
    let limit_bytes = usize::try_from(config.limit.0 / 5 * 4).unwrap_or(usize::MAX);
    let pool = MeteredPool {
        inner: TrackConsumersPool::new(FairSpillPool::new(limit_bytes), CONSUMERS_IN_MESSAGE),
        limit_bytes,
        peak_bytes: AtomicUsize::new(0),
    };
    let mode = match (&config.spill.path, config.spill.limit.0) {
        (_, 0) => DiskManagerMode::Disabled,
        (None, _) => DiskManagerMode::OsTmpDirectory,
        (Some(path), _) => {
            std::fs::create_dir_all(path).map_err(|e| {
                config_error(format!(
                    "memory.spill.path: could not create {}: {e}",
                    path.display()
                ))
            })?;
            DiskManagerMode::Directories(vec![path.clone()])
        }
    };
    let disk = DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(config.spill.limit.0);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|e| config_error(format!("memory.spill: {e}")))
}

/// Reads the meters of an environment made by [`runtime_env`]; peak and limit of any other are 0.
pub fn memory_usage(env: &RuntimeEnv) -> MemoryUsage {
    let spill = env.spilling_progress();
    let pool = env.memory_pool.downcast_ref::<MeteredPool>();
    MemoryUsage {
        used_bytes: env.memory_pool.reserved() as u64,
        peak_bytes: pool.map_or(0, |pool| pool.peak_bytes.load(Ordering::Relaxed) as u64),
        limit_bytes: pool.map_or(0, |pool| pool.limit_bytes as u64),
        spilled_bytes: spill.current_bytes,
        spill_files: spill.active_files_count as u64,
    }
}

fn config_error(message: String) -> Error {
    Error::new(SqlState::CONFIG_FILE_ERROR, message)
}

/// The pool of the process, with its peak.
#[derive(Debug)]
struct MeteredPool {
    /// Its equal shares count every operator that could spill, also the many that hold nothing.
    inner: TrackConsumersPool<FairSpillPool>,
    limit_bytes: usize,
    peak_bytes: AtomicUsize,
}

impl MeteredPool {
    /// Up to here nobody is asked for fairness.
    fn first_come_bytes(&self) -> usize {
        self.limit_bytes / 2
    }

    fn note_peak(&self) {
        self.peak_bytes
            .fetch_max(self.inner.reserved(), Ordering::Relaxed);
    }
}

impl fmt::Display for MeteredPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metered({})", self.inner)
    }
}

impl MemoryPool for MeteredPool {
    fn name(&self) -> &str {
        "metered"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
        self.note_peak();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> EngineResult<()> {
        if self.inner.reserved().saturating_add(additional) <= self.first_come_bytes() {
            self.inner.grow(reservation, additional);
        } else {
            self.inner.try_grow(reservation, additional)?;
        }
        self.note_peak();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use sluice_spi::ByteSize;

    use super::*;

    #[test]
    fn half_of_it_is_for_whoever_comes_first() {
        let env = runtime_env(&MemoryConfig {
            limit: ByteSize(1000),
            ..Default::default()
        })
        .unwrap();
        let spills = |name: &str| {
            MemoryConsumer::new(name)
                .with_can_spill(true)
                .register(&env.memory_pool)
        };
        let idle: Vec<MemoryReservation> = (0..7).map(|_| spills("exchange")).collect();
        let busy = spills("aggregate");
        busy.try_grow(400).unwrap();
        // An eighth of 800 is 100: it has more, and others want their part of the other half.
        busy.try_grow(1).unwrap_err();
        idle[0].try_grow(100).unwrap();
        idle[0].try_grow(1).unwrap_err();
        busy.shrink(350);
        busy.try_grow(50).unwrap();
    }

    #[test]
    fn the_limit_holds_and_the_peak_stays() {
        let env = runtime_env(&MemoryConfig {
            limit: ByteSize(1000),
            ..Default::default()
        })
        .unwrap();
        let reservation = MemoryConsumer::new("sort").register(&env.memory_pool);
        reservation.try_grow(700).unwrap();
        reservation.shrink(600);
        let usage = memory_usage(&env);
        assert_eq!(
            (usage.used_bytes, usage.peak_bytes, usage.limit_bytes),
            (100, 700, 800)
        );
        let error = reservation.try_grow(800).unwrap_err().to_string();
        assert!(error.contains("sort"), "{error}");
    }
}
