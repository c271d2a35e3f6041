//! What must be zero again when the clients are gone: queries, tasks, reserved memory, spilled files,
//! busy sessions at the sources.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::{Connection, Rows};
use crate::gateway::Gateway;
use crate::postgres::PostgresServer;
use crate::wait;

/// Cancellation reaches workers and sources within a second; a busy machine gets more.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// States of queries and tasks that have ended.
const ENDED: [&str; 4] = ["finished", "failed", "canceled", "abandoned"];

/// One test at a time over servers that a whole suite shares: what another one still runs would look like
/// something left behind.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed left nothing half done here.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics with a list of what is left when it does not become nothing in time.
#[track_caller]
pub fn assert_nothing_left(gateway: &Gateway, sources: &[&PostgresServer]) {
    let mut left = Vec::new();
    let settled = wait::until(SETTLE_LIMIT, || {
        left = leftovers(gateway, sources);
        left.is_empty().then_some(())
    });
    assert!(
        settled.is_some(),
        "left after {SETTLE_LIMIT:?}:\n  {}\n{}",
        left.join("\n  "),
        gateway.logs()
    );
}

fn leftovers(gateway: &Gateway, sources: &[&PostgresServer]) -> Vec<String> {
    let mut left = Vec::new();
    let mut connection = match gateway.try_connect("sluice") {
        Ok(connection) => connection,
        Err(error) => return vec![format!("the gateway takes no session: {error}")],
    };
    for table in ["queries", "tasks"] {
        match ask(&mut connection, table) {
            Ok(rows) => left.extend(
                (0..rows.rows.len())
                    .filter(|row| !has_ended(&rows, *row) && !is_own_question(&rows, *row))
                    .map(|row| format!("{table}: {:?}", rows.rows[row])),
            ),
            Err(error) => left.push(error),
        }
    }
    match ask(&mut connection, "workers") {
        Ok(rows) => {
            for (position, column) in rows.columns.iter().enumerate() {
                let counts = [
                    "memory_used",
                    "memory_reserved",
                    "running_tasks",
                    "spilled_bytes",
                ];
                if !counts.iter().any(|name| column.name.starts_with(name)) {
                    continue;
                }
                left.extend(
                    (0..rows.rows.len())
                        // What a lost worker reported last says nothing about now.
                        .filter(|row| rows.value(*row, "state") == Some("active"))
                        .filter_map(|row| rows.rows[row][position].as_deref())
                        .filter(|value| *value != "0")
                        .map(|value| format!("workers.{}: {value}", column.name)),
                );
            }
        }
        Err(error) => left.push(error),
    }
    left.extend(
        gateway
            .spill_files()
            .iter()
            .map(|file| format!("spilled: {}", file.display())),
    );
    for source in sources {
        let busy = source.busy_sessions();
        if busy > 0 {
            left.push(format!(
                "{busy} busy sessions at a source: {}",
                source.busy_statements()
            ));
        }
    }
    left
}

fn ask(connection: &mut Connection, table: &str) -> Result<Rows, String> {
    connection
        .query(&format!("SELECT * FROM system.runtime.{table}"))
        .map_err(|error| format!("system.runtime.{table} does not answer: {error}"))
}

fn has_ended(rows: &Rows, row: usize) -> bool {
    let state = rows.value(row, "state").unwrap_or("").to_lowercase();
    ENDED.contains(&state.as_str())
}

/// The question itself runs while it is asked, and so does a concurrent suite's.
fn is_own_question(rows: &Rows, row: usize) -> bool {
    rows.rows[row]
        .iter()
        .flatten()
        .any(|value| value.contains("system.runtime."))
}
