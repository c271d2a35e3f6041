//! The trap table: each line a test on a real server. What is "exactly" pushed must return just the rows
//! that the engine would keep, what is a superset all of them.

use datafusion::prelude::{col, lit};
use sluice_spi::{Expr, Pushed, ScalarValue};

use crate::support::{catalog, catalog_with, fails, filtered, read_all, shared, table};

fn is_no(pushed: &Pushed) -> bool {
    matches!(pushed, Pushed::No(_))
}

/// A text table with an index under a collation that ignores case and accents, and pads.
async fn words(
    name: &str,
    collation: &str,
) -> (std::sync::Arc<crate::mariadb::MariaDbServer>, String) {
    let server = shared();
    server.query(&format!(
        "CREATE OR REPLACE TABLE {name} (t varchar(20), KEY (t)) CHARACTER SET utf8mb4 COLLATE {collation};
         INSERT INTO {name} VALUES ('abc'), ('ABC'), ('abc '), ('äbc'), ('abd'), (NULL)"
    ));
    (server, name.to_owned())
}

#[tokio::test]
async fn equality_of_text_ignores_neither_case_nor_accents_nor_blanks() {
    for (name, collation) in [
        ("words_ci", "utf8mb4_general_ci"),
        ("words_uni", "utf8mb4_unicode_ci"),
        ("words_bin", "utf8mb4_bin"),
        ("words_nopad", "utf8mb4_nopad_bin"),
    ] {
        let (server, name) = words(name, collation).await;
        let catalog = catalog(&server);
        let words = table(&catalog, &name).await;
        let (pushed, found) = filtered(&catalog, &words, col("t").eq(lit("abc"))).await;
        assert_eq!(
            (pushed, found),
            (Pushed::Exactly, vec!["abc".to_owned()]),
            "{collation}"
        );
        let (pushed, found) = filtered(
            &catalog,
            &words,
            col("t").in_list(vec![lit("ABC"), lit("x")], false),
        )
        .await;
        assert_eq!(
            (pushed, found),
            (Pushed::Exactly, vec!["ABC".to_owned()]),
            "{collation}"
        );
        let (pushed, found) = filtered(&catalog, &words, col("t").not_eq(lit("abc"))).await;
        assert_eq!(pushed, Pushed::Exactly);
        assert_eq!(found, ["ABC", "abc ", "abd", "äbc"], "{collation}");
    }
}

#[tokio::test]
async fn equality_of_text_keeps_its_index() {
    let (server, name) = words("words_index", "utf8mb4_general_ci").await;
    let catalog = catalog(&server);
    let words = table(&catalog, &name).await;
    let answer =
        catalog
            .pushdown()
            .unwrap()
            .apply_filter(&words, &words.handle, &[col("t").eq(lit("abc"))]);
    let sql = catalog
        .describe(&answer.handle, &[0], None)
        .remote_sql
        .unwrap();
    let plan = server.query(&format!("EXPLAIN {sql}"));
    assert!(plan.contains("\tref\tt\tt\t"), "{plan}");
}

#[tokio::test]
async fn ranges_of_text_follow_the_bytes() {
    let (server, name) = words("words_range", "utf8mb4_general_ci").await;
    let catalog = catalog(&server);
    let words = table(&catalog, &name).await;
    let (pushed, found) = filtered(&catalog, &words, col("t").lt(lit("a"))).await;
    assert_eq!((pushed, found), (Pushed::Exactly, vec!["ABC".to_owned()]));
    let (pushed, found) = filtered(&catalog, &words, col("t").gt(lit("abc"))).await;
    assert_eq!(pushed, Pushed::Exactly);
    assert_eq!(found, ["abc ", "abd", "äbc"]);
}

#[tokio::test]
async fn like_tells_case_apart_and_takes_backslashes_as_they_are() {
    let server = shared();
    server.query(
        r"CREATE OR REPLACE TABLE patterns (t varchar(20)) CHARACTER SET utf8mb4;
          INSERT INTO patterns VALUES ('a\\b'), ('A\\b'), ('a%b'), ('axb'), ('a|b')",
    );
    let catalog = catalog(&server);
    let patterns = table(&catalog, "patterns").await;
    for (pattern, expected) in [
        (r"a\\b", vec![r"a\b"]),
        (r"a\%b", vec!["a%b"]),
        ("a|b", vec!["a|b"]),
        ("a_b", vec!["a%b", r"a\b", "axb", "a|b"]),
        ("A%", vec![r"A\b"]),
    ] {
        let (pushed, found) = filtered(&catalog, &patterns, col("t").like(lit(pattern))).await;
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expected.sort();
        assert_eq!((pushed, found), (Pushed::Exactly, expected), "{pattern}");
    }
    let (pushed, _) = filtered(&catalog, &patterns, col("t").ilike(lit("a%"))).await;
    assert!(is_no(&pushed));
}

