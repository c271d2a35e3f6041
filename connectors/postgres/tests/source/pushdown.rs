//! Each filter with pushdown and without: the same rows, over values chosen to tell the two apart.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::logical_expr::{Expr, Like};
use datafusion::prelude::{SessionContext, col, lit};
use sluice_spi::{Pushed, ScalarValue};

use crate::support::{Server, read, read_all, table};

pub(crate) const CORPUS: &str = r#"
DROP TABLE IF EXISTS corpus;
CREATE COLLATION IF NOT EXISTS anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION IF NOT EXISTS german (provider = icu, locale = 'de');
DO $$ BEGIN CREATE TYPE mood2 AS ENUM ('sad', 'ok', 'happy'); EXCEPTION WHEN duplicate_object THEN END $$;
CREATE TABLE corpus (
    id int PRIMARY KEY, i int, b bigint, n numeric(10,2), u numeric, f float8, r real, t text, g text COLLATE german,
    y text COLLATE "C", x text COLLATE anycase, v varchar(20), c char(4), nm name, m mood2, d date, s timestamp, z timestamptz,
    w uuid, o boolean, h bytea, k jsonb, p interval, a int[], e oid, q time
);
INSERT INTO corpus SELECT row_number() OVER (), i, i::bigint * 3000000000, i::numeric / 4, i::numeric / 8,
    (ARRAY['NaN', '-0', '0', 'Infinity', '-Infinity', '1.5', '-1.5', NULL])[1 + mod(n, 8)]::float8,
    (ARRAY['0', '-0', 'NaN', '0.1', NULL, '-Infinity'])[1 + mod(n, 6)]::real,
    t, t, t, t, t, left(t, 4), left(t, 20), (ARRAY['sad', 'ok', 'happy', NULL])[1 + mod(n, 4)]::mood2,
    '1970-01-01'::date + (i * 500), '1970-01-01'::timestamp + (i * 500) * '1 day'::interval,
    '1970-01-01 00:00+00'::timestamptz + i * '1 hour'::interval,
    md5(coalesce(t, 'x'))::uuid, (ARRAY[true, false, NULL])[1 + mod(n, 3)], convert_to(t, 'UTF8'),
    '{"a": 1}', i * '1 day'::interval, ARRAY[i], abs(i), '00:00'::time + i * '1 minute'::interval
