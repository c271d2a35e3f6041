//! Names, keys, defaults, comments and statistics.

use sluice_spi::{Estimate, ScalarValue, TableKind};

use crate::support::{Server, table};

const SETUP: &str = r#"
CREATE SCHEMA "Odd "" schema"; CREATE TABLE "Odd "" schema"."t.1" ("a ""b" int, "ünï" text);
CREATE SCHEMA listed;
CREATE TABLE listed.plain (id bigint PRIMARY KEY, code text UNIQUE, note text NOT NULL DEFAULT 'x', gone int,
                           price numeric(8,2), twice int GENERATED ALWAYS AS (gone * 2) STORED);
ALTER TABLE listed.plain DROP COLUMN gone CASCADE;
COMMENT ON TABLE listed.plain IS 'a table'; COMMENT ON COLUMN listed.plain.note IS 'a note';
CREATE VIEW listed.shown AS SELECT id, note FROM listed.plain;
CREATE MATERIALIZED VIEW listed.kept AS SELECT 1 AS one;
CREATE TABLE listed.parts (k int, d date, PRIMARY KEY (d, k)) PARTITION BY RANGE (d);
CREATE TABLE listed.parts_1 PARTITION OF listed.parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE listed.nothing ();
CREATE TABLE listed.late (id int PRIMARY KEY DEFERRABLE, part int, UNIQUE (part) DEFERRABLE);
CREATE UNIQUE INDEX ON listed.plain (lower(note)); CREATE UNIQUE INDEX ON listed.plain (note) WHERE id > 5;
CREATE TABLE listed.counted AS SELECT g AS id, g % 10 AS ten, NULLIF(g % 2, 0) AS half, 'text' || g AS t, '2020-01-01'::date + g % 100 AS d,
    g::numeric(10,2) AS n FROM generate_series(1, 10000) g;
ANALYZE listed.counted;
"#;

