//! Waiting for something to become true, with a limit. Never a bare sleep in a suite.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks: short enough that a suite does not add it up, long enough to leave the CPU to the servers.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls `probe` until it gives a value; `None` when `limit` is over.
pub fn until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if start.elapsed() > limit {
            return None;
        }
        sleep(POLL_INTERVAL);
    }
}

/// Polls until `condition` holds. Panics with `what` when `limit` is over.
#[track_caller]
pub fn for_condition(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    if until(limit, || condition().then_some(())).is_none() {
        panic!("waited {limit:?} in vain for: {what}");
    }
}
