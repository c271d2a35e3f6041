//! Row changes, definitions, ON CONFLICT, and what columns take: whole or not at all, and never another
//! value than the one that was given.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::{col, lit};
use sluice_spi::{
    ArithmeticOp, Assigned, ColumnDefault, ConflictValue, Connector, Expr, InsertTarget, Literal,
    NewColumn, NewView, OnConflict, Output, Result, ScalarExpr, ScalarValue, TableChange,
    TableHandle, TableMetadata, TruncateOptions, ValueType, WriteTarget,
};

use crate::mariadb::MariaDbServer;
use crate::support::{catalog, catalog_with, fails, lines, read_all, shared, table};

fn only(catalog: &Arc<dyn Connector>, table: &TableMetadata, filter: Expr) -> TableHandle {
    catalog
        .pushdown()
        .unwrap()
        .apply_filter(table, &table.handle, &[filter])
        .handle
}

fn constant(literal: Literal) -> Assigned {
    Assigned::Expr(ScalarExpr::Literal(literal))
}

fn text(value: &str) -> Assigned {
    constant(Literal::Text(value.into()))
}

fn of(column: &str) -> Assigned {
    Assigned::Expr(ScalarExpr::Column(column.into()))
}

#[tokio::test]
async fn rows_are_changed_where_they_are() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE changed (id int PRIMARY KEY, t varchar(9) DEFAULT 'none', n bigint, m bigint,
           y year, e enum('2', 'b')) CHARACTER SET utf8mb4;
         INSERT INTO changed VALUES (1, 'a', 1, 10, 2000, '2'), (2, 'A', 2, 20, 2000, 'b'), (3, 'b', NULL, 30, NULL, NULL)",
    );
    let catalog = catalog(&server);
    let changed = table(&catalog, "changed").await;
    let changes = catalog.writer().unwrap().row_changes().unwrap();
    let one = only(&catalog, &changed, col("t").eq(lit("a")));
    let plus = Assigned::Expr(ScalarExpr::Arithmetic {
        op: ArithmeticOp::Add,
        left: Box::new(ScalarExpr::Column("n".into())),
        right: Box::new(ScalarExpr::Literal(Literal::Int(5))),
        of: ValueType::Int64,
    });
    let set = |column: &str, value: Assigned| (column.to_owned(), value);
    let rows = changes
        .update(&one, &[set("t", text("it's\\")), set("n", plus.clone())])
        .await
        .unwrap();
    assert_eq!(rows, 1);
    assert_eq!(
        server.query("SELECT t, n FROM changed WHERE id = 1"),
        r"it's\\	6"
    );
    // Rows that are found count, changed or not.
    let rows = changes
        .update(&changed.handle, &[set("y", constant(Literal::Int(2000)))])
        .await
        .unwrap();
    assert_eq!(rows, 3);
    // A column's new value is never seen by another's.
    let rows = changes
        .update(
            &changed.handle,
            &[set("n", of("m")), set("m", Assigned::Null)],
        )
        .await
        .unwrap();
    assert_eq!(rows, 3);
    assert_eq!(
        server.query("SELECT group_concat(n ORDER BY id), count(m) FROM changed"),
        "10,20,30	0"
    );
    let swapped = changes
        .update(&changed.handle, &[set("n", of("m")), set("m", of("n"))])
        .await;
    assert_eq!(fails(swapped).code.code(), "0A000");
    let before = server.query("SELECT * FROM changed");
    for (column, value, code) in [
        ("y", constant(Literal::Int(70)), "22003"),
        ("e", text("1"), "22P02"),
        ("e", text("B"), "22P02"),
        ("t", text("far too long for it"), "22001"),
        ("id", constant(Literal::Int(7)), "23505"),
        ("e", of("t"), "0A000"),
    ] {
        let error = fails(changes.update(&changed.handle, &[set(column, value)]).await);
        assert_eq!(error.code.code(), code, "{column}: {error:?}");
        assert_eq!(server.query("SELECT * FROM changed"), before);
    }
    let rows = changes
        .update(
            &one_of(&catalog, &changed, 2),
            &[set("t", Assigned::Default), set("e", text("2"))],
        )
        .await
        .unwrap();
    assert_eq!(rows, 1);
    assert_eq!(
        server.query("SELECT t, e FROM changed WHERE id = 2"),
        "none	2"
    );
    assert_eq!(
        changes
            .delete(&one_of(&catalog, &changed, 2))
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        changes
            .delete(&one_of(&catalog, &changed, 2))
            .await
            .unwrap(),
        0
    );
    assert_eq!(server.query("SELECT group_concat(id) FROM changed"), "1,3");
}

