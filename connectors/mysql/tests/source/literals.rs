//! Constants through the real server and back: whatever a user writes is found again, and nothing else.

use datafusion::prelude::{col, lit};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluice_spi::{Expr, Pushed, ScalarValue};

use crate::support::{catalog, filtered, shared, table};

const TEXTS: usize = 400;
const SEED: u64 = 20_261_121;

fn text(random: &mut StdRng) -> String {
    const PIECES: [&str; 24] = [
        "'", "''", "\"", "\\", "\\'", "\\\\", "`", ";", "--", "#", "/*", "*/", "?", ":a", "%", "_",
        "\n", "\0", "é", "日", "😀", "a", "A", " ",
    ];
    let length = random.random_range(0..6);
    (0..length)
        .map(|_| PIECES[random.random_range(0..PIECES.len())])
        .collect()
}

#[tokio::test]
async fn any_text_is_found_by_itself() {
    let server = shared();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut texts: Vec<String> = (0..TEXTS).map(|_| text(&mut random)).collect();
    texts.sort();
    texts.dedup();
    let rows: Vec<String> = texts
        .iter()
        .enumerate()
        .map(|(id, text)| {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("({id}, x'{hex}', x'{hex}')")
        })
        .collect();
    server.query(&format!(
        "CREATE OR REPLACE TABLE texts (id int, t varchar(40), b varbinary(80), KEY (t)) CHARACTER SET utf8mb4;
         INSERT INTO texts VALUES {}",
        rows.join(", ")
    ));
    let catalog = catalog(&server);
    let table = table(&catalog, "texts").await;
    for (id, text) in texts.iter().enumerate() {
        let bytes = lit(ScalarValue::Binary(Some(text.clone().into_bytes())));
        for filter in [
            col("t").eq(lit(text.as_str())),
            col("t").in_list(vec![lit(text.as_str()), lit("no such text")], false),
            col("b").eq(bytes),
            // The same by parameters: a small limit is read by a prepared statement.
        ] {
            let (pushed, found) = filtered(&catalog, &table, filter.clone()).await;
            assert_eq!(
                (pushed, found),
                (Pushed::Exactly, vec![id.to_string()]),
                "{filter} (seed {SEED})"
            );
        }
    }
}

#[tokio::test]
async fn any_number_and_date_is_found_by_itself() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE numbers (id int, b bigint, d double, m decimal(30,6), day date, at datetime(6))",
    );
    let mut random = StdRng::seed_from_u64(SEED);
    let (mut rows, mut filters): (Vec<String>, Vec<(usize, Expr)>) = (Vec::new(), Vec::new());
    for id in 0..300_usize {
        let b: i64 = random.random::<i64>() >> random.random_range(0..63);
        let d = loop {
            let d = f64::from_bits(random.random());
            if d.is_finite() && d != 0.0 {
                break d;
            }
        };
        let m: i128 = i128::from(random.random::<i64>()) * i128::from(random.random::<u16>());
        let day = random.random_range(-700_000..2_900_000);
        let at = i64::from(day) * 86_400_000_000 + random.random_range(0..86_400_000_000);
        let sign = if m < 0 { "-" } else { "" };
        let (whole, part) = (m.abs() / 1_000_000, m.abs() % 1_000_000);
        rows.push(format!(
            "({id}, {b}, {d:e}, {sign}{whole}.{part:06}, DATE'1970-01-01' + INTERVAL {day} DAY, \
             TIMESTAMP'1970-01-01 00:00:00' + INTERVAL {at} MICROSECOND)"
        ));
        filters.extend([
            (id, col("b").eq(lit(b))),
            (id, col("d").eq(lit(d))),
            (
                id,
                col("m").eq(lit(ScalarValue::Decimal128(Some(m), 30, 6))),
            ),
            (id, col("day").eq(lit(ScalarValue::Date32(Some(day))))),
            (
                id,
                col("at").eq(lit(ScalarValue::TimestampMicrosecond(Some(at), None))),
            ),
        ]);
    }
    server.query(&format!("INSERT INTO numbers VALUES {}", rows.join(", ")));
    let catalog = catalog(&server);
    let table = table(&catalog, "numbers").await;
    for (id, filter) in filters {
        let (pushed, found) = filtered(&catalog, &table, filter.clone()).await;
        assert_eq!(pushed, Pushed::Exactly, "{filter}");
        assert!(
            found.contains(&id.to_string()),
            "{filter} found {found:?} (seed {SEED})"
        );
    }
}
