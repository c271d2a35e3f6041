//! The trap table's lines on groups, order, arithmetic and types, each a test on a real server. What is taken
//! must give just the rows that the engine would compute; the rest is refused.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::functions::expr_fn::{concat, greatest, log, substr, upper};
use datafusion::prelude::{col, lit};
use sluice_spi::{
    AggregateFunction, CompareOp, Connector, Expr, JoinKind, Operation, Pushed, ScalarExpr,
    ScalarValue, SortKey, TableMetadata,
};

use crate::mariadb::MariaDbServer;
use crate::operations::{apply, call, column, output, rows_of};
use crate::support::{catalog, filtered, lines, read_all, shared, table};

fn is_refused(catalog: &Arc<dyn Connector>, table: &TableMetadata, filter: &Expr) -> bool {
    let filter = std::slice::from_ref(filter);
    let answer = catalog
        .pushdown()
        .unwrap()
        .apply_filter(table, &table.handle, filter);
    matches!(answer.outcome[0], Pushed::No(_))
}

#[tokio::test]
async fn text_is_not_grouped_sorted_or_joined_by_a_collation() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE folded (
           ci varchar(9) COLLATE utf8mb4_general_ci, padded varchar(9) COLLATE utf8mb4_bin,
           exact varchar(9) COLLATE utf8mb4_nopad_bin) CHARACTER SET utf8mb4;
         INSERT INTO folded VALUES ('a', 'a', 'a'), ('A', 'a ', 'a '), ('ä', 'A', 'A'), ('a', 'a', 'a')",
    );
    let catalog = catalog(&server);
    let folded = table(&catalog, "folded").await;
    let taken = |operation: Operation<'_>| apply(&catalog, &folded.handle, &operation).is_ok();
    for name in ["ci", "padded"] {
        let groups = [output(name, "g", DataType::Utf8View)];
        let renamed = Operation::Project { outputs: &groups };
        let renamed = apply(&catalog, &folded.handle, &renamed).unwrap();
        assert!(
            apply(&catalog, &renamed, &Operation::Distinct).is_err(),
            "{name}"
        );
        assert!(!taken(Operation::Aggregate {
            groups: &groups,
            calls: &[]
        }));
        let distinct = call(AggregateFunction::Count, Some(name), true, DataType::Int64);
        let min = call(
            AggregateFunction::Min,
            Some(name),
            false,
            DataType::Utf8View,
        );
        let max = call(
            AggregateFunction::Max,
            Some(name),
            false,
            DataType::Utf8View,
        );
        for call in [distinct, min, max] {
            assert!(!taken(Operation::Aggregate {
                groups: &[],
                calls: &[call]
            }));
        }
        let keys = [SortKey {
            expr: column(name),
            descending: false,
            nulls_first: false,
        }];
        assert!(!taken(Operation::TopN {
            keys: &keys,
            skip: 0,
            fetch: 1
        }));
        let on = [ScalarExpr::Compare {
            op: CompareOp::Eq,
            left: Box::new(column(name)),
            right: Box::new(column("g")),
        }];
        for kind in [
            JoinKind::Inner,
            JoinKind::Left,
            JoinKind::Semi,
            JoinKind::Anti,
        ] {
            let join = Operation::Join {
                right: &renamed,
                kind,
                on: &on,
            };
            assert!(!taken(join), "{name} {kind}");
        }
    }
    let groups = [output("exact", "g", DataType::Utf8View)];
    let calls = [call(AggregateFunction::Count, None, false, DataType::Int64)];
    let aggregate = Operation::Aggregate {
        groups: &groups,
        calls: &calls,
    };
    let grouped = apply(&catalog, &folded.handle, &aggregate).unwrap();
    let fields = vec![groups[0].field.clone(), calls[0].field.clone()];
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    assert_eq!(
        rows_of(&catalog, &grouped, schema).await,
        ["A|1", "a |1", "a|2"]
    );
}

