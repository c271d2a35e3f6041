//! Holds the import rules of ARCHITECTURE.md over `cargo metadata`: what a room may know of another one.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// A room and the rooms that it may import. `sluice-connector-*` stands for every connector.
///
/// `spi ← connectors`, `spi ← catalogs ← {planner, workers} ← gateway`. The suites see the product through
/// its ports; only their data generator reads rows from the tpch connector through the public contract.
const MAY_IMPORT: [(&str, &[&str]); 8] = [
    // No room and no code: it names the features of shared dependencies once for all builds.
    ("sluice-unify", &[]),
    ("sluice-spi", &["sluice-unify"]),
    ("sluice-connector-*", &["sluice-spi"]),
    ("sluice-catalogs", &["sluice-spi"]),
    ("sluice-planner", &["sluice-spi", "sluice-catalogs"]),
    ("sluice-workers", &["sluice-spi", "sluice-catalogs"]),
    (
        "sluice-gateway",
        &[
            "sluice-spi",
            "sluice-catalogs",
            "sluice-planner",
            "sluice-workers",
            "sluice-connector-*",
        ],
    ),
    ("sluice-tests", &["sluice-spi", "sluice-connector-tpch"]),
];

/// What a room's own tests may import in addition: a real connector in the place of a mock.
const TESTS_MAY_IMPORT: [&str; 1] = ["sluice-connector-*"];

/// Libraries that belong to certain rooms alone: frames to the front, each source's client to its connector.
const BELONGS_TO: [(&str, &[&str]); 5] = [
    ("pgwire", &["sluice-gateway"]),
    (
        "tokio-postgres",
        &["sluice-connector-postgres", "sluice-tests"],
    ),
    ("mysql_async", &["sluice-connector-mysql"]),
    ("tpchgen", &["sluice-connector-tpch"]),
    (
        "datafusion-distributed",
        &[
            "sluice-planner",
            "sluice-workers",
            "sluice-gateway",
            "sluice-catalogs",
        ],
    ),
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(sluice_tests::paths::workspace().join("Cargo.toml"))
        .no_deps()
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .expect("cargo metadata answers")
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

fn allowed(package: &str) -> Option<&'static [&'static str]> {
    MAY_IMPORT
        .iter()
        .find(|(room, _)| matches(room, package))
        .map(|(_, rooms)| *rooms)
}

fn problems(packages: &[&Package]) -> Vec<String> {
    let ours: BTreeMap<&str, &Package> = packages
        .iter()
        .map(|package| (package.name.as_str(), *package))
        .collect();
    let mut problems = Vec::new();
    for (name, package) in &ours {
        let Some(rooms) = allowed(name) else {
            problems.push(format!(
                "{name}: a room without a rule; add it to MAY_IMPORT with a reason"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let target = dependency.name.as_str();
            if ours.contains_key(target) && target != *name {
                let tests_only = dependency.kind == DependencyKind::Development
                    && TESTS_MAY_IMPORT.iter().any(|room| matches(room, target));
                if !tests_only && !rooms.iter().any(|room| matches(room, target)) {
                    problems.push(format!("{name} imports {target}"));
                }
            } else if dependency.path.is_some() && target != *name {
                problems.push(format!(
                    "{name}: {target} comes from a folder outside the workspace"
                ));
            } else if dependency
                .source
                .as_ref()
                .is_some_and(|source| !source.repr.starts_with("registry+"))
            {
                problems.push(format!("{name}: {target} does not come from the registry"));
            }
            if let Some((_, owners)) = BELONGS_TO.iter().find(|(library, _)| *library == target)
                && !owners.contains(name)
            {
                problems.push(format!(
                    "{name} imports {target}, which belongs to {owners:?}"
                ));
            }
        }
    }
    problems
}

#[test]
fn rooms_import_only_what_they_may() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    assert!(
        packages.len() >= 10,
        "only {} packages found",
        packages.len()
    );
    let problems = problems(&packages);
    assert!(
        problems.is_empty(),
        "import rules broken:\n  {}",
        problems.join("\n  ")
    );
}

/// The rules must be able to fail: planner and workers may never meet.
#[test]
fn a_forbidden_import_is_found() {
    let metadata = metadata();
    let mut planner = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == "sluice-planner")
        .expect("the planner is a package")
        .clone();
    let mut wrong = planner.dependencies[0].clone();
    wrong.name = "sluice-workers".to_owned();
    wrong.kind = DependencyKind::Normal;
    planner.dependencies.push(wrong);
    let workers = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == "sluice-workers")
        .expect("the workers are a package");
    let found = problems(&[&planner, workers]);
    assert!(
        found
            .iter()
            .any(|problem| problem == "sluice-planner imports sluice-workers"),
        "{found:?}"
    );
}

/// One crate without the workspace's lints would be one with `unsafe` and undocumented items.
#[test]
fn every_crate_inherits_the_lints_and_the_licence() {
    for package in metadata().workspace_packages() {
        let manifest =
            std::fs::read_to_string(&package.manifest_path).expect("a manifest can be read");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not inherit the workspace's lints",
            package.name
        );
        assert_eq!(
            package.license.as_deref(),
            Some("Apache-2.0"),
            "{}",
            package.name
        );
        assert_eq!(
            package.publish.as_deref(),
            Some(&[][..]),
            "{} could be published by accident",
            package.name
        );
    }
}