fn one_of(catalog: &Arc<dyn Connector>, table: &TableMetadata, id: i32) -> TableHandle {
    only(catalog, table, col("id").eq(lit(id)))
}

#[tokio::test]
async fn tables_are_emptied_together() {
    let server = MariaDbServer::start();
    server.query(
        "CREATE TABLE e1 (id int AUTO_INCREMENT PRIMARY KEY); CREATE TABLE e2 (a int);
         CREATE TABLE e3 (a int) ENGINE = MyISAM; INSERT INTO e1 VALUES (NULL), (NULL);
         INSERT INTO e2 VALUES (1); INSERT INTO e3 VALUES (1)",
    );
    let catalog = catalog(&server);
    let changes = catalog.writer().unwrap().row_changes().unwrap();
    let names = |tables: &[&str]| -> Vec<(String, String)> {
        tables
            .iter()
            .map(|t| ("shop".to_owned(), (*t).to_owned()))
            .collect()
    };
    let plain = TruncateOptions::default();
    let error = fails(changes.truncate(&names(&["e2", "e3"]), plain).await);
    assert_eq!(error.code.code(), "0A000");
    assert_eq!(server.query("SELECT count(*) FROM e2"), "1");
    changes
        .truncate(&names(&["e1", "e2"]), plain)
        .await
        .unwrap();
    server.query("INSERT INTO e1 VALUES (NULL)");
    assert_eq!(
        server.query("SELECT id FROM e1 UNION ALL SELECT a FROM e2"),
        "3"
    );
    let restart = TruncateOptions {
        restart_identity: true,
        cascade: false,
    };
    changes.truncate(&names(&["e1"]), restart).await.unwrap();
    server.query("INSERT INTO e1 VALUES (NULL)");
    assert_eq!(server.query("SELECT id FROM e1"), "1");
    let cascade = TruncateOptions {
        restart_identity: false,
        cascade: true,
    };
    assert_eq!(
        fails(changes.truncate(&names(&["e1"]), cascade).await)
            .code
            .code(),
        "0A000"
    );
}

/// Inserts rows of `id` and `t`.
async fn upsert(
    catalog: &Arc<dyn Connector>,
    table: &str,
    rows: &[(i32, &str)],
    on_conflict: Option<OnConflict>,
) -> Result<u64> {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("t", DataType::Utf8, true),
    ]);
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, t)| *t)));
    let batch = RecordBatch::try_new(Arc::new(schema), vec![ids, texts]).unwrap();
    let target = InsertTarget {
        schema: "shop".into(),
        table: table.into(),
        columns: vec!["id".into(), "t".into()],
        on_conflict,
    };
    let mut sink = catalog
        .writer()
        .unwrap()
        .begin(WriteTarget::Insert(target))
        .await?;
    sink.write(batch).await?;
    sink.commit().await
}