#[tokio::test]
async fn keys_of_a_join_find_their_own_text_only() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE join_keys (t varchar(9) COLLATE utf8mb4_general_ci, KEY (t)) CHARACTER SET utf8mb4;
         INSERT INTO join_keys VALUES ('a'), ('A'), ('a '), ('ä'), ('b'), (NULL)",
    );
    let catalog = catalog(&server);
    assert!(catalog.run_time_keys().is_some());
    let keyed = table(&catalog, "join_keys").await;
    let list = col("t").in_list(vec![lit("a"), lit("b")], false);
    let (pushed, found) = filtered(&catalog, &keyed, list).await;
    assert_eq!(
        (pushed, found),
        (Pushed::Exactly, vec!["a".into(), "b".into()])
    );
    let range = col("t").gt_eq(lit("A")).and(col("t").lt_eq(lit("a")));
    let (pushed, found) = filtered(&catalog, &keyed, range).await;
    assert_eq!(
        (pushed, found),
        (Pushed::Exactly, vec!["A".into(), "a".into()])
    );
}

#[tokio::test]
async fn char_n_has_no_trailing_blanks() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE padded (c char(5)) CHARACTER SET utf8mb4;
         INSERT INTO padded VALUES ('ab'), ('ab   '), ('AB'), ('abc')",
    );
    let catalog = catalog(&server);
    let padded = table(&catalog, "padded").await;
    for (constant, count) in [("ab", 2), ("ab ", 0), ("ab   ", 0), ("AB", 1)] {
        let (pushed, found) = filtered(&catalog, &padded, col("c").eq(lit(constant))).await;
        assert_eq!(
            (pushed, found.len()),
            (Pushed::Exactly, count),
            "'{constant}'"
        );
    }
    let (pushed, found) = filtered(&catalog, &padded, col("c").like(lit("ab "))).await;
    assert_eq!((pushed, found.len()), (Pushed::Exactly, 0));
}

#[tokio::test]
async fn nulls_are_sorted_where_the_engine_wants_them() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE ordered (n int); INSERT INTO ordered VALUES (1), (NULL), (3), (2)",
    );
    let catalog = catalog(&server);
    let ordered = table(&catalog, "ordered").await;
    for (descending, nulls_first, expected) in [
        (false, false, ["1", "2"]),
        (false, true, ["1", "NULL"]),
        (true, false, ["2", "3"]),
        (true, true, ["3", "NULL"]),
    ] {
        let keys = [SortKey {
            expr: column("n"),
            descending,
            nulls_first,
        }];
        let top = Operation::TopN {
            keys: &keys,
            skip: 0,
            fetch: 2,
        };
        let top = apply(&catalog, &ordered.handle, &top).unwrap();
        let found = rows_of(&catalog, &top, ordered.arrow_schema()).await;
        assert_eq!(
            found, expected,
            "descending: {descending}, first: {nulls_first}"
        );
    }
}

#[tokio::test]
async fn sums_are_exact_and_of_the_engines_type() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE sums (i int, b bigint, u bigint unsigned, m decimal(10,2), w decimal(60,2), d double);
         INSERT INTO sums VALUES
           (2147483647, 9223372036854775807, 18446744073709551615, 99999999.99, 1, 0.1),
           (2147483647, 9223372036854775807, 18446744073709551615, 0.01, 2, 0.2)",
    );
    let catalog = catalog(&server);
    let sums = table(&catalog, "sums").await;
    let whole = DataType::Decimal128(38, 0);
    let calls = [
        call(AggregateFunction::Sum, Some("i"), false, DataType::Int64),
        call(AggregateFunction::Sum, Some("b"), false, whole.clone()),
        call(AggregateFunction::Sum, Some("u"), false, whole.clone()),
        call(
            AggregateFunction::Sum,
            Some("m"),
            false,
            DataType::Decimal128(32, 2),
        ),
    ];
    let aggregate = Operation::Aggregate {
        groups: &[],
        calls: &calls,
    };
    let added = apply(&catalog, &sums.handle, &aggregate).unwrap();
    let fields: Vec<_> = calls.iter().map(|call| call.field.clone()).collect();
    assert_eq!(
        rows_of(&catalog, &added, Arc::new(Schema::new(fields))).await,
        ["4294967294|18446744073709551614|36893488147419103230|100000000.00"]
    );
    for (name, result) in [
        // Its sum may wrap there, or have more digits than the source's decimals.
        ("b", DataType::Int64),
        ("w", DataType::Decimal256(76, 2)),
        // The order of addition decides about the last digits.
        ("d", DataType::Float64),
    ] {
        let calls = [call(AggregateFunction::Sum, Some(name), false, result)];
        let aggregate = Operation::Aggregate {
            groups: &[],
            calls: &calls,
        };
        assert!(apply(&catalog, &sums.handle, &aggregate).is_err(), "{name}");
    }
}

