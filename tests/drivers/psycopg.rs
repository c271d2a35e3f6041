//! psycopg 3: the script `psycopg_suite.py` holds the checks; this starts it and shows what it says.

use std::path::PathBuf;
use std::process::Command;

use crate::servers;

/// The virtual environment that `make test` fills.
fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("SLUICE_PYTHON") {
        return PathBuf::from(path);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    cache.join("sluice/python-test/bin/python")
}

#[test]
fn psycopg_works_unchanged() {
    let python = python();
    assert!(
        python.exists(),
        "{} is missing: tests/scripts/setup.sh test",
        python.display()
    );
    let servers = servers();
    let output = Command::new(python)
        .arg(sluice_tests::paths::tests().join("drivers/psycopg_suite.py"))
        .arg(servers.gateway.address().port().to_string())
        .arg(servers.source.address().port().to_string())
        .output()
        .expect("Python starts");
    assert!(
        output.status.success(),
        "{}{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        servers.gateway.logs()
    );
}