#[tokio::test]
async fn conflicts_are_skipped_or_change_the_row() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE met (id int PRIMARY KEY, t varchar(9), n int DEFAULT 7) CHARACTER SET utf8mb4;
         CREATE OR REPLACE TABLE met_twice (id int PRIMARY KEY, t varchar(9) UNIQUE, n int) CHARACTER SET utf8mb4;
         INSERT INTO met VALUES (1, 'one', 1), (2, 'two', 2); INSERT INTO met_twice VALUES (1, 'one', 1)",
    );
    let catalog = catalog(&server);
    let skip = |key: &[&str]| {
        Some(OnConflict {
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            assignments: Vec::new(),
        })
    };
    let all = "SELECT group_concat(id, t, n ORDER BY id) FROM met";
    for key in [&[][..], &["id"]] {
        let count = upsert(
            &catalog,
            "met",
            &[(2, "x"), (3, "three"), (1, "y")],
            skip(key),
        )
        .await;
        assert_eq!(count.unwrap(), if key.is_empty() { 1 } else { 0 });
        assert_eq!(server.query(all), "1one1,2two2,3three7");
    }
    let change = Some(OnConflict {
        key: vec!["id".into()],
        assignments: vec![
            ("t".into(), ConflictValue::Excluded("t".into())),
            ("n".into(), ConflictValue::Default),
        ],
    });
    let count = upsert(&catalog, "met", &[(2, "it's"), (4, "four")], change.clone()).await;
    assert_eq!(count.unwrap(), 2);
    assert_eq!(server.query(all), "1one1,2it's7,3three7,4four7");
    let error = fails(upsert(&catalog, "met", &[(5, "a"), (5, "b")], change.clone()).await);
    assert_eq!(error.code.code(), "21000", "{error:?}");
    let error = fails(upsert(&catalog, "met", &[(1, "again")], None).await);
    assert_eq!(error.code.code(), "23505");
    let error = fails(upsert(&catalog, "met", &[(1, "x")], skip(&["t"])).await);
    assert_eq!(error.code.code(), "42P10");
    // MySQL would take a conflict of the other key for it.
    let error = fails(upsert(&catalog, "met_twice", &[(9, "one")], change).await);
    assert_eq!(error.code.code(), "0A000");
    let count = upsert(&catalog, "met_twice", &[(9, "one"), (2, "two")], skip(&[])).await;
    assert_eq!(count.unwrap(), 1);
    assert_eq!(server.query(all), "1one1,2it's7,3three7,4four7");
    // What the server computes may not be assigned, not even to itself.
    server.query(
        "CREATE OR REPLACE TABLE met_computed (g int AS (id * 2) STORED, id int PRIMARY KEY, t varchar(9))
         CHARACTER SET utf8mb4;
         INSERT INTO met_computed (id, t) VALUES (1, 'one')",
    );
    let rows = [(1, "x"), (2, "two")];
    let count = upsert(&catalog, "met_computed", &rows, skip(&[])).await;
    assert_eq!(count.unwrap(), 1);
    assert_eq!(
        server.query("SELECT group_concat(g, id, t ORDER BY id) FROM met_computed"),
        "21one,42two"
    );
}

/// Whole numbers are refused by the column where the engine would refuse them by their type.
#[tokio::test]
async fn numbers_grow_where_they_are() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE grown (id int PRIMARY KEY, s smallint, i int, u int unsigned, b bigint,
           bu bigint unsigned, y year)",
    );
    let catalog = catalog(&server);
    let grown = table(&catalog, "grown").await;
    let offer = |target: &str, name: &str, of: ValueType| {
        let value = Output {
            expr: ScalarExpr::Arithmetic {
                op: ArithmeticOp::Add,
                left: Box::new(ScalarExpr::Column(name.into())),
                right: Box::new(ScalarExpr::Literal(Literal::Int(1))),
                of,
            },
            field: Arc::new(Field::new("value", of.data_type(), true)),
        };
        let pushdown = catalog.pushdown().unwrap();
        pushdown.apply_assignment(&grown.handle, target, &value)
    };
    let digits = ValueType::Decimal {
        precision: 21,
        scale: 0,
    };
    for (target, name, of) in [
        ("i", "i", ValueType::Int32),
        ("s", "i", ValueType::Int32),
        ("u", "u", ValueType::Int64),
        ("bu", "bu", digits),
        ("b", "b", ValueType::Int64),
    ] {
        assert!(offer(target, name, of).is_ok(), "{target} = {name} + 1");
    }
    for (target, name, of) in [
        // 2147483648 is a bigint there, and an error here.
        ("b", "i", ValueType::Int32),
        // -1 is an error there, and an integer here.
        ("i", "u", ValueType::Int64),
        ("y", "i", ValueType::Int32),
    ] {
        assert!(offer(target, name, of).is_err(), "{target} = {name} + 1");
    }
}