FROM (SELECT n, t, (ARRAY[-7, -1, 0, 1, 7, NULL])[1 + mod(n, 6)] AS i
      FROM unnest(ARRAY['', ' ', 'a', 'A', 'a ', ' a', 'ab', 'aB', 'Ab', 'b', 'B', 'ä', 'Ä', 'a'||chr(776), 'é', 'ß', 'ss', 'z', 'Z',
                        '_', '%', 'a%b', 'a_b', 'axb', 'a\b', '\', '\\', 'a''b', '''', '"', E'a\nb', E'a\tb', '10', '9', '𝄞', '-', 'a-b', 'ab-', NULL])
           WITH ORDINALITY AS v(t, n)) s;
INSERT INTO corpus SELECT id + 1000, i, b, n, u, f, r, 'a', 'A', 'b', 'B', 'c', 'C', 'd', 'ok', d, s, z, w, o, h, k, p, a, e, q FROM corpus;
"#;

fn filters() -> Vec<Expr> {
    let mut all = Vec::new();
    let compare = |column: &str, value: Expr| {
        let c = || col(column);
        let v = || value.clone();
        vec![
            c().eq(v()),
            c().not_eq(v()),
            c().lt(v()),
            c().lt_eq(v()),
            c().gt(v()),
            c().gt_eq(v()),
            v().lt(c()),
            Expr::Not(Box::new(c().eq(v()))),
            c().in_list(vec![v()], false),
            c().in_list(vec![v()], true),
            c().eq(v()).or(c().is_null()),
            c().lt(v()).and(col("id").gt(lit(5))),
            Expr::Not(Box::new(c().lt(v()).or(col("i").is_null()))),
        ]
    };
    for text in [
        "", " ", "a", "A", "a ", "ab", "Ab", "ä", "é", "\\", "'", "Z", "z", "a%b", "𝄞", "10", "zzz",
    ] {
        for column in ["t", "g", "y", "x", "v", "nm", "m", "c"] {
            all.extend(compare(column, lit(text)));
        }
    }
    for (text, column) in [
        ("ab  ", "c"),
        ("a   ", "c"),
        ("a%b ", "c"),
        ("ok", "m"),
        ("0cc175b9-c0f1-b6a8-31c3-99e269772661", "w"),
        ("nonsense", "w"),
    ] {
        all.extend(compare(column, lit(text)));
    }
    for pattern in [
        "",
        "%",
        "a%",
        "%b",
        "a_b",
        "%a%",
        "_",
        "__",
        "a\\%b",
        "a\\_b",
        "\\\\",
        "%\\\\%",
        "\\a",
        "a%b%",
        "ä%",
        "%\u{308}%",
        "a\\",
        "_b",
        "%\n%",
        "'%",
        "%'%",
    ] {
        for column in ["t", "g", "x", "nm", "c", "m"] {
            for negated in [false, true] {
                for insensitive in [false, true] {
                    all.push(Expr::Like(Like::new(
                        negated,
                        Box::new(col(column)),
                        Box::new(lit(pattern)),
                        None,
                        insensitive,
                    )));
                }
            }
        }
    }
    for value in [-7, 0, 1, 8] {
        all.extend(compare("i", lit(value)));
        all.extend(compare("b", lit(i64::from(value) * 3_000_000_000)));
        all.extend(compare("e", lit(i64::from(value))));
        all.extend(compare(
            "n",
            lit(ScalarValue::Decimal128(Some(i128::from(value) * 25), 10, 2)),
        ));
        all.extend(compare(
            "u",
            lit(ScalarValue::Decimal256(
                Some(arrow::datatypes::i256::from_i128(
                    i128::from(value) * 12_500_000_000_000_000_000,
                )),
                76,
                20,
            )),
        ));
        all.extend(compare("d", lit(ScalarValue::Date32(Some(value * 500)))));
        let micros = i64::from(value) * 3_600_000_000;
        all.extend(compare(
            "z",
            lit(ScalarValue::TimestampMicrosecond(
                Some(micros),
                Some("UTC".into()),
            )),
        ));
        all.extend(compare(
            "s",
            lit(ScalarValue::TimestampMicrosecond(Some(micros), None)),
        ));
        all.extend(compare(
            "q",
            lit(ScalarValue::Time64Microsecond(Some(60_000_000))),
        ));
    }
    for value in [0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        all.extend(compare("f", lit(value)));
        all.extend(compare("r", lit(value as f32)));
    }
    all.extend(compare("r", lit(0.1f32)));
    all.extend(compare("h", lit(ScalarValue::Binary(Some(b"a".to_vec())))));
    all.extend(compare("o", lit(true)));
    all.extend([
        col("o"),
        Expr::Not(Box::new(col("o"))),
        col("o").and(col("i").gt(lit(0))),
    ]);
    for column in ["i", "t", "x", "c", "k", "p", "a", "w", "m", "f"] {
        all.extend([col(column).is_null(), col(column).is_not_null()]);
    }
    for (left, right) in [
        ("t", "g"),
        ("g", "y"),
        ("x", "t"),
        ("v", "t"),
        ("nm", "t"),
        ("c", "t"),
        ("i", "id"),
        ("f", "f"),
        ("t", "w"),
    ] {
        all.extend([
            col(left).eq(col(right)),
            col(left).lt(col(right)),
            col(left).not_eq(col(right)),
        ]);
    }
    all.push(col("i").between(lit(-1), lit(1)));
    all.push(col("t").in_list(vec![lit("a"), lit("Z"), lit("it's")], true));
    all
}

async fn keep(batches: Vec<RecordBatch>, filters: Vec<Expr>) -> Vec<String> {
    let mut found = Vec::new();
    if batches.is_empty() {
        return found;
    }
    let mut frame = SessionContext::new().read_batches(batches).unwrap();
    for filter in filters {
        frame = frame.filter(filter).unwrap();
    }
    for batch in frame.collect().await.unwrap() {
        let options = FormatOptions::new().with_null("NULL");
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            found.push(
                columns
                    .iter()
                    .map(|c| c.value(row).to_string())
                    .collect::<Vec<_>>()
                    .join("|"),
            );
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn rows_are_the_same_with_pushdown_and_without() {
    let server = Server::start();
    server.sql(CORPUS).await;
    let catalog = server.catalog();
    let metadata = table(&catalog, "corpus").await;
    let everything = read_all(&catalog, &metadata).await.unwrap();
    let all: Vec<usize> = (0..metadata.columns.len()).collect();
    let (mut exactly, mut superset, mut not) = (0, 0, 0);
    for filter in filters() {
        let expected = keep(everything.clone(), vec![filter.clone()]).await;
        let pushed = catalog.pushdown().unwrap().apply_filter(
            &metadata,
            &metadata.handle,
            std::slice::from_ref(&filter),
        );
        let again = match &pushed.outcome[0] {
            Pushed::Exactly => {
                exactly += 1;
                vec![]
            }
            Pushed::Superset(_) => {
                superset += 1;
                vec![filter.clone()]
            }
            Pushed::No(_) => {
                not += 1;
                assert_eq!(pushed.handle, metadata.handle);
                continue;
            }
        };
        let sql = catalog.describe(&pushed.handle, &all, None).remote_sql;
        let batches = read(&catalog, &metadata, &pushed.handle, all.clone(), None)
            .await
            .unwrap_or_else(|e| panic!("{e:?}: {sql:?}"));
        let rows = keep(batches, again).await;
        assert_eq!(rows, expected, "{filter}: {:?}: {sql:?}", pushed.outcome[0]);
    }
    println!("{exactly} exactly, {superset} as a superset, {not} not");
    assert!(exactly > 1000 && superset > 10 && not > 500);
}
