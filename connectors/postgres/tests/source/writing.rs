//! Writing, compared with what the same statements do on the server itself.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use sluice_spi::{
    Assigned, ColumnDefault, ConflictValue, Connector, InsertTarget, Literal, NewColumn, NewTable,
    NewView, OnConflict, Result, ScalarExpr, ScalarValue, TableChange, TruncateOptions,
    WriteTarget, types::tagged,
};

use crate::support::{Server, read_all, table};
use crate::types::{CASES, SETUP};

fn into(table: &str, columns: &[&str]) -> InsertTarget {
    InsertTarget {
        schema: "public".into(),
        table: table.into(),
        columns: columns.iter().map(|&c| c.to_owned()).collect(),
        on_conflict: None,
    }
}

async fn write(
    catalog: &Arc<dyn Connector>,
    target: WriteTarget,
    batches: Vec<RecordBatch>,
) -> Result<u64> {
    let mut sink = catalog.writer().unwrap().begin(target).await?;
    for batch in batches {
        sink.write(batch).await?;
    }
    sink.finish().await?;
    sink.commit().await
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn ints(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

/// One text that a query gives.
async fn ask(server: &Server, sql: &str) -> String {
    let row = server.client().await.query_one(sql, &[]).await;
    row.unwrap_or_else(|e| panic!("{e:?}: {sql}"))
        .get::<_, Option<String>>(0)
        .unwrap_or_else(|| "NULL".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_written_as_it_was_read() {
    let server = Server::start();
    server.sql(SETUP).await;
    let catalog = server.catalog();
    for case in CASES {
        let (kind, values, expr) = (case.0, case.1, case.2);
        let setup = format!(
            "DROP TABLE IF EXISTS a, b; CREATE TABLE a (c {kind}); INSERT INTO a VALUES ({}); \
             CREATE TABLE b (c {kind});",
            values.join("), (")
        );
        server.sql(&setup).await;
        // A domain may refuse it.
        let null = "INSERT INTO a VALUES (NULL)";
        let _ = server.client().await.batch_execute(null).await;
        let source = table(&catalog, "a").await;
        let rows = read_all(&catalog, &source)
            .await
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        let target = WriteTarget::Insert(into("b", &["c"]));
        write(&catalog, target, rows)
            .await
            .unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        let list = |table: &str| {
            format!(
                "SELECT coalesce(string_agg(coalesce(({expr})::text, 'NULL'), ',' ORDER BY ({expr})::text COLLATE \"C\"), '') FROM {table}"
            )
        };
        assert_eq!(
            ask(&server, &list("a")).await,
            ask(&server, &list("b")).await,
            "{kind}"
        );
    }
}

/// What the engine's types cannot hold goes through it as text, and comes back as it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_as_text_is_written_as_it_was() {
    let server = Server::start();
    server
        .sql(
            "CREATE TABLE a (n numeric, i int[], d date, t timestamptz);
             INSERT INTO a VALUES
               ('NaN', '[2:3]={1,NULL}', 'infinity', '-infinity'), ('-Infinity', '{{1,2},{3,4}}', '0044-03-15 BC', '4713-01-01 BC'),
               (repeat('12345', 200)::numeric + 0.0000000000000000000000000000010, '{}', '-infinity', 'infinity'),
               (1.500, '{7}', '5874897-12-31', '294246-12-31 23:59:59.999999+00'), (NULL, NULL, NULL, NULL);
             CREATE TABLE b (LIKE a)",
        )
        .await;
    let catalog = server.catalog_with("numeric = \"text\"\narrays = \"text\"\ninfinity = \"keep\"");
    let source = table(&catalog, "a").await;
    let rows = read_all(&catalog, &source).await.unwrap();
    let target = WriteTarget::Insert(into("b", &["n", "i", "d", "t"]));
    assert_eq!(write(&catalog, target, rows.clone()).await.unwrap(), 5);
    let missing = "SELECT count(*)::text FROM (SELECT n::text, i, d, t FROM a EXCEPT SELECT n::text, i, d, t FROM b) x";
    assert_eq!(ask(&server, missing).await, "0");
    // Binary, without the arrays.
    server.sql("TRUNCATE b").await;
    let without = rows
        .iter()
        .map(|rows| rows.project(&[0, 2, 3]).unwrap())
        .collect();
    let target = WriteTarget::Insert(into("b", &["n", "d", "t"]));
    assert_eq!(write(&catalog, target, without).await.unwrap(), 5);
    let missing = "SELECT count(*)::text FROM (SELECT n::text, d, t FROM a EXCEPT SELECT n::text, d, t FROM b) x";
    assert_eq!(ask(&server, missing).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_are_written_as_they_were_read() {
    let server = Server::start();
    server
        .sql(
            "CREATE TYPE mood AS ENUM ('ok', 'sad');
             CREATE TABLE a (i int[], t text[], n numeric(10,2)[], u uuid[], m mood[], d date[], e float8[], g int[][], p point[]);
             INSERT INTO a VALUES
               ('{1,NULL,-3}', '{\"a,b\",NULL,\"NULL\",\"\",\"q\\\"\\\\\"}', '{1.50,NULL}',
                '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{sad,ok}', '{1999-01-01}', '{NaN,-0,1e300}', '{{1,2},{NULL,4}}', '{\"(1,2)\"}'),
               ('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
               (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
             CREATE TABLE b (LIKE a);
             CREATE TABLE c AS SELECT i, t, n, u, m, d, e, g FROM a WITH NO DATA",
        )
        .await;
    let catalog = server.catalog();
    let source = table(&catalog, "a").await;
    let rows = read_all(&catalog, &source).await.unwrap();
    let names: Vec<&str> = source
        .columns
        .iter()
        .map(|c| c.field.name().as_str())
        .collect();
    // As text, for the points, and binary without them.
    let first = names.len() - 1;
    write(
        &catalog,
        WriteTarget::Insert(into("b", &names)),
        rows.clone(),
    )
    .await
    .unwrap();
    let without = rows
        .iter()
        .map(|rows| rows.project(&(0..first).collect::<Vec<_>>()).unwrap());
    write(
        &catalog,
        WriteTarget::Insert(into("c", &names[..first])),
        without.collect(),
    )
    .await
    .unwrap();
    let list = |table: &str, columns: &str| {
        format!(
            "SELECT string_agg(x::text, ';' ORDER BY x::text) FROM (SELECT {columns} FROM {table}) x"
        )
    };
    let all = "i, t, n, u, m, d, e, g, p";
    assert_eq!(
        ask(&server, &list("a", all)).await,
        ask(&server, &list("b", all)).await
    );
    let some = "i, t, n, u, m, d, e, g";
    assert_eq!(
        ask(&server, &list("a", some)).await,
        ask(&server, &list("c", some)).await
    );
}

const STRICT: &str = "
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE TABLE other (id int PRIMARY KEY);
CREATE TABLE strict (
    id int PRIMARY KEY, short varchar(3), small smallint, n numeric(4,2), p positive, m mood,
    o int REFERENCES other, must int NOT NULL DEFAULT 0, always int GENERATED ALWAYS AS IDENTITY,
    twice int GENERATED ALWAYS AS (id * 2) STORED, j jsonb, u uuid, d date, CHECK (id < 100)
);
INSERT INTO strict (id) VALUES (1);";

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_the_servers_own_error() {
    let server = Server::start();
    server.sql(STRICT).await;
    let catalog = server.catalog();
    let cases: Vec<(&str, &str, ArrayRef)> = vec![
        ("id", "1", ints(&[Some(1)])),
        ("id", "100", ints(&[Some(100)])),
        ("id", "NULL", ints(&[None])),
        ("short", "'abcd'", texts(&[Some("abcd")])),
        ("p", "-1", ints(&[Some(-1)])),
        ("m", "'none'", texts(&[Some("none")])),
        ("o", "7", ints(&[Some(7)])),
        ("must", "NULL", ints(&[None])),
        ("always", "5", ints(&[Some(5)])),
        ("twice", "5", ints(&[Some(5)])),
        ("j", "'{'", texts(&[Some("{")])),
        ("u", "'xyz'", texts(&[Some("xyz")])),
        ("small", "100000", ints(&[Some(100_000)])),
        ("gone", "1", ints(&[Some(1)])),
    ];
    for (column, literal, values) in cases {
        let (columns, native_columns, rows) = if column == "id" {
            (vec!["id"], "id".to_owned(), vec![("id", values)])
        } else {
            let columns = vec!["id", column];
            let rows = vec![("id", ints(&[Some(50)])), (column, values)];
            (columns, format!("id, {column}"), rows)
        };
        let literal = if column == "id" {
            literal.to_owned()
        } else {
            format!("50, {literal}")
        };
        let native = server
            .client()
            .await
            .batch_execute(&format!(
                "INSERT INTO strict ({native_columns}) VALUES ({literal})"
            ))
            .await
            .unwrap_err();
        let native = native.as_db_error().unwrap();
        let target = WriteTarget::Insert(into("strict", &columns));
        let error = write(&catalog, target, vec![batch(rows)])
            .await
            .unwrap_err();
        assert_eq!(
            error.code.code(),
            native.code().code(),
            "{column}: {error:?}"
        );
        let ours = matches!(column, "u" | "small");
        assert!(
            ours || error.message == native.message(),
            "{column}: {} instead of {}",
            error.message,
            native.message()
        );
    }
    assert_eq!(ask(&server, "SELECT count(*)::text FROM strict").await, "1");
    let missing = write(
        &catalog,
        WriteTarget::Insert(into("missing", &["id"])),
        vec![],
    )
    .await;
    assert_eq!(missing.unwrap_err().code.code(), "42P01");
    server.wait_until_idle(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_left_out_get_their_defaults() {
    let server = Server::start();
    server.sql(STRICT).await;
    let catalog = server.catalog();
    let rows = batch(vec![("id", ints(&[Some(2), Some(3)]))]);
    let written = write(
        &catalog,
        WriteTarget::Insert(into("strict", &["id"])),
        vec![rows],
    )
    .await;
    assert_eq!(written.unwrap(), 2);
    assert_eq!(
        ask(&server, "SELECT string_agg(concat_ws(',', id, must, always, twice), ' ' ORDER BY id) FROM strict").await,
        "1,0,1,2 2,0,2,4 3,0,3,6"
    );
    server
        .sql("CREATE TABLE counted (id serial, at date DEFAULT '2020-02-02')")
        .await;
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(3));
    let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options);
    let written = write(
        &catalog,
        WriteTarget::Insert(into("counted", &[])),
        vec![none.unwrap()],
    )
    .await;
    assert_eq!(written.unwrap(), 3);
    assert_eq!(
        ask(
            &server,
            "SELECT string_agg(id || ' ' || at, ',' ORDER BY id) FROM counted"
        )
        .await,
        "1 2020-02-02,2 2020-02-02,3 2020-02-02"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_views_rules_and_row_security_go_through_a_staging_table() {
    let server = Server::start();
    server
        .sql(
            "CREATE TABLE kv (k int PRIMARY KEY, v text DEFAULT 'new'); INSERT INTO kv VALUES (1, 'one');
             CREATE VIEW shown AS SELECT k, v FROM kv;
             CREATE TABLE log (k int);
             CREATE TABLE ruled (k int); CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES (NEW.k);",
        )
        .await;
    let catalog = server.catalog();
    let rows = || {
        batch(vec![
            ("k", ints(&[Some(1), Some(2)])),
            ("v", texts(&[Some("uno"), Some("dos")])),
        ])
    };
    let mut target = into("kv", &["k", "v"]);
    target.on_conflict = Some(OnConflict {
        key: vec!["k".into()],
        assignments: Vec::new(),
    });
    let written = write(&catalog, WriteTarget::Insert(target.clone()), vec![rows()]).await;
    assert_eq!(written.unwrap(), 1);
    let list = "SELECT string_agg(k || v, ',' ORDER BY k) FROM kv";
    assert_eq!(ask(&server, list).await, "1one,2dos");
    target.on_conflict = Some(OnConflict {
        key: vec!["k".into()],
        assignments: vec![("v".into(), ConflictValue::Excluded("v".into()))],
    });
    let written = write(&catalog, WriteTarget::Insert(target), vec![rows()]).await;
    assert_eq!(written.unwrap(), 2);
    assert_eq!(ask(&server, list).await, "1uno,2dos");

    let more = batch(vec![("k", ints(&[Some(3)]))]);
    let written = write(
        &catalog,
        WriteTarget::Insert(into("shown", &["k"])),
        vec![more.clone()],
    );
    assert_eq!(written.await.unwrap(), 1);
    assert_eq!(ask(&server, list).await, "1uno,2dos,3new");
    write(
        &catalog,
        WriteTarget::Insert(into("ruled", &["k"])),
        vec![more],
    )
    .await
    .unwrap();
    assert_eq!(
        ask(&server, "SELECT string_agg(k::text, ',') FROM log").await,
        "3"
    );
    assert_eq!(
        ask(
            &server,
            "SELECT count(*)::text FROM pg_class WHERE relname = 'sluice_rows'"
        )
        .await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_sink_and_a_killed_session_leave_nothing() {
    let server = Server::start();
    let catalog = server.catalog();
    let columns = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let many = |from: i64| {
        batch(vec![(
            "n",
            Arc::new(Int64Array::from_iter_values(from..from + 100_000)) as ArrayRef,
        )])
    };
    let new = || WriteTarget::Create(NewTable::plain("public", "big", &columns, false));
    // Dropped in the middle of a COPY.
    let mut sink = catalog.writer().unwrap().begin(new()).await.unwrap();
    for n in 0..20 {
        sink.write(many(n * 100_000)).await.unwrap();
    }
    drop(sink);
    server.wait_until_idle(Duration::from_secs(5)).await;
    // Ended by an operator.
    let mut sink = catalog.writer().unwrap().begin(new()).await.unwrap();
    sink.write(many(0)).await.unwrap();
    server
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice'")
        .await;
    let error = match sink.finish().await {
        Ok(()) => sink.commit().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code.code(), "08006", "{error:?}");
    assert_eq!(
        ask(&server, "SELECT coalesce(to_regclass('big')::text, 'none')").await,
        "none"
    );
    // The pool recovers by itself.
    let rows = write(&catalog, new(), vec![many(0), many(0), many(0)]).await;
    assert_eq!(rows.unwrap(), 300_000);
    assert_eq!(
        ask(&server, "SELECT sum(n)::text FROM big").await,
        "14999850000"
    );
    assert_eq!(
        ask(
            &server,
            "SELECT count(*)::text FROM pg_stat_activity WHERE state LIKE 'idle in%'"
        )
        .await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_made_with_the_servers_own_types() {
    let server = Server::start();
    server.sql("CREATE TYPE mood AS ENUM ('ok', 'sad')").await;
    let catalog = server.catalog();
    let text = |name: &str, tag: &str| tagged(name, DataType::Utf8View, true, tag);
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let column = |field: Field, default: Option<ColumnDefault>| NewColumn {
        field: Arc::new(field),
        default,
    };
    let new = NewTable {
        schema: "public".into(),
        table: "it's \"new\"".into(),
        columns: vec![
            column(
                Field::new("id", DataType::Int64, false),
                Some(ColumnDefault::Identity { always: true }),
            ),
            column(
                Field::new("a", DataType::Int32, false),
                Some(ColumnDefault::Constant(ScalarValue::Utf8(Some("5".into())))),
            ),
            column(text("u", "uuid"), None),
            column(text("v", "character varying(7)"), None),
            column(text("m", "mood"), None),
            column(text("elsewhere", "no_such_type"), None),
            column(Field::new("big", DataType::UInt64, true), None),
            column(Field::new("l", DataType::List(item), true), None),
            column(
                Field::new(
                    "at",
                    DataType::Timestamp(
                        arrow::datatypes::TimeUnit::Microsecond,
                        Some("UTC".into()),
                    ),
                    true,
                ),
                Some(ColumnDefault::Call("now".into())),
            ),
        ],
        primary_key: vec!["id".into()],
        unique: vec![vec!["a".into(), "u".into()]],
        replace: false,
    };
    assert_eq!(
        write(&catalog, WriteTarget::Create(new.clone()), vec![])
            .await
            .unwrap(),
        0
    );
    let types = "SELECT string_agg(format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum)
                 FROM pg_attribute WHERE attrelid = '\"it''s \"\"new\"\"\"'::regclass AND attnum > 0";
    assert_eq!(
        ask(&server, types).await,
        "bigint!, integer!, uuid, character varying(7), mood, text, numeric(20,0), integer[], timestamp with time zone"
    );
    let again = write(&catalog, WriteTarget::Create(new), vec![]).await;
    assert_eq!(again.unwrap_err().code.code(), "42P07");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_definitions_change_where_they_are() {
    let server = Server::start();
    server
        .sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 9); INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 5) g")
        .await;
    let catalog = server.catalog();
    let writer = catalog.writer().unwrap();
    let changes = writer.row_changes().unwrap();
    let found = table(&catalog, "t").await;
    let rows = |op, value| {
        let relation = found.handle.relation.filtered(vec![ScalarExpr::Compare {
            op,
            left: Box::new(ScalarExpr::Column("id".into())),
            right: Box::new(ScalarExpr::Literal(Literal::Int(value))),
        }]);
        found.handle.with_relation(relation)
    };
    let updated = changes
        .update(
            &rows(sluice_spi::CompareOp::LtEq, 2),
            &[
                (
                    "v".into(),
                    Assigned::Expr(ScalarExpr::Literal(Literal::Text("it's".into()))),
                ),
                ("n".into(), Assigned::Default),
            ],
        )
        .await;
    assert_eq!(updated.unwrap(), 2);
    let deleted = changes.delete(&rows(sluice_spi::CompareOp::Eq, 5)).await;
    assert_eq!(deleted.unwrap(), 1);
    let list = "SELECT string_agg(concat_ws('|', id, v, n), ' ' ORDER BY id) FROM t";
    assert_eq!(ask(&server, list).await, "1|it's|9 2|it's|9 3|v3|3 4|v4|4");
    let error = changes
        .update(
            &rows(sluice_spi::CompareOp::Eq, 3),
            &[(
                "id".into(),
                Assigned::Expr(ScalarExpr::Literal(Literal::Int(1))),
            )],
        )
        .await;
    assert_eq!(error.unwrap_err().code.code(), "23505");

    let definitions = writer.definitions().unwrap();
    let view = NewView {
        schema: "public",
        view: "few",
        query: &rows(sluice_spi::CompareOp::Lt, 3),
        projection: &[1, 0],
        names: &["value".into(), "key".into()],
        replace: false,
    };
    definitions.create_view(view).await.unwrap();
    assert_eq!(
        ask(
            &server,
            "SELECT string_agg(value || key, ',' ORDER BY key) FROM few"
        )
        .await,
        "it's1,it's2"
    );
    assert!(definitions.drop_view("public", "few", false).await.unwrap());
    assert!(!definitions.drop_view("public", "few", false).await.unwrap());

    let field = |name: &str, data_type: DataType| Arc::new(Field::new(name, data_type, true));
    let changes_of_t = [
        TableChange::RenameColumn {
            from: "v".into(),
            to: "w".into(),
        },
        TableChange::AddColumn {
            column: NewColumn {
                field: field("x", DataType::Int32),
                default: Some(ColumnDefault::Constant(ScalarValue::Utf8(Some("7".into())))),
            },
            if_not_exists: false,
        },
        TableChange::SetType {
            column: field("n", DataType::Int64),
        },
        TableChange::SetNullable {
            column: "w".into(),
            nullable: false,
        },
        TableChange::RenameTable { to: "u".into() },
    ];
    let altered = definitions.alter_table("public", "t", &changes_of_t);
    assert!(altered.await.unwrap());
    assert_eq!(
        ask(&server, "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || attnotnull::text, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'u'::regclass AND attnum > 0").await,
        "id integertrue,w texttrue,n bigintfalse,x integerfalse"
    );
    // The second change fails, and takes the first one back.
    let failed = definitions
        .alter_table(
            "public",
            "u",
            &[
                TableChange::RenameColumn {
                    from: "w".into(),
                    to: "z".into(),
                },
                TableChange::DropColumn {
                    column: "gone".into(),
                    if_exists: false,
                    cascade: false,
                },
            ],
        )
        .await;
    assert_eq!(failed.unwrap_err().code.code(), "42703");
    assert_eq!(ask(&server, "SELECT count(w)::text FROM u").await, "4");
    changes
        .truncate(&[("public".into(), "u".into())], TruncateOptions::default())
        .await
        .unwrap();
    assert_eq!(ask(&server, "SELECT count(*)::text FROM u").await, "0");
    assert!(writer.drop_table("public", "u", false).await.unwrap());
    assert!(!writer.drop_table("public", "u", false).await.unwrap());
    server.wait_until_idle(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_statements_need_the_files_leave() {
    let server = Server::start();
    assert!(server.catalog().writer().unwrap().native().is_none());
    let catalog = server.catalog_with("allow_execute = true");
    let native = catalog.writer().unwrap().native().unwrap();
    native
        .execute("CREATE TABLE made AS SELECT 1 AS one")
        .await
        .unwrap();
    assert_eq!(ask(&server, "SELECT one::text FROM made").await, "1");
    let two = native
        .execute("DELETE FROM made; COMMIT")
        .await
        .unwrap_err();
    assert_eq!(two.code.code(), "42601");
    let wrong = native.execute("DELETE FROM mode").await.unwrap_err();
    assert_eq!(wrong.code.code(), "42P01");
    assert_eq!(ask(&server, "SELECT count(*)::text FROM made").await, "1");
    let closed = server.catalog_with("read_only = true");
    assert!(closed.writer().unwrap().read_only());
    server.wait_until_idle(Duration::from_secs(2)).await;
}