#[tokio::test]
async fn zero_dates_are_not_null_and_no_other_date() {
    let server = shared();
    server.query(
        "SET SESSION sql_mode = ''; CREATE OR REPLACE TABLE zero (id int, d date NOT NULL, KEY (d));
         INSERT INTO zero VALUES (1, '0000-00-00'), (2, '2020-01-01'), (3, '2021-02-00')",
    );
    let strict = catalog(&server);
    let zero = table(&strict, "zero").await;
    let (pushed, _) = filtered(&strict, &zero, col("d").is_null()).await;
    assert!(is_no(&pushed), "the server says that 0000-00-00 IS NULL");
    let error = fails(read_all(&strict, &zero).await);
    assert_eq!(error.code.code(), "22008");
    assert!(error.hint.unwrap().contains("zero_dates"));

    let lenient = catalog_with(&server, "zero_dates = 'null'");
    let zero = table(&lenient, "zero").await;
    assert!(zero.columns[1].field.is_nullable());
    let read = read_all(&lenient, &zero).await.unwrap();
    assert_eq!(
        crate::support::lines(&read),
        ["1|NULL", "2|2020-01-01", "3|NULL"]
    );
    let early = col("d").lt(lit(ScalarValue::Date32(Some(20_000))));
    let (pushed, _) = filtered(&lenient, &zero, early).await;
    assert!(
        matches!(pushed, Pushed::Superset(_)),
        "the engine drops the NULLs"
    );
    let (pushed, _) = filtered(&lenient, &zero, col("d").is_null()).await;
    assert!(is_no(&pushed));
}

#[tokio::test]
async fn nothing_is_cast_silently() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE casts (id int, t varchar(10), f float, y year);
         INSERT INTO casts VALUES (1, 'abc', 0.1, 1970), (2, '0', 0.5, 2070)",
    );
    let catalog = catalog(&server);
    let casts = table(&catalog, "casts").await;
    for filter in [
        // 'abc' = 0 is true at the source.
        col("t").eq(lit(0)),
        // Stored as 0.100000001490116.
        col("f").eq(lit(0.1_f32)),
        // 70 is 1970 at the source.
        col("y").eq(lit(70_i16)),
        (col("id") / lit(2)).eq(lit(0)),
    ] {
        let answer = catalog.pushdown().unwrap().apply_filter(
            &casts,
            &casts.handle,
            std::slice::from_ref(&filter),
        );
        assert!(is_no(&answer.outcome[0]), "{filter}");
    }
}

#[tokio::test]
async fn unsigned_numbers_reach_their_end() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE large (u bigint unsigned PRIMARY KEY);
         INSERT INTO large VALUES (0), (9223372036854775808), (18446744073709551615)",
    );
    let catalog = catalog(&server);
    let large = table(&catalog, "large").await;
    let (pushed, found) = filtered(&catalog, &large, col("u").eq(lit(u64::MAX))).await;
    assert_eq!(
        (pushed, found),
        (Pushed::Exactly, vec![u64::MAX.to_string()])
    );
    let (pushed, found) = filtered(&catalog, &large, col("u").gt_eq(lit(1_u64 << 63))).await;
    assert_eq!((pushed, found.len()), (Pushed::Exactly, 2));
}

#[tokio::test]
async fn an_enum_is_compared_by_its_label() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE moods (e enum('2', '1', 'sad')) CHARACTER SET utf8mb4;
         INSERT INTO moods VALUES ('2'), ('1'), ('sad'), (NULL)",
    );
    let catalog = catalog(&server);
    let moods = table(&catalog, "moods").await;
    for (label, count) in [
        ("1", 1),
        ("sad", 1),
        ("SAD", 0),
        ("3", 0),
        ("never heard of", 0),
    ] {
        let (pushed, found) = filtered(&catalog, &moods, col("e").eq(lit(label))).await;
        assert_eq!((pushed, found.len()), (Pushed::Exactly, count), "{label}");
    }
    let (_, found) = filtered(&catalog, &moods, Expr::Not(Box::new(col("e").gt(lit("1"))))).await;
    assert_eq!(found, ["1"]);
}