#[tokio::test]
async fn division_and_overflow_are_the_engines() {
    let server = shared();
    server.query("CREATE OR REPLACE TABLE divided (i int, m decimal(10,2)); INSERT INTO divided VALUES (1, 1)");
    let catalog = catalog(&server);
    let divided = table(&catalog, "divided").await;
    for filter in [
        (col("i") / lit(2)).eq(lit(0)),
        (col("i") / lit(0)).is_null(),
        (col("i") % lit(2)).eq(lit(1)),
        (col("i") + lit(i32::MAX)).gt(lit(0)),
    ] {
        assert!(is_refused(&catalog, &divided, &filter), "{filter}");
    }
}

#[tokio::test]
async fn both_zeros_of_a_double_come_back() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE zeros (d double); INSERT INTO zeros VALUES (0e0), (-0e0), (1), (-1), (NULL)",
    );
    let catalog = catalog(&server);
    let zeros = table(&catalog, "zeros").await;
    // MariaDB stores -0 as 0; MySQL keeps it, and it is below 0 to the engine.
    for (filter, found) in [
        (col("d").eq(lit(0.0)), vec!["0.0", "0.0"]),
        (col("d").lt(lit(0.0)), vec!["-1.0", "0.0", "0.0"]),
        (col("d").gt(lit(-0.0)), vec!["0.0", "0.0", "1.0"]),
    ] {
        let (pushed, all) = filtered(&catalog, &zeros, filter.clone()).await;
        assert!(matches!(pushed, Pushed::Superset(_)), "{filter}");
        assert_eq!(all, found, "{filter}");
    }
    for filter in [col("d").not_eq(lit(0.0)), col("d").eq(lit(f64::NAN))] {
        assert!(is_refused(&catalog, &zeros, &filter), "{filter}");
    }
    let groups = [output("d", "g", DataType::Float64)];
    let grouped = Operation::Aggregate {
        groups: &groups,
        calls: &[],
    };
    assert!(apply(&catalog, &zeros.handle, &grouped).is_err());
}

#[tokio::test]
async fn long_decimals_are_not_rounded() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE digits (m decimal(65,2), KEY (m));
         INSERT INTO digits VALUES (999999999999999999999999999999999999.99), (1000000000000000000000000000000000000)",
    );
    let catalog = catalog(&server);
    let digits = table(&catalog, "digits").await;
    let most = 10_i128.pow(38) - 1;
    let constant = |unscaled, scale| lit(ScalarValue::Decimal128(Some(unscaled), 38, scale));
    let (pushed, found) = filtered(&catalog, &digits, col("m").eq(constant(most, 2))).await;
    assert_eq!(
        (pushed, found),
        (
            Pushed::Exactly,
            vec!["999999999999999999999999999999999999.99".into()]
        )
    );
    // A bound of an index would be rounded.
    assert!(is_refused(&catalog, &digits, &col("m").lt(constant(1, 3))));
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_do_not_depend_on_the_servers_time_zone() {
    let server = MariaDbServer::start_with(&["default-time-zone=+05:30"]);
    server.query(
        "SET SESSION time_zone = '+00:00';
         CREATE TABLE moments (ts timestamp(6) NULL, dt datetime(6), KEY (ts));
         INSERT INTO moments VALUES ('2024-03-31 01:30:00.000001', '2024-03-31 01:30:00.000001'), ('1970-01-01 00:00:01', '1001-01-01')",
    );
    let catalog = catalog(&server);
    let moments = table(&catalog, "moments").await;
    let read = lines(&read_all(&catalog, &moments).await.unwrap());
    assert_eq!(
        read,
        [
            "1970-01-01T00:00:01Z|1001-01-01T00:00:00",
            "2024-03-31T01:30:00.000001Z|2024-03-31T01:30:00.000001"
        ]
    );
    let micros = 1_711_848_600_000_001;
    let moment = lit(ScalarValue::TimestampMicrosecond(
        Some(micros),
        Some("UTC".into()),
    ));
    let (pushed, found) = filtered(&catalog, &moments, col("ts").eq(moment)).await;
    assert_eq!((pushed, found.len()), (Pushed::Exactly, 1));
    let clock = lit(ScalarValue::TimestampMicrosecond(Some(micros), None));
    let (pushed, found) = filtered(&catalog, &moments, col("dt").gt_eq(clock)).await;
    assert_eq!((pushed, found.len()), (Pushed::Exactly, 1));
    // Beyond what a timestamp holds, the server would convert the constant.
    let early = lit(ScalarValue::TimestampMicrosecond(
        Some(-1),
        Some("UTC".into()),
    ));
    assert!(is_refused(&catalog, &moments, &col("ts").gt(early)));
}

