//! The contract's own kit, over tables with a column of each type and values chosen to trip.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use sluice_spi::conformance::{Fixture, check};

use crate::pushdown::CORPUS;
use crate::support::Server;

const MORE: &str = "
CREATE TABLE keyed AS SELECT g::int AS id, g % 7 AS seven, 'name ' || g % 100 AS name FROM generate_series(1, 3000) g;
ALTER TABLE keyed ADD PRIMARY KEY (id); ANALYZE keyed;
CREATE TABLE empty (a int, b text);
CREATE VIEW shown AS SELECT * FROM keyed WHERE seven = 3;";

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_conforms() {
    let server = Server::start();
    server.sql(CORPUS).await;
    server.sql(MORE).await;
    let fixture = Fixture::new("public", ["corpus", "keyed", "empty", "shown"])
        .writable("public", every_type());
    check(&*server.catalog(), &fixture).await;
    server
        .wait_until_idle(std::time::Duration::from_secs(2))
        .await;
}

/// The columns of a table with a column of each type that the kit has literals for, as they are read.
fn every_type() -> SchemaRef {
    let micros = TimeUnit::Microsecond;
    Arc::new(Schema::new(vec![
        Field::new("b", DataType::Boolean, true),
        Field::new("i2", DataType::Int16, true),
        Field::new("i4", DataType::Int32, true),
        Field::new("i8", DataType::Int64, true),
        Field::new("f4", DataType::Float32, true),
        Field::new("f8", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(38, 10), true),
        Field::new("wide", DataType::Decimal256(76, 20), true),
        Field::new("t", DataType::Utf8View, true),
        Field::new("bytes", DataType::Binary, true),
        Field::new("day", DataType::Date32, true),
        Field::new("clock", DataType::Time64(micros), true),
        Field::new("at", DataType::Timestamp(micros, None), true),
        Field::new(
            "moment",
            DataType::Timestamp(micros, Some("UTC".into())),
            true,
        ),
    ]))
}
