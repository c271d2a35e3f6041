//! Constants through the real parser: whatever the connector writes must come back as the same value.
//!
//! Values are stored by bound parameters, beside the connector, and then looked for by a pushed
//! equality. Each must find its own row and no other.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, i256};
use bytes::BytesMut;
use datafusion::prelude::{Expr, col, lit};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluice_spi::{Connector, Pushed, ScalarValue, TableMetadata};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::support::{Server, read, table};

/// A bound parameter: bytes as they are, in text or binary form.
#[derive(Debug)]
struct Bound(Vec<u8>, bool);

impl ToSql for Bound {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    fn encode_format(&self, _: &Type) -> Format {
        if self.1 { Format::Binary } else { Format::Text }
    }
    to_sql_checked!();
}

fn seed() -> u64 {
    let seed = std::env::var("SLUICE_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_121);
    println!("SLUICE_TEST_SEED={seed}");
    seed
}

fn text(rng: &mut StdRng) -> String {
    const NASTY: &[&str] = &[
        "'",
        "''",
        "\\",
        "\\'",
        "\"",
        "$$",
        "$1",
        "--",
        "/*",
        "*/",
        ";",
        "E'",
        "U&'",
        "::text",
        "\n",
        "\r",
        "\t",
        "\u{1}",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "é",
        "e\u{301}",
        "𝄞",
        "ß",
        "%",
        "_",
        " ",
        "a",
        "'; DROP TABLE x; --",
        "\\x27",
        "\\047",
        "\u{2019}",
        "\u{ff07}",
        "0",
    ];
    let length = rng.random_range(0..12);
    (0..length)
        .map(|_| match rng.random_range(0..10) {
            0 => char::from_u32(rng.random_range(1..0x11_0000))
                .unwrap_or('x')
                .to_string(),
            1 => char::from(rng.random_range(1..128u8)).to_string(),
            _ => NASTY[rng.random_range(0..NASTY.len())].to_owned(),
        })
        .collect()
}

/// Stores the values and looks for each. `distinct` says which values are one to PostgreSQL.
async fn check(server: &Server, column_type: &str, cast: &str, values: Vec<(ScalarValue, Bound)>) {
    let name = format!(
        "lit_{}",
        column_type.replace(|c: char| !c.is_alphanumeric(), "_")
    );
    let client = server.client().await;
    client
        .batch_execute(&format!("CREATE TABLE {name} (id int, v {column_type})"))
        .await
        .unwrap();
    let insert = client
        .prepare(&format!("INSERT INTO {name} SELECT $1, {cast}"))
        .await
        .unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    for (id, (value, bound)) in values.iter().enumerate() {
        let id = id as i32;
        client
            .execute(&insert, &[&id, bound])
            .await
            .unwrap_or_else(|e| panic!("{value:?}: {e:?}"));
    }
    client.batch_execute("COMMIT").await.unwrap();

    let catalog = server.catalog();
    let metadata = table(&catalog, &name).await;
    for (id, (value, _)) in values.iter().enumerate() {
        // By COPY with the constant inside, and by a prepared statement with a parameter.
        let limit = if id % 4 == 0 { Some(1_000) } else { None };
        let found = find(&catalog, &metadata, value, limit).await;
        let same: Vec<i32> = (0..values.len())
            .filter(|other| values[*other].0 == *value)
            .map(|other| other as i32)
            .collect();
        assert_eq!(found, same, "{column_type}: {value:?}");
    }
    // All of every other value at once: a long list is one array constant.
    let even: Vec<&ScalarValue> = values.iter().map(|(v, _)| v).step_by(2).collect();
    let listed = col("v").in_list(even.iter().map(|v| lit((*v).clone())).collect(), false);
    let expected: Vec<i32> = (0..values.len())
        .filter(|id| even.contains(&&values[*id].0))
        .map(|id| id as i32)
        .collect();
    for limit in [None, Some(1_000)] {
        let mut found = filtered(&catalog, &metadata, listed.clone(), limit).await;
        if limit.is_some() {
            found.retain(|id| expected.contains(id));
            assert_eq!(found.len(), expected.len().min(1_000), "{column_type}");
        } else {
            assert_eq!(found, expected, "{column_type}");
        }
    }
}

async fn find(
    catalog: &Arc<dyn Connector>,
    metadata: &TableMetadata,
    value: &ScalarValue,
    limit: Option<usize>,
) -> Vec<i32> {
    filtered(catalog, metadata, col("v").eq(lit(value.clone())), limit).await
}

async fn filtered(
    catalog: &Arc<dyn Connector>,
    metadata: &TableMetadata,
    filter: Expr,
    limit: Option<usize>,
) -> Vec<i32> {
    let shown = filter.human_display().to_string();
    let value = shown.get(..200).unwrap_or(&shown);
    let pushed = catalog
        .pushdown()
        .unwrap()
        .apply_filter(metadata, &metadata.handle, &[filter]);
    assert!(
        !matches!(pushed.outcome[0], Pushed::No(_)),
        "{value:?}: {:?}",
        pushed.outcome
    );
    let batches = read(catalog, metadata, &pushed.handle, vec![0], limit)
        .await
        .unwrap_or_else(|e| panic!("{value:?}: {e:?}"));
    let mut ids: Vec<i32> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int32Type>()
                .values()
                .to_vec()
        })
        .collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn text_and_bytes() {
    let server = Server::shared();
    let mut rng = StdRng::seed_from_u64(seed());
    let mut values: Vec<String> = (0..2000).map(|_| text(&mut rng)).collect();
    values.sort();
    values.dedup();
    let bound = |v: &String| {
        (
            ScalarValue::Utf8View(Some(v.clone())),
            Bound(v.clone().into_bytes(), true),
        )
    };
    check(
        &server,
        "text",
        "$2::text",
        values.iter().map(bound).collect(),
    )
    .await;
    check(
        &server,
        "varchar(400)",
        "$2::text",
        values.iter().take(200).map(bound).collect(),
    )
    .await;

    let bytes = (0..500).map(|_| {
        let v: Vec<u8> = (0..rng.random_range(0..20)).map(|_| rng.random()).collect();
        (ScalarValue::Binary(Some(v.clone())), Bound(v, true))
    });
    check(&server, "bytea", "$2::bytea", bytes.collect()).await;
    let uuids = (0..200).map(|_| {
        let v: [u8; 16] = rng.random();
        let hex: String = v.iter().map(|b| format!("{b:02x}")).collect();
        let text = format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        );
        (ScalarValue::Utf8View(Some(text)), Bound(v.to_vec(), true))
    });
    check(&server, "uuid", "$2::uuid", uuids.collect()).await;
}

