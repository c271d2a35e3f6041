//! The list of traps that people read names tests that exist.

use std::fs;

use sluice_tests::paths;

/// `docs/traps.md` names tests as `path/of/file.rs::name`, in code quotes.
#[test]
fn the_list_of_traps_names_real_tests() {
    let list = paths::workspace().join("docs/traps.md");
    let text =
        fs::read_to_string(&list).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
    let mut named = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let Some((file, test)) = word.split_once(".rs::") else {
            continue;
        };
        let path = paths::workspace().join(format!("{file}.rs"));
        let code = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{word}: {error}"));
        assert!(
            code.contains(&format!("fn {test}(")),
            "{word}: there is no such test"
        );
        named += 1;
    }
    assert!(named > 50, "only {named} tests");
    // And each trap of this suite is in the list.
    for entry in fs::read_dir(paths::tests().join("traps"))
        .expect("the suite is there")
        .flatten()
    {
        let code = fs::read_to_string(entry.path()).unwrap_or_default();
        for name in code
            .split("#[test]\nfn ")
            .skip(1)
            .filter_map(|rest| rest.split('(').next())
        {
            let file = entry.file_name().to_string_lossy().into_owned();
            let quoted = format!("`tests/traps/{file}::{name}`");
            assert!(
                file == "list.rs" || text.contains(&quoted),
                "{quoted} is not in the list"
            );
        }
    }
}