#[tokio::test]
async fn names_keys_and_comments() {
    let server = Server::start();
    server.sql(SETUP).await;
    let catalog = server.catalog();
    let metadata = catalog.metadata();
    assert_eq!(
        metadata.schemas().await.unwrap(),
        ["Odd \" schema", "listed", "public"]
    );
    let tables = metadata.tables("listed").await.unwrap();
    let kinds: Vec<_> = tables
        .iter()
        .map(|table| (table.name.as_str(), table.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("counted", TableKind::Table),
            ("kept", TableKind::MaterializedView),
            ("late", TableKind::Table),
            ("nothing", TableKind::Table),
            ("parts", TableKind::PartitionedTable),
            ("parts_1", TableKind::Table),
            ("plain", TableKind::Table),
            ("shown", TableKind::View),
        ]
    );
    assert!(metadata.tables("pg_catalog").await.unwrap().is_empty());
    assert!(metadata.tables("absent").await.unwrap().is_empty());
    assert!(metadata.table("listed", "absent").await.unwrap().is_none());
    assert!(
        metadata
            .table("pg_catalog", "pg_class")
            .await
            .unwrap()
            .is_none()
    );

    let plain = metadata.table("listed", "plain").await.unwrap().unwrap();
    assert_eq!(plain.comment.as_deref(), Some("a table"));
    assert_eq!(plain.primary_key, ["id"]);
    let names: Vec<_> = plain
        .columns
        .iter()
        .map(|c| {
            (
                c.field.name().as_str(),
                c.field.is_nullable(),
                c.native_type.as_str(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("id", false, "bigint"),
            ("code", true, "text"),
            ("note", false, "text"),
            ("price", true, "numeric(8,2)")
        ]
    );
    assert_eq!(plain.columns[2].default.as_deref(), Some("'x'::text"));
    assert_eq!(plain.columns[2].comment.as_deref(), Some("a note"));
    let parts = metadata.table("listed", "parts").await.unwrap().unwrap();
    assert_eq!(parts.primary_key, ["d", "k"]);
    assert_eq!(
        metadata
            .table("listed", "nothing")
            .await
            .unwrap()
            .unwrap()
            .columns,
        []
    );

    let described = metadata.describe_schema("listed").await.unwrap();
    assert_eq!(described.len(), tables.len());
    for table in described {
        assert_eq!(
            metadata
                .table("listed", &table.name)
                .await
                .unwrap()
                .as_ref(),
            Some(table.as_ref())
        );
    }
    let odd = metadata
        .table("Odd \" schema", "t.1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(odd.columns[0].field.name(), "a \"b");
    assert!(
        crate::support::read_all(&catalog, &odd)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        catalog.ping().await.unwrap().split(' ').next(),
        Some("PostgreSQL")
    );
}

#[tokio::test]
async fn statistics_are_the_servers_own() {
    let server = Server::start();
    server.sql(SETUP).await;
    let catalog = server.catalog();
    let counted = catalog
        .metadata()
        .table("listed", "counted")
        .await
        .unwrap()
        .unwrap();
    let statistics = catalog.metadata().statistics(&counted).await.unwrap();
    assert_eq!(statistics.rows, Estimate::About(10_000));
    let [id, ten, half, text, date, number] = &statistics.columns[..] else {
        panic!()
    };
    assert_eq!(id.distinct, Estimate::About(10_000));
    assert_eq!(
        (&id.min, &id.max),
        (
            &Estimate::About(ScalarValue::Int32(Some(1))),
            &Estimate::About(ScalarValue::Int32(Some(10_000)))
        )
    );
    assert_eq!(
        (&ten.distinct, &ten.min),
        (
            &Estimate::About(10),
            &Estimate::About(ScalarValue::Int32(Some(0)))
        )
    );
    assert_eq!(half.nulls, Estimate::About(5_000));
    assert_eq!(text.min, Estimate::Unknown);
    assert_eq!(date.min, Estimate::About(ScalarValue::Date32(Some(18_262))));
    assert_eq!(
        number.max,
        Estimate::About(ScalarValue::Decimal128(Some(1_000_000), 10, 2))
    );
    // A view has no statistics of its own, but the planner knows about its rows.
    server
        .sql("CREATE VIEW listed.some AS SELECT * FROM listed.counted WHERE ten = 1")
        .await;
    let view = catalog
        .metadata()
        .table("listed", "some")
        .await
        .unwrap()
        .unwrap();
    let Estimate::About(rows) = catalog.metadata().statistics(&view).await.unwrap().rows else {
        panic!()
    };
    assert!((500..2000).contains(&rows), "{rows}");
    // A table that was never analyzed.
    server.sql("CREATE TABLE fresh AS SELECT 1 AS a").await;
    let fresh = table(&catalog, "fresh").await;
    assert!(catalog.metadata().statistics(&fresh).await.is_ok());
}

#[tokio::test]
async fn a_family_of_tables_has_the_statistics_of_its_members() {
    let server = Server::start();
    server
        .sql(
            "CREATE TABLE family (id int PRIMARY KEY, ten int, half int) PARTITION BY RANGE (id);
             CREATE TABLE family_a PARTITION OF family FOR VALUES FROM (0) TO (5001);
             CREATE TABLE family_b PARTITION OF family FOR VALUES FROM (5001) TO (20000);
             INSERT INTO family SELECT g, g % 10, NULLIF(g % 2, 0) FROM generate_series(1, 10000) g;
             ANALYZE family_a; ANALYZE family_b;
             CREATE TABLE elder (id int PRIMARY KEY); CREATE TABLE heir () INHERITS (elder);
             INSERT INTO elder VALUES (1); INSERT INTO heir VALUES (1)",
        )
        .await;
    let catalog = server.catalog();
    let family = table(&catalog, "family").await;
    let close = |estimate: &Estimate<u64>, wanted: u64| matches!(estimate, Estimate::About(n) if n.abs_diff(wanted) <= wanted / 10);
    // Summed up over partitions, and the same once the server looked at the whole.
    for analyzed in [false, true] {
        if analyzed {
            server.sql("ANALYZE family").await;
        }
        let statistics = catalog.metadata().statistics(&family).await.unwrap();
        let [id, ten, half] = &statistics.columns[..] else {
            panic!("{statistics:?}")
        };
        assert!(close(&statistics.rows, 10_000), "{statistics:?}");
        assert!(close(&id.distinct, 10_000), "{id:?}");
        assert!(close(&ten.distinct, 10), "{ten:?}");
        assert!(close(&half.nulls, 5_000), "{half:?}");
        assert_eq!(id.min, Estimate::About(ScalarValue::Int32(Some(1))));
        assert_eq!(id.max, Estimate::About(ScalarValue::Int32(Some(10_000))));
    }
    // A parent's key holds for its own rows only.
    let elder = table(&catalog, "elder").await;
    assert!(elder.primary_key.is_empty());
}