#[tokio::test]
async fn numbers() {
    let server = Server::shared();
    let mut rng = StdRng::seed_from_u64(seed() + 1);
    let shrink = |rng: &mut StdRng, v: i64| v >> rng.random_range(0..64);
    let ints: Vec<i64> = [i64::MIN, i64::MAX, 0, -1]
        .into_iter()
        .chain((0..400).map(|_| {
            let v = rng.random();
            shrink(&mut rng, v)
        }))
        .collect();
    check(
        &server,
        "int8",
        "$2::int8",
        ints.iter()
            .map(|v| {
                (
                    ScalarValue::Int64(Some(*v)),
                    Bound(v.to_be_bytes().into(), true),
                )
            })
            .collect(),
    )
    .await;
    let ints = ints.iter().map(|v| *v as i32);
    check(
        &server,
        "int4",
        "$2::int4",
        ints.clone()
            .map(|v| {
                (
                    ScalarValue::Int32(Some(v)),
                    Bound(v.to_be_bytes().into(), true),
                )
            })
            .collect(),
    )
    .await;
    let ints = ints.map(|v| v as i16);
    check(
        &server,
        "int2",
        "$2::int2",
        ints.map(|v| {
            (
                ScalarValue::Int16(Some(v)),
                Bound(v.to_be_bytes().into(), true),
            )
        })
        .collect(),
    )
    .await;

    let mut doubles = vec![
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        0.1,
        1e21,
        1e-7,
    ];
    doubles.extend(
        (0..600)
            .map(|_| f64::from_bits(rng.random()))
            .filter(|v| !v.is_nan()),
    );
    check(
        &server,
        "float8",
        "$2::float8",
        doubles
            .iter()
            .map(|v| {
                (
                    ScalarValue::Float64(Some(*v)),
                    Bound(v.to_be_bytes().into(), true),
                )
            })
            .collect(),
    )
    .await;
    let mut floats = vec![
        f32::INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-45,
        0.1,
        16_777_217.0,
    ];
    floats.extend(
        (0..600)
            .map(|_| f32::from_bits(rng.random()))
            .filter(|v| !v.is_nan()),
    );
    check(
        &server,
        "float4",
        "$2::float4",
        floats
            .iter()
            .map(|v| {
                (
                    ScalarValue::Float32(Some(*v)),
                    Bound(v.to_be_bytes().into(), true),
                )
            })
            .collect(),
    )
    .await;

    let decimals = |rng: &mut StdRng, scale: usize| -> Vec<(i128, String)> {
        (0..400)
            .map(|_| {
                let v = rng.random::<i128>() % 10i128.pow(rng.random_range(1..=38));
                let digits = format!("{:0>width$}", v.unsigned_abs(), width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                (
                    v,
                    format!("{}{whole}.{fraction}", if v < 0 { "-" } else { "" }),
                )
            })
            .collect()
    };
    let narrow = decimals(&mut rng, 7).into_iter();
    check(
        &server,
        "numeric(38,7)",
        "$2::numeric",
        narrow
            .map(|(v, t)| {
                (
                    ScalarValue::Decimal128(Some(v), 38, 7),
                    Bound(t.into(), false),
                )
            })
            .collect(),
    )
    .await;
    let free = decimals(&mut rng, 20).into_iter();
    check(
        &server,
        "numeric",
        "$2::numeric",
        free.map(|(v, t)| {
            (
                ScalarValue::Decimal256(Some(i256::from_i128(v)), 76, 20),
                Bound(t.into(), false),
            )
        })
        .collect(),
    )
    .await;
}

#[tokio::test]
async fn times() {
    let server = Server::shared();
    let mut rng = StdRng::seed_from_u64(seed() + 2);
    const EPOCH_DAYS: i32 = 10_957;
    const EPOCH_MICROS: i64 = 946_684_800_000_000;
    // 4713-11-24 BC to 99999-12-31 and beyond.
    let dates: Vec<i32> = [
        -2_440_588,
        -719_528,
        -719_529,
        -719_163,
        -1,
        0,
        2_145_042_905,
    ]
    .into_iter()
    .chain((0..500).map(|_| rng.random_range(-2_440_588..40_000_000)))
    .collect();
    check(
        &server,
        "date",
        "$2::date",
        dates
            .iter()
            .map(|v| {
                (
                    ScalarValue::Date32(Some(*v)),
                    Bound((v - EPOCH_DAYS).to_be_bytes().into(), true),
                )
            })
            .collect(),
    )
    .await;
    let mut micros: Vec<i64> = [
        -210_866_803_200_000_000,
        -62_135_596_800_000_001,
        -1,
        0,
        9_223_372_036_854_775_807 - 1_000_000,
    ]
    .into_iter()
    .chain((0..500).map(|_| rng.random_range(-210_866_803_200_000_000..9_000_000_000_000_000_000)))
    .collect();
    micros.extend((0..200).map(|_| rng.random_range(-4_000_000_000..4_000_000_000) * 1_000_000));
    let bound = |v: &i64| Bound((v - EPOCH_MICROS).to_be_bytes().into(), true);
    check(
        &server,
        "timestamp",
        "$2::timestamp",
        micros
            .iter()
            .map(|v| (ScalarValue::TimestampMicrosecond(Some(*v), None), bound(v)))
            .collect(),
    )
    .await;
    check(
        &server,
        "timestamptz",
        "$2::timestamptz",
        micros
            .iter()
            .map(|v| {
                (
                    ScalarValue::TimestampMicrosecond(Some(*v), Some("UTC".into())),
                    bound(v),
                )
            })
            .collect(),
    )
    .await;
    let times = (0..300).map(|_| rng.random_range(0..86_400_000_000i64));
    check(
        &server,
        "time",
        "$2::time",
        times
            .map(|v| {
                (
                    ScalarValue::Time64Microsecond(Some(v)),
                    Bound(v.to_be_bytes().into(), true),
                )
            })
            .collect(),
    )
    .await;
    let bools = [true, false].into_iter();
    check(
        &server,
        "bool",
        "$2::bool",
        bools
            .map(|v| (ScalarValue::Boolean(Some(v)), Bound(vec![v.into()], true)))
            .collect(),
    )
    .await;
}
