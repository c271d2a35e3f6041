//! psql: the backslash commands ask the system catalogs, and what they print is what users see.

use crate::servers;

#[track_caller]
fn psql(database: &str, command: &str) -> String {
    let output = servers()
        .gateway
        .psql(database)
        .args(["-v", "ON_ERROR_STOP=1", "-c", command])
        .output()
        .expect("psql starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !errors.contains("ERROR"),
        "psql -c '{command}'\n{text}{errors}"
    );
    text
}

#[track_caller]
fn shows(database: &str, command: &str, words: &[&str]) {
    let text = psql(database, command);
    for word in words {
        assert!(
            text.contains(word),
            "psql -c '{command}' does not show {word:?}\n{text}"
        );
    }
}

#[test]
fn databases_are_catalogs() {
    shows("shop", r"\l", &["shop", "tpch", "memory", "sluice"]);
}

#[test]
fn schemas_are_listed() {
    shows("tpch", r"\dn", &["tiny", "sf1"]);
    shows("shop", r"\dn", &["public"]);
}

#[test]
fn tables_are_listed() {
    shows("shop", r"\dt", &["kinds", "lines"]);
    shows("tpch", r"\dt *.*", &["lineitem", "tiny"]);
    shows("tpch", r"\dt tiny.*", &["orders", "nation"]);
    shows("shop", r"\d", &["kinds"]);
}

#[test]
fn a_table_is_described() {
    shows(
        "shop",
        r"\d kinds",
        &[
            "numeric(12,2)",
            "character varying(10)",
            "timestamp with time zone",
            "not null",
            "uuid",
            "jsonb",
            "integer[]",
        ],
    );
    shows(
        "tpch",
        r"\d tiny.lineitem",
        &["l_orderkey", "bigint", "l_shipdate", "date"],
    );
    shows("shop", r"\dt+ kinds", &["one of each"]);
}

#[test]
fn other_lists_answer() {
    for command in [
        r"\dv",
        r"\di",
        r"\ds",
        r"\df",
        r"\du",
        r"\dx",
        r"\dT",
        r"\conninfo",
        r"\dp",
        r"\db",
    ] {
        psql("shop", command);
    }
}

#[test]
fn a_result_is_printed_as_by_postgresql() {
    let sql = "SELECT id, small, big, price, ratio, share, ok, name, code, day, clock, at, tag, doc, bytes, list, words FROM kinds ORDER BY id";
    let ours = psql("shop", sql);
    let theirs = servers()
        .source
        .psql("shop")
        .args(["-c", sql])
        .output()
        .expect("psql starts");
    assert_eq!(ours, String::from_utf8_lossy(&theirs.stdout));
}

#[test]
fn csv_output_of_many_rows_is_complete() {
    let output = servers()
        .gateway
        .psql("tpch")
        .args([
            "--csv",
            "-t",
            "-v",
            "FETCH_COUNT=1000",
            "-c",
            "SELECT o_orderkey, o_comment FROM tiny.orders",
        ])
        .output()
        .expect("psql starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).lines().count(),
        15_000,
        "{errors}"
    );
}
