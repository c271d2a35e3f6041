//! The eight tables: names, columns, keys, row counts, and how a piece of each is generated.
//!
//! Relies on `tpchgen`, which makes the very rows that the TPC's dbgen makes, in pieces that start
//! anywhere at the same cost.

use std::sync::{LazyLock, OnceLock};

use sluice_spi::Result;
use tpchgen::distribution::Distributions;
use tpchgen::generators::{
    Customer, CustomerGenerator, LineItem, LineItemGenerator, Nation, NationGenerator, Order,
    OrderGenerator, Part, PartGenerator, PartSupp, PartSuppGenerator, Region, RegionGenerator,
    Supplier, SupplierGenerator,
};
use tpchgen::text::TextPool;

use crate::column::{Column, ColumnSource, Kind, Spread};
use crate::comments::{NATION_COMMENTS, REGION_COMMENTS};
use crate::scale::Scale;

/// Rows at scale factor 1.
pub(crate) const SUPPLIERS: u64 = 10_000;
pub(crate) const PARTS: u64 = 200_000;
pub(crate) const CUSTOMERS: u64 = 150_000;
pub(crate) const ORDERS: u64 = 1_500_000;

/// Suppliers of each part.
pub(crate) const SUPPLIERS_PER_PART: u64 = 4;

/// Lines of an order, in the mean (1 to 7, each as often).
pub(crate) const LINES_PER_ORDER: u64 = 4;

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Region,
    Nation,
    Supplier,
    Customer,
    Part,
    PartSupp,
    Orders,
    LineItem,
}

/// All of them, small ones first.
pub(crate) const TABLES: [Table; 8] = [
    Table::Region,
    Table::Nation,
    Table::Supplier,
    Table::Customer,
    Table::Part,
    Table::PartSupp,
    Table::Orders,
    Table::LineItem,
];

/// One of `count` pieces of a table, counted from 0. Pieces hold equal numbers of [`Table::units`]; the
/// last one takes the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) scale: Scale,
    pub(crate) index: i32,
    pub(crate) count: i32,
}

impl Table {
    pub(crate) fn from_name(name: &str) -> Option<Table> {
        TABLES.into_iter().find(|table| table.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Region => "region",
            Table::Nation => "nation",
            Table::Supplier => "supplier",
            Table::Customer => "customer",
            Table::Part => "part",
            Table::PartSupp => "partsupp",
            Table::Orders => "orders",
            Table::LineItem => "lineitem",
        }
    }

