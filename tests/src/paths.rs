//! Where things are: the checkout, the built programs, the generated data.

use std::path::{Path, PathBuf};

/// The folder `tests/` of the checkout.
pub fn tests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The checkout.
pub fn workspace() -> PathBuf {
    tests()
        .parent()
        .expect("tests/ lies in the workspace")
        .to_path_buf()
}

/// The folder of built programs: the one that this test binary was built into.
pub fn programs() -> PathBuf {
    let this = std::env::current_exe().expect("the running program has a path");
    // target/release/deps/suite-hash, or target/release/program.
    let folder = this.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") {
        folder
            .parent()
            .expect("deps/ lies in the profile's folder")
            .to_path_buf()
    } else {
        folder.to_path_buf()
    }
}

/// A built program of the workspace. Panics with the command that builds it.
pub fn program(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --release --workspace --bins (make test does it)",
        path.display()
    );
    path
}

/// Generated data sets, shared by all suites and kept between runs.
pub fn data() -> PathBuf {
    programs()
        .parent()
        .expect("a profile's folder lies in the target folder")
        .join("sluice-data")
}
