//! The tpch connector: the kit, and the generator's own rows as the truth.

// Helpers beside the tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use sluice_connector_tpch::TpchFactory;
use sluice_spi::conformance::{self, Fixture};
use sluice_spi::{
    Connector, ConnectorContext, ConnectorFactory, Estimate, ReadRequest, ScanMetrics, SplitRequest,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};

const TABLES: [&str; 8] = [
    "region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem",
];

fn catalog(keys: toml::Table) -> sluice_spi::Result<Arc<dyn Connector>> {
    TpchFactory.create(ConnectorContext::local("tpch", None), keys)
}

struct NoMetrics;

impl ScanMetrics for NoMetrics {
    fn add_source_bytes(&self, _bytes: usize) {}
    fn add_count(&self, _name: &'static str, _count: usize) {}
}

async fn read(schema: &str, table: &str, parallelism: usize) -> Vec<RecordBatch> {
    let connector = catalog(toml::Table::new()).unwrap();
    let table = connector
        .metadata()
        .table(schema, table)
        .await
        .unwrap()
        .unwrap();
    let request = SplitRequest {
        query_id: "q".into(),
        parallelism,
        limit: None,
    };
    let splits = connector
        .splits()
        .splits(&table.handle, &request)
        .await
        .unwrap();
    let mut batches = Vec::new();
    for split in splits {
        let schema = table.arrow_schema();
        let request = ReadRequest {
            query_id: "q".into(),
            handle: table.handle.clone(),
            split,
            projection: (0..schema.fields().len()).collect(),
            schema,
            limit: None,
            dynamic_filters: Vec::new(),
            snapshot: None,
            batch_rows: 1_000,
            metrics: Arc::new(NoMetrics),
        };
        let part: Vec<_> = connector
            .reader()
            .read(request)
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        batches.extend(part);
    }
    batches
}

/// Rows as dbgen prints them.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default();
    let mut lines = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(schema.fields()).map(|(column, field)| {
                let text = column.value(row).to_string();
                // dbgen prints the decimal quantity as a whole number.
                if field.name() == "l_quantity" {
                    text.replace(".00", "")
                } else {
                    text
                }
            });
            lines.push(cells.map(|cell| cell + "|").collect::<String>());
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_conforms() {
    let connector = catalog(toml::Table::new()).unwrap();
    conformance::check(&*connector, &Fixture::new("tiny", TABLES)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_the_generator_s_in_its_order() {
    macro_rules! expected {
        ($generator:ident) => {
            $generator::new(0.01, 1, 1)
                .iter()
                .map(|row| row.to_string())
                .collect::<Vec<_>>()
        };
    }
    for (table, expected) in [
        ("region", expected!(RegionGenerator)),
        ("nation", expected!(NationGenerator)),
        ("supplier", expected!(SupplierGenerator)),
        ("customer", expected!(CustomerGenerator)),
        ("part", expected!(PartGenerator)),
        ("partsupp", expected!(PartSuppGenerator)),
        ("orders", expected!(OrderGenerator)),
        ("lineitem", expected!(LineItemGenerator)),
    ] {
        for parallelism in [1, 3] {
            assert!(
                lines(&read("tiny", table, parallelism).await) == expected,
                "{table}"
            );
        }
    }
}

#[tokio::test]
async fn splits_follow_the_size() {
    let connector = catalog(toml::Table::new()).unwrap();
    let mut counts = Vec::new();
    for (schema, table, parallelism) in [
        ("tiny", "nation", 8),
        ("tiny", "lineitem", 8),
        ("sf1", "lineitem", 1),
        ("sf1", "lineitem", 16),
    ] {
        let table = connector
            .metadata()
            .table(schema, table)
            .await
            .unwrap()
            .unwrap();
        let request = SplitRequest {
            query_id: "q".into(),
            parallelism,
            limit: None,
        };
        let splits = connector
            .splits()
            .splits(&table.handle, &request)
            .await
            .unwrap();
        counts.push(splits.len());
    }
    assert_eq!(counts, [1, 3, 6, 16]);
}

#[tokio::test]
async fn row_counts_are_the_benchmark_s() {
    let connector = catalog(toml::Table::new()).unwrap();
    // From the specification's and dbgen's known counts.
    for (schema, table, rows) in [
        ("tiny", "lineitem", Estimate::Exact(60_175)),
        ("sf0_1", "lineitem", Estimate::Exact(600_572)),
        ("sf1", "lineitem", Estimate::Exact(6_001_215)),
        ("sf10", "lineitem", Estimate::Exact(59_986_052)),
        ("sf1", "orders", Estimate::Exact(1_500_000)),
        ("sf1", "partsupp", Estimate::Exact(800_000)),
        ("sf20", "lineitem", Estimate::About(120_000_000)),
    ] {
        let found = connector
            .metadata()
            .table(schema, table)
            .await
            .unwrap()
            .unwrap();
        let statistics = connector.metadata().statistics(&found).await.unwrap();
        assert_eq!(statistics.rows, rows, "{schema}.{table}");
    }
}

#[tokio::test]
async fn any_scale_factor_is_found_and_some_are_listed() {
    let connector = catalog(toml::from_str("schemas = ['sf3', 'tiny']").unwrap()).unwrap();
    assert_eq!(
        connector.metadata().schemas().await.unwrap(),
        ["sf3", "tiny"]
    );
    assert!(
        connector
            .metadata()
            .table("sf0_05", "orders")
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        connector
            .metadata()
            .table("sf0_050", "orders")
            .await
            .unwrap()
            .is_none()
    );
    let wrong = catalog(toml::from_str("schemas = ['huge']").unwrap())
        .err()
        .unwrap();
    assert_eq!(wrong.code.code(), "F0000");
    let unknown = catalog(toml::from_str("schema = []").unwrap())
        .err()
        .unwrap();
    assert_eq!(
        unknown.hint.as_deref(),
        Some("Perhaps you meant \"schemas\".")
    );
}

#[tokio::test]
async fn text_is_varying_and_nothing_is_null() {
    let connector = catalog(toml::Table::new()).unwrap();
    let table = connector
        .metadata()
        .table("tiny", "customer")
        .await
        .unwrap()
        .unwrap();
    let segment = table
        .columns
        .iter()
        .find(|c| c.field.name() == "c_mktsegment")
        .unwrap();
    assert_eq!(segment.native_type, "character varying(10)");
    assert_eq!(segment.field.data_type(), &DataType::Utf8View);
    assert_eq!(
        sluice_spi::types::pg_type(&segment.field),
        Some("character varying(10)")
    );
    let batches = read("tiny", "customer", 1).await;
    assert!(
        batches
            .iter()
            .all(|b| b.columns().iter().all(|c| c.null_count() == 0))
    );
}