    pub(crate) fn primary_key(self) -> &'static [&'static str] {
        match self {
            Table::Region => &["r_regionkey"],
            Table::Nation => &["n_nationkey"],
            Table::Supplier => &["s_suppkey"],
            Table::Customer => &["c_custkey"],
            Table::Part => &["p_partkey"],
            Table::PartSupp => &["ps_partkey", "ps_suppkey"],
            Table::Orders => &["o_orderkey"],
            Table::LineItem => &["l_orderkey", "l_linenumber"],
        }
    }

    /// What the table is cut by: its rows, but parts for `partsupp` and orders for `lineitem`, so that
    /// the same piece of `orders` and `lineitem` holds the same orders.
    pub(crate) fn units(self, scale: Scale) -> u64 {
        match self {
            Table::Region => REGION_COMMENTS.len() as u64,
            Table::Nation => NATION_COMMENTS.len() as u64,
            Table::Supplier => scale.rows(SUPPLIERS),
            Table::Customer => scale.rows(CUSTOMERS),
            Table::Part | Table::PartSupp => scale.rows(PARTS),
            Table::Orders | Table::LineItem => scale.rows(ORDERS),
        }
    }

    /// Units of a piece.
    fn units_of(self, piece: Piece) -> u64 {
        let all = self.units(piece.scale);
        let count = u64::from(piece.count.unsigned_abs());
        let last = piece.index + 1 == piece.count;
        all / count + if last { all % count } else { 0 }
    }

    /// Rows of a piece, counted without generating them.
    pub(crate) fn rows_of(self, piece: Piece) -> u64 {
        let units = self.units_of(piece);
        match self {
            Table::PartSupp => units * SUPPLIERS_PER_PART,
            Table::LineItem => {
                let before = self.units(piece.scale) / u64::from(piece.count.unsigned_abs());
                let mut lines = OrderGenerator::create_line_count_random();
                lines.advance_rows((before * piece.index.unsigned_abs() as u64) as i64);
                (0..units)
                    .map(|_| {
                        let count = lines.next_value();
                        lines.row_finished();
                        count.unsigned_abs() as u64
                    })
                    .sum()
            }
            _ => units,
        }
    }

    /// Names and types of the columns.
    pub(crate) fn columns(self) -> &'static [(&'static str, Kind)] {
        static COLUMNS: LazyLock<Vec<Vec<(&'static str, Kind)>>> =
            LazyLock::new(|| TABLES.iter().map(|table| table.make_columns()).collect());
        &COLUMNS[self as usize]
    }

    fn make_columns(self) -> Vec<(&'static str, Kind)> {
        fn of<R>(columns: Vec<Column<R>>) -> Vec<(&'static str, Kind)> {
            columns
                .into_iter()
                .map(|column| (column.name, column.kind))
                .collect()
        }
        match self {
            Table::Region => of(region()),
            Table::Nation => of(nation()),
            Table::Supplier => of(supplier()),
            Table::Customer => of(customer()),
            Table::Part => of(part()),
            Table::PartSupp => of(partsupp()),
            Table::Orders => of(orders()),
            Table::LineItem => of(lineitem()),
        }
    }

    /// True where a projected column is cut out of the pool of text.
    pub(crate) fn needs_text(self, projection: &[usize]) -> bool {
        // Regions and nations have theirs written down.
        !matches!(self, Table::Region | Table::Nation)
            && projection
                .iter()
                .filter_map(|&index| self.columns().get(index))
                .any(|(name, _)| name.ends_with("_comment"))
    }

    /// Generates a piece.
    pub(crate) fn open(self, piece: Piece, projection: &[usize]) -> Result<Box<dyn ColumnSource>> {
        let text = if self.needs_text(projection) {
            TextPool::get_or_init_default()
        } else {
            unread_text()
        };
        let words = Distributions::static_default();
        let (scale, index, count) = (piece.scale.factor(), piece.index + 1, piece.count);
        macro_rules! spread {
            ($generator:ident, $columns:expr) => {
                Box::new(Spread::new(
                    $generator::new_with_distributions_and_text_pool(
                        scale, index, count, words, text,
                    )
                    .iter(),
                    $columns,
                    projection,
                )?)
            };
        }
        Ok(match self {
            Table::Region => Box::new(Spread::new(
                RegionGenerator::new_with_distributions_and_text_pool(words, text).iter(),
                region(),
                projection,
            )?),
            Table::Nation => Box::new(Spread::new(
                NationGenerator::new_with_distributions_and_text_pool(words, text).iter(),
                nation(),
                projection,
            )?),
            Table::Supplier => spread!(SupplierGenerator, supplier()),
            Table::Customer => spread!(CustomerGenerator, customer()),
            Table::Part => spread!(PartGenerator, part()),
            Table::PartSupp => Box::new(Spread::new(
                PartSuppGenerator::new_with_text_pool(scale, index, count, text).iter(),
                partsupp(),
                projection,
            )?),
            Table::Orders => spread!(OrderGenerator, orders()),
            Table::LineItem => spread!(LineItemGenerator, lineitem()),
        })
    }
}

/// A short pool of text for reads that return no comment. The generator draws each column from its own
/// random numbers, so the pool's size changes nothing else; the real one takes a second and 300 MiB.
fn unread_text() -> &'static TextPool {
    /// More than the longest comment.
    const BYTES: i32 = 16 * 1024;
    static POOL: OnceLock<TextPool> = OnceLock::new();
    POOL.get_or_init(|| TextPool::new(BYTES, Distributions::static_default()))
}

fn region() -> Vec<Column<Region<'static>>> {
    vec![
        Column::key("r_regionkey", |r| r.r_regionkey),
        Column::text("r_name", 25, |r| r.r_name),
        Column::text("r_comment", 152, |r| {
            REGION_COMMENTS[r.r_regionkey as usize]
        }),
    ]
}

fn nation() -> Vec<Column<Nation<'static>>> {
    vec![
        Column::key("n_nationkey", |r| r.n_nationkey),
        Column::text("n_name", 25, |r| r.n_name),
        Column::key("n_regionkey", |r| r.n_regionkey),
        Column::text("n_comment", 152, |r| {
            NATION_COMMENTS[r.n_nationkey as usize]
        }),
    ]
}