#[tokio::test]
async fn columns_take_what_they_give_back() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE takes (y year, e enum('2', 'b'), s set('a', 'b'), b bit(4), t char(4), at datetime)
           CHARACTER SET utf8mb4",
    );
    let catalog = catalog(&server);
    let insert = async |column: &str, array: ArrayRef| -> Result<u64> {
        let field = Field::new(column, array.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
        let target = InsertTarget {
            schema: "shop".into(),
            table: "takes".into(),
            columns: vec![column.into()],
            on_conflict: None,
        };
        let writer = catalog.writer().unwrap();
        let mut sink = writer.begin(WriteTarget::Insert(target)).await?;
        sink.write(batch).await?;
        sink.commit().await
    };
    let words = |word: &str| -> ArrayRef { Arc::new(StringArray::from(vec![word])) };
    let number = |number: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![number])) };
    for (column, array, code) in [
        ("y", number(70), "22003"),
        ("y", number(2156), "22003"),
        ("e", words("1"), "22P02"),
        ("e", words("B"), "22P02"),
        ("s", words("3"), "22P02"),
        ("s", words("b,a"), "22P02"),
        ("b", words("1"), "22P02"),
        ("no_such_column", words("1"), "42703"),
    ] {
        let error = fails(insert(column, array).await);
        assert_eq!(error.code.code(), code, "{column}: {error:?}");
    }
    for (column, array) in [
        ("y", number(1999)),
        ("e", words("2")),
        ("s", words("a,b")),
        ("b", words("0110")),
        ("t", words("ab")),
    ] {
        assert_eq!(insert(column, array).await.unwrap(), 1, "{column}");
    }
    // PostgreSQL rounds for such a type, servers differ.
    let late = arrow::array::TimestampMicrosecondArray::from(vec![1_700_000_000_500_000]);
    assert_eq!(insert("at", Arc::new(late)).await.unwrap(), 1);
    let takes = table(&catalog, "takes").await;
    assert_eq!(
        lines(&read_all(&catalog, &takes).await.unwrap()),
        [
            "1999|NULL|NULL|NULL|NULL|NULL",
            "NULL|2|NULL|NULL|NULL|NULL",
            "NULL|NULL|NULL|0110|NULL|NULL",
            "NULL|NULL|NULL|NULL|NULL|2023-11-14T22:13:21",
            "NULL|NULL|NULL|NULL|ab|NULL",
            "NULL|NULL|a,b|NULL|NULL|NULL",
        ]
    );
}

