//! Generated data sets: made once by `sample-data`, kept in the target folder, shared by all suites.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::paths;

/// Raised when `sample-data` writes something else for the same arguments.
const GENERATION: u32 = 1;

/// The schema's name for a scale factor: `0.1` is `sf0_1`, as in the `tpch` catalog.
pub fn schema(scale: &str) -> String {
    if scale == "0.01" {
        return "tiny".to_owned();
    }
    format!("sf{}", scale.replace('.', "_"))
}

/// All TPC-H tables at a scale factor as `ROOT/SCHEMA/TABLE…`: `format` is `parquet` or `csv`. Gives ROOT.
pub fn tpch(scale: &str, format: &str) -> PathBuf {
    generate(
        &format!("tpch-{scale}-{format}-v{GENERATION}"),
        &["--scale", scale, "--format", format],
    )
}

/// The small files of `make run`: CSV, JSON and partitioned Parquet. Gives the lake's location.
pub fn demo() -> PathBuf {
    generate(&format!("demo-v{GENERATION}"), &["--demo"])
}

/// The files of a table below a root, by name.
pub fn files(root: &Path, table: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let is_of_table = path.file_stem().is_some_and(|stem| stem == table)
                || path
                    .parent()
                    .and_then(Path::file_name)
                    .is_some_and(|parent| parent == table);
            if is_of_table && path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(
        !found.is_empty(),
        "no {extension} file of {table} under {}",
        root.display()
    );
    found
}

fn generate(name: &str, arguments: &[&str]) -> PathBuf {
    let folder = paths::data();
    fs::create_dir_all(&folder).expect("the data folder can be created");
    // Test binaries may run side by side: the first one writes, the others wait.
    let lock = File::create(folder.join("lock")).expect("the lock file can be created");
    lock.lock().expect("a lock file can be locked");
    let done = folder.join(name);
    if !done.exists() {
        let partial = folder.join(format!("{name}.partial"));
        let _ = fs::remove_dir_all(&partial);
        let output = Command::new(paths::program("sample-data"))
            .args(arguments)
            .arg("--out")
            .arg(&partial)
            .output()
            .expect("sample-data starts");
        assert!(
            output.status.success(),
            "sample-data {arguments:?} failed\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&partial, &done).expect("a finished folder can be renamed");
    }
    done
}