#[tokio::test]
async fn json_bits_times_and_uuids_are_compared_by_the_engine() {
    let server = shared();
    server.query("CREATE OR REPLACE TABLE odd_kinds (j json, b bit(3), u uuid, e enum('b', 'a'), g geometry, t time)");
    let catalog = catalog(&server);
    let odd = table(&catalog, "odd_kinds").await;
    for name in ["j", "b", "u"] {
        for filter in [col(name).eq(lit("1")), col(name).lt(lit("1"))] {
            assert!(is_refused(&catalog, &odd, &filter), "{filter}");
        }
    }
    for (name, data_type) in [
        ("j", DataType::Utf8View),
        ("b", DataType::Utf8View),
        ("u", DataType::Utf8View),
        // By its labels' positions.
        ("e", DataType::Utf8View),
        ("g", DataType::Binary),
    ] {
        let groups = [output(name, "g", data_type.clone())];
        let grouped = Operation::Aggregate {
            groups: &groups,
            calls: &[],
        };
        assert!(apply(&catalog, &odd.handle, &grouped).is_err(), "{name}");
        let calls = [call(AggregateFunction::Max, Some(name), false, data_type)];
        let greatest = Operation::Aggregate {
            groups: &[],
            calls: &calls,
        };
        assert!(apply(&catalog, &odd.handle, &greatest).is_err(), "{name}");
    }
}

#[tokio::test]
async fn functions_are_computed_by_the_engine() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE called (t varchar(9), n int, d double) CHARACTER SET utf8mb4",
    );
    let catalog = catalog(&server);
    let called = table(&catalog, "called").await;
    for filter in [
        upper(col("t")).eq(lit("A")),
        concat(vec![col("t"), lit("x")]).eq(lit("x")),
        substr(col("t"), lit(0)).eq(lit("x")),
        log(lit(2.0), col("d")).gt(lit(1.0)),
        greatest(vec![col("n"), lit(1)]).eq(lit(1)),
    ] {
        assert!(is_refused(&catalog, &called, &filter), "{filter}");
    }
}

#[tokio::test]
async fn not_in_leaves_out_nulls() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE some_nulls (n int, t varchar(9)) CHARACTER SET utf8mb4;
         INSERT INTO some_nulls VALUES (1, 'a'), (2, 'A'), (NULL, NULL)",
    );
    let catalog = catalog(&server);
    let nulls = table(&catalog, "some_nulls").await;
    let (pushed, found) = filtered(&catalog, &nulls, col("n").in_list(vec![lit(1)], true)).await;
    assert_eq!((pushed, found), (Pushed::Exactly, vec!["2".into()]));
    let (pushed, found) = filtered(&catalog, &nulls, col("t").in_list(vec![lit("a")], true)).await;
    assert_eq!((pushed, found), (Pushed::Exactly, vec!["2".into()]));
    let with_null = col("n").in_list(vec![lit(1), lit(ScalarValue::Int32(None))], true);
    assert!(is_refused(&catalog, &nulls, &with_null));
}