#[tokio::test]
async fn definitions_change_at_once() {
    let server = MariaDbServer::start();
    server.query("CREATE TABLE defined (a int, b int NOT NULL, c text) CHARACTER SET utf8mb4");
    let catalog = catalog(&server);
    let definitions = catalog.writer().unwrap().definitions().unwrap();
    let seven = ColumnDefault::Constant(ScalarValue::Int32(Some(7)));
    let add = |name: &str, if_not_exists| TableChange::AddColumn {
        column: NewColumn {
            field: Arc::new(Field::new(name, DataType::Int32, false)),
            default: Some(seven.clone()),
        },
        if_not_exists,
    };
    let drop = |name: &str, if_exists| TableChange::DropColumn {
        column: name.into(),
        if_exists,
        cascade: false,
    };
    let columns = || {
        server.query(
            "SELECT group_concat(COLUMN_NAME, ifnull(COLUMN_DEFAULT, '-') ORDER BY ORDINAL_POSITION)
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'shop'",
        )
    };
    let changes = [
        add("d", false),
        add("a", true),
        drop("c", false),
        drop("z", true),
        TableChange::RenameColumn {
            from: "a".into(),
            to: "A``1".into(),
        },
        TableChange::SetDefault {
            column: "b".into(),
            default: Some(seven.clone()),
        },
    ];
    // `a` is named twice: by the column that is there already, and by the new name.
    let error = fails(definitions.alter_table("shop", "defined", &changes).await);
    assert_eq!(error.code.code(), "0A000");
    assert_eq!(columns(), "aNULL,b-,cNULL");
    let [first, _, rest @ ..] = changes;
    let changes: Vec<TableChange> = [first].into_iter().chain(rest).collect();
    assert!(
        definitions
            .alter_table("shop", "defined", &changes)
            .await
            .unwrap()
    );
    assert_eq!(columns(), "A``1NULL,b7,d7");
    // All or nothing.
    let error = fails(
        definitions
            .alter_table("shop", "defined", &[add("e", false), drop("z", false)])
            .await,
    );
    assert_eq!(error.code.code(), "42703");
    assert_eq!(columns(), "A``1NULL,b7,d7");
    let no_default = TableChange::SetDefault {
        column: "b".into(),
        default: None,
    };
    let rename = TableChange::RenameTable {
        to: "renamed".into(),
    };
    assert!(
        definitions
            .alter_table("shop", "defined", &[no_default, rename])
            .await
            .unwrap()
    );
    assert!(
        !definitions
            .alter_table("shop", "defined", &[drop("d", false)])
            .await
            .unwrap()
    );
    assert_eq!(columns(), "A``1NULL,b-,d7");
    let not_null = TableChange::SetNullable {
        column: "b".into(),
        nullable: true,
    };
    let error = fails(
        definitions
            .alter_table("shop", "renamed", &[not_null])
            .await,
    );
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("0A000", Some("shop"))
    );

    server.query("INSERT INTO renamed VALUES (1, 1, 1), (2, 2, 2)");
    let renamed = table(&catalog, "renamed").await;
    let some = only(&catalog, &renamed, col("d").gt(lit(1)));
    let names = ["x".to_owned(), "y".to_owned()];
    let view = |replace| NewView {
        schema: "shop",
        view: "seen",
        query: &some,
        projection: &[2, 1],
        names: &names,
        replace,
    };
    definitions.create_view(view(false)).await.unwrap();
    definitions.create_view(view(true)).await.unwrap();
    assert_eq!(
        fails(definitions.create_view(view(false)).await)
            .code
            .code(),
        "42P07"
    );
    assert_eq!(server.query("SELECT x, y FROM seen"), "2	2");
    assert_eq!(
        fails(definitions.drop_view("shop", "renamed", false).await)
            .code
            .code(),
        "42809"
    );
    assert!(definitions.drop_view("shop", "seen", false).await.unwrap());
    assert!(!definitions.drop_view("shop", "seen", false).await.unwrap());
}

#[tokio::test]
async fn native_statements_run_where_the_catalog_allows_it() {
    let server = shared();
    assert!(catalog(&server).writer().unwrap().native().is_none());
    // One connection is enough for any statement that reads nothing there.
    let keys = "allow_execute = true\nmax_connections = 1";
    let catalog = catalog_with(&server, keys);
    let native = catalog.writer().unwrap().native().unwrap();
    native
        .execute("CREATE OR REPLACE TABLE executed (id int PRIMARY KEY, t text)")
        .await
        .unwrap();
    let error = fails(
        native
            .execute("DELETE FROM executed; DROP TABLE executed")
            .await,
    );
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("42601", Some("shop"))
    );
    native
        .execute("INSERT INTO executed VALUES (1, 'a')")
        .await
        .unwrap();
    let key = OnConflict {
        key: vec!["id".into()],
        assignments: vec![("t".into(), ConflictValue::Excluded("t".into()))],
    };
    let count = upsert(&catalog, "executed", &[(1, "b"), (2, "c")], Some(key)).await;
    assert_eq!(count.unwrap(), 2);
    let executed = table(&catalog, "executed").await;
    assert_eq!(
        lines(&read_all(&catalog, &executed).await.unwrap()),
        ["1|b", "2|c"]
    );
}