fn supplier() -> Vec<Column<Supplier>> {
    vec![
        Column::key("s_suppkey", |r| r.s_suppkey),
        Column::printed("s_name", 25, |r| &r.s_name),
        Column::printed("s_address", 40, |r| &r.s_address),
        Column::key("s_nationkey", |r| r.s_nationkey),
        Column::printed("s_phone", 15, |r| &r.s_phone),
        Column::money("s_acctbal", |r| r.s_acctbal.0),
        Column::text("s_comment", 101, |r| &r.s_comment),
    ]
}

fn customer() -> Vec<Column<Customer<'static>>> {
    vec![
        Column::key("c_custkey", |r| r.c_custkey),
        Column::printed("c_name", 25, |r| &r.c_name),
        Column::printed("c_address", 40, |r| &r.c_address),
        Column::key("c_nationkey", |r| r.c_nationkey),
        Column::printed("c_phone", 15, |r| &r.c_phone),
        Column::money("c_acctbal", |r| r.c_acctbal.0),
        Column::text("c_mktsegment", 10, |r| r.c_mktsegment),
        Column::text("c_comment", 117, |r| r.c_comment),
    ]
}

fn part() -> Vec<Column<Part<'static>>> {
    vec![
        Column::key("p_partkey", |r| r.p_partkey),
        Column::printed("p_name", 55, |r| &r.p_name),
        Column::printed("p_mfgr", 25, |r| &r.p_mfgr),
        Column::printed("p_brand", 10, |r| &r.p_brand),
        Column::text("p_type", 25, |r| r.p_type),
        Column::integer("p_size", |r| r.p_size),
        Column::text("p_container", 10, |r| r.p_container),
        Column::money("p_retailprice", |r| r.p_retailprice.0),
        Column::text("p_comment", 23, |r| r.p_comment),
    ]
}

fn partsupp() -> Vec<Column<PartSupp<'static>>> {
    vec![
        Column::key("ps_partkey", |r| r.ps_partkey),
        Column::key("ps_suppkey", |r| r.ps_suppkey),
        Column::integer("ps_availqty", |r| r.ps_availqty),
        Column::money("ps_supplycost", |r| r.ps_supplycost.0),
        Column::text("ps_comment", 199, |r| r.ps_comment),
    ]
}

fn orders() -> Vec<Column<Order<'static>>> {
    vec![
        Column::key("o_orderkey", |r| r.o_orderkey),
        Column::key("o_custkey", |r| r.o_custkey),
        Column::text("o_orderstatus", 1, |r| r.o_orderstatus.as_str()),
        Column::money("o_totalprice", |r| r.o_totalprice.0),
        Column::date("o_orderdate", |r| r.o_orderdate.to_unix_epoch()),
        Column::text("o_orderpriority", 15, |r| r.o_orderpriority),
        Column::printed("o_clerk", 15, |r| &r.o_clerk),
        Column::integer("o_shippriority", |r| r.o_shippriority),
        Column::text("o_comment", 79, |r| r.o_comment),
    ]
}

fn lineitem() -> Vec<Column<LineItem<'static>>> {
    vec![
        Column::key("l_orderkey", |r| r.l_orderkey),
        Column::key("l_partkey", |r| r.l_partkey),
        Column::key("l_suppkey", |r| r.l_suppkey),
        Column::integer("l_linenumber", |r| r.l_linenumber),
        // The generator counts pieces; the benchmark's column is a decimal.
        Column::money("l_quantity", |r| r.l_quantity * 100),
        Column::money("l_extendedprice", |r| r.l_extendedprice.0),
        Column::money("l_discount", |r| r.l_discount.0),
        Column::money("l_tax", |r| r.l_tax.0),
        Column::text("l_returnflag", 1, |r| r.l_returnflag),
        Column::text("l_linestatus", 1, |r| r.l_linestatus),
        Column::date("l_shipdate", |r| r.l_shipdate.to_unix_epoch()),
        Column::date("l_commitdate", |r| r.l_commitdate.to_unix_epoch()),
        Column::date("l_receiptdate", |r| r.l_receiptdate.to_unix_epoch()),
        Column::text("l_shipinstruct", 25, |r| r.l_shipinstruct),
        Column::text("l_shipmode", 10, |r| r.l_shipmode),
        Column::text("l_comment", 44, |r| r.l_comment),
    ]
}
