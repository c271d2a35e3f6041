//! What is known about the data without generating it: from the benchmark's specification (TPC-H 4.2.3)
//! and from the generator's key formulas.
//!
//! A figure is exact only where a formula proves it: surrogate keys, counts, the absence of NULLs.

use sluice_spi::{ColumnStatistics, Estimate, ScalarValue, TableStatistics};
use tpchgen::generators::OrderGenerator;

use crate::column::{Kind, MONEY_PRECISION, MONEY_SCALE};
use crate::scale::Scale;
use crate::tables::{
    CUSTOMERS, LINES_PER_ORDER, ORDERS, PARTS, Piece, SUPPLIERS, SUPPLIERS_PER_PART, TABLES, Table,
};

/// Up to so many orders their lines are counted (nanoseconds each); above, lines are estimated.
const COUNTED_ORDERS: u64 = 2_000_000;

/// Lines at the scale factors that people use; larger than what is counted on the spot.
const KNOWN_LINES: [(f64, u64); 2] = [(10.0, 59_986_052), (100.0, 600_037_902)];

/// Rows of a table.
pub(crate) fn rows(table: Table, scale: Scale) -> Estimate<u64> {
    let units = table.units(scale);
    match table {
        Table::PartSupp => Estimate::Exact(units * SUPPLIERS_PER_PART),
        Table::LineItem => {
            let known = KNOWN_LINES
                .iter()
                .find(|(factor, _)| *factor == scale.factor());
            match known {
                Some((_, lines)) => Estimate::Exact(*lines),
                None if units <= COUNTED_ORDERS => Estimate::Exact(table.rows_of(Piece {
                    scale,
                    index: 0,
                    count: 1,
                })),
                None => Estimate::About(units * LINES_PER_ORDER),
            }
        }
        _ => Estimate::Exact(units),
    }
}

/// Statistics of a table.
pub(crate) fn table(table: Table, scale: Scale) -> TableStatistics {
    let rows = rows(table, scale);
    let (Estimate::Exact(count) | Estimate::About(count)) = rows else {
        return TableStatistics::unknown();
    };
    let row_bytes: u64 = table
        .columns()
        .iter()
        .map(|(_, kind)| kind.bytes_per_value())
        .sum();
    TableStatistics {
        rows,
        bytes: Estimate::About(count * row_bytes),
        columns: table
            .columns()
            .iter()
            .map(|(name, kind)| column(name, *kind, scale, count))
            .collect(),
    }
}

/// A column's figures before they get the column's type: whole units, hundredths, or days.
struct Range {
    min: i64,
    max: i64,
    distinct: u64,
    proven: bool,
}

fn column(name: &str, kind: Kind, scale: Scale, rows: u64) -> ColumnStatistics {
    let mut known = ColumnStatistics {
        nulls: Estimate::Exact(0),
        ..ColumnStatistics::unknown()
    };
    if let Some(range) = range(name, scale, rows) {
        let estimate = |value: i64| {
            let value = typed(value, kind);
            if range.proven {
                Estimate::Exact(value)
            } else {
                Estimate::About(value)
            }
        };
        known.min = estimate(range.min);
        known.max = estimate(range.max);
        known.distinct = match range.proven {
            true => Estimate::Exact(range.distinct),
            false => Estimate::About(range.distinct.min(rows)),
        };
    } else if let Some(distinct) = distinct_texts(name) {
        known.distinct = Estimate::About(distinct.min(rows));
    } else if matches!(kind, Kind::Text(_)) {
        known.distinct = Estimate::About(rows);
    }
    known
}

fn typed(value: i64, kind: Kind) -> ScalarValue {
    match kind {
        Kind::Key => ScalarValue::Int64(Some(value)),
        // The ranges below fit by the specification.
        Kind::Integer => ScalarValue::Int32(i32::try_from(value).ok()),
        Kind::Date => ScalarValue::Date32(i32::try_from(value).ok()),
        Kind::Money => ScalarValue::Decimal128(Some(value.into()), MONEY_PRECISION, MONEY_SCALE),
        Kind::Text(_) => ScalarValue::Utf8View(None),
    }
}

/// Days from 1970-01-01 to 1992-01-01, the first date of the benchmark.
const FIRST_DATE: i64 = 8035;

fn range(name: &str, scale: Scale, rows: u64) -> Option<Range> {
    let count = |base| scale.rows(base);
    let proven = |min: u64, max: u64| Range {
        min: min as i64,
        max: max as i64,
        distinct: max - min + 1,
        proven: true,
    };
    let about = |min: i64, max: i64| Range {
        min,
        max,
        distinct: (max - min + 1) as u64,
        proven: false,
    };
    let order_keys = Range {
        min: OrderGenerator::make_order_key(1),
        max: OrderGenerator::make_order_key(count(ORDERS) as i64),
        distinct: count(ORDERS),
        proven: true,
    };
    Some(match name {
        "r_regionkey" => proven(0, 4),
        "n_nationkey" => proven(0, 24),
        "n_regionkey" => proven(0, 4),
        "s_suppkey" => proven(1, count(SUPPLIERS)),
        "c_custkey" => proven(1, count(CUSTOMERS)),
        "p_partkey" | "ps_partkey" => proven(1, count(PARTS)),
        "o_orderkey" | "l_orderkey" => order_keys,
        "s_nationkey" | "c_nationkey" => about(0, 24),
        "ps_suppkey" | "l_suppkey" => about(1, count(SUPPLIERS) as i64),
        "l_partkey" => about(1, count(PARTS) as i64),
        // A third of the customers never orders.
        "o_custkey" => {
            let customers = count(CUSTOMERS);
            Range {
                distinct: customers / 3 * 2,
                ..about(1, customers as i64)
            }
        }
        "o_shippriority" => about(0, 0),
        "p_size" => about(1, 50),
        "ps_availqty" => about(1, 9_999),
        "l_linenumber" => about(1, 7),
        "s_acctbal" | "c_acctbal" => about(-99_999, 999_999),
        "p_retailprice" => about(90_000, 209_900),
        "ps_supplycost" => about(100, 100_000),
        "o_totalprice" => Range {
            distinct: rows,
            ..about(80_000, 60_000_000)
        },
        "l_quantity" => Range {
            distinct: 50,
            ..about(100, 5_000)
        },
        "l_extendedprice" => Range {
            distinct: rows.min(1_000_000),
            ..about(90_000, 10_495_000)
        },
        "l_discount" => about(0, 10),
        "l_tax" => about(0, 8),
        "o_orderdate" => about(FIRST_DATE, FIRST_DATE + 2_405),
        "l_shipdate" => about(FIRST_DATE + 1, FIRST_DATE + 2_526),
        "l_commitdate" => about(FIRST_DATE + 30, FIRST_DATE + 2_495),
        "l_receiptdate" => about(FIRST_DATE + 2, FIRST_DATE + 2_556),
        _ => return None,
    })
}

fn distinct_texts(name: &str) -> Option<u64> {
    Some(match name {
        "r_name" | "r_comment" => 5,
        "n_name" | "n_comment" => 25,
        "c_mktsegment" | "p_mfgr" | "o_orderpriority" => 5,
        "p_brand" => 25,
        "p_type" => 150,
        "p_container" => 40,
        "o_orderstatus" | "l_returnflag" => 3,
        "l_linestatus" => 2,
        "l_shipinstruct" => 4,
        "l_shipmode" => 7,
        "o_clerk" => 1_000,
        _ => return None,
    })
}

/// Every table with its rows, in a few words for `sluice check`.
pub(crate) fn summary() -> String {
    format!("{} tables at any scale factor, generated", TABLES.len())
}
