//! The plans in `docs/explain.md` are what is printed: each block of SQL is followed by its output.
//!
//! `UPDATE_GOLDENS=1 cargo test --release -p sluice-tests --test plans guide` writes the outputs anew.

use std::fs;

use sluice_tests::{golden, leaks, paths};

use crate::servers;

const SQL: &str = "```sql\n";
const OUTPUT: &str = "```text\n";
const END: &str = "```\n";

/// Fewer would not be a guide.
const LEAST_PLANS: usize = 10;

/// Times change from run to run: `12.3 ms` is printed as `N ms`.
fn without_times(plan: &str) -> String {
    let words: Vec<&str> = plan.split(' ').collect();
    let is_time = |at: usize| {
        words[at].parse::<f64>().is_ok() && words.get(at + 1).is_some_and(|w| w.starts_with("ms"))
    };
    let kept: Vec<&str> = (0..words.len())
        .map(|at| if is_time(at) { "N" } else { words[at] })
        .collect();
    kept.join(" ")
}

#[test]
fn the_guide_shows_what_is_printed() {
    let _alone = leaks::alone();
    let file = paths::workspace().join("docs/explain.md");
    let guide =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let servers = servers();
    let mut session = servers.gateway.connect("sluice");
    session
        .query("SET sluice.workers = 2")
        .expect("the setting exists");
    let mut parts = guide.split(SQL);
    let mut printed = parts.next().unwrap_or_default().to_owned();
    let mut plans = 0;
    for part in parts {
        let (sql, rest) = part.split_once(END).expect("a block of SQL has an end");
        let (between, output) = rest
            .split_once(OUTPUT)
            .expect("a block of SQL has its output");
        let (_, after) = output.split_once(END).expect("an output has an end");
        let plan = session
            .query(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let plan = without_times(&golden::scrub(&plan.lines()));
        printed += &format!("{SQL}{sql}{END}{between}{OUTPUT}{plan}{END}{after}");
        plans += 1;
    }
    assert!(plans >= LEAST_PLANS, "only {plans} plans");
    golden::check(&file, &printed);
    leaks::assert_nothing_left(&servers.gateway, &[&servers.source]);
}
