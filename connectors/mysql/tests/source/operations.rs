//! Aggregates, joins, top-N at the source: the rows that the engine would compute.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt;
use sluice_spi::{
    AggregateCall, AggregateFunction, Aggregation, CompareOp, Connector, JoinKind, Operation,
    Output, Reason, ScalarExpr, SortKey, TableHandle, ValueType,
};

use crate::support::{catalog, lines, read_of, shared, table};

pub(crate) fn column(name: &str) -> ScalarExpr {
    ScalarExpr::Column(name.into())
}

pub(crate) fn output(from: &str, to: &str, data_type: DataType) -> Output {
    Output {
        expr: column(from),
        field: Arc::new(Field::new(to, data_type, true)),
    }
}

pub(crate) fn call(
    function: AggregateFunction,
    argument: Option<&str>,
    distinct: bool,
    result: DataType,
) -> Aggregation {
    Aggregation {
        call: AggregateCall {
            function,
            argument: argument.map(column),
            distinct,
            result: ValueType::of(&result),
        },
        field: Arc::new(Field::new(format!("{function}{distinct}"), result, true)),
    }
}

pub(crate) fn apply(
    catalog: &Arc<dyn Connector>,
    input: &TableHandle,
    operation: &Operation<'_>,
) -> Result<TableHandle, Reason> {
    catalog.pushdown().unwrap().apply(input, operation)
}

pub(crate) async fn rows_of(
    catalog: &Arc<dyn Connector>,
    handle: &TableHandle,
    schema: SchemaRef,
) -> Vec<String> {
    let all = (0..schema.fields().len()).collect();
    let stream = read_of(catalog, handle, schema, all, None).await.unwrap();
    lines(&stream.try_collect::<Vec<_>>().await.unwrap())
}

const TABLES: &str = "
CREATE OR REPLACE TABLE ops_orders (o_id int, o_c int, o_price decimal(10,2), o_day date, o_name varchar(9)) CHARACTER SET utf8mb4;
INSERT INTO ops_orders VALUES (1, 1, 1.50, '2020-01-01', 'a'), (2, 1, 2.25, '2020-01-02', 'A'), (3, 2, NULL, NULL, 'b'),
  (4, NULL, 7.00, '2020-01-02', NULL);
CREATE OR REPLACE TABLE ops_customers (c_id int, c_age tinyint); INSERT INTO ops_customers VALUES (1, 30), (2, 40), (2, 41), (3, NULL);";

#[tokio::test]
async fn groups_joins_and_order() {
    let server = shared();
    server.query(TABLES);
    let catalog = catalog(&server);
    let orders = table(&catalog, "ops_orders").await;
    let customers = table(&catalog, "ops_customers").await;

    let calls = [
        call(AggregateFunction::Count, None, false, DataType::Int64),
        call(AggregateFunction::Count, Some("o_c"), true, DataType::Int64),
        call(
            AggregateFunction::Sum,
            Some("o_price"),
            false,
            DataType::Decimal128(38, 2),
        ),
        call(AggregateFunction::Max, Some("o_id"), false, DataType::Int32),
    ];
    let groups = [output("o_day", "day", DataType::Date32)];
    let grouped = apply(
        &catalog,
        &orders.handle,
        &Operation::Aggregate {
            groups: &groups,
            calls: &calls,
        },
    )
    .unwrap();
    let schema: SchemaRef = Arc::new(Schema::new(
        groups
            .iter()
            .map(|g| g.field.clone())
            .chain(calls.iter().map(|c| c.field.clone()))
            .collect::<Vec<_>>(),
    ));
    assert_eq!(
        rows_of(&catalog, &grouped, schema.clone()).await,
        [
            "2020-01-01|1|1|1.50|1",
            "2020-01-02|2|1|9.25|4",
            "NULL|1|1|NULL|3"
        ]
    );
    let keys = [SortKey {
        expr: column("day"),
        descending: true,
        nulls_first: false,
    }];
    let top = apply(
        &catalog,
        &grouped,
        &Operation::TopN {
            keys: &keys,
            skip: 1,
            fetch: 5,
        },
    )
    .unwrap();
    assert_eq!(
        rows_of(&catalog, &top, schema).await,
        ["2020-01-01|1|1|1.50|1", "NULL|1|1|NULL|3"]
    );

    let on = [ScalarExpr::Compare {
        op: CompareOp::Eq,
        left: Box::new(column("o_c")),
        right: Box::new(column("c_id")),
    }];
    for (kind, expected) in [
        (JoinKind::Inner, vec!["1", "2", "3", "3"]),
        (JoinKind::Left, vec!["1", "2", "3", "3", "4"]),
        (JoinKind::Semi, vec!["1", "2", "3"]),
        (JoinKind::Anti, vec!["4"]),
    ] {
        let join = Operation::Join {
            right: &customers.handle,
            kind,
            on: &on,
        };
        let joined = apply(&catalog, &orders.handle, &join).unwrap();
        let mut fields = orders.arrow_schema().fields().to_vec();
        if matches!(kind, JoinKind::Inner | JoinKind::Left) {
            fields.extend(customers.arrow_schema().fields().to_vec());
        }
        let stream = read_of(
            &catalog,
            &joined,
            Arc::new(Schema::new(fields)),
            vec![0],
            None,
        )
        .await
        .unwrap();
        assert_eq!(
            lines(&stream.try_collect::<Vec<_>>().await.unwrap()),
            expected,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn whole_numbers_become_decimals_where_they_are_cast() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE ops_whole (i int, b bigint, n decimal(10,2));
         INSERT INTO ops_whole VALUES (-7, 9223372036854775807, 0.25), (NULL, NULL, NULL)",
    );
    let catalog = catalog(&server);
    let whole = table(&catalog, "ops_whole").await;
    let cast = |name: &str, to: ValueType| ScalarExpr::Cast {
        expr: Box::new(column(name)),
        to,
    };
    let decimal = |precision: u8, scale: i8| ValueType::Decimal { precision, scale };
    let times = |left: ScalarExpr, right: ScalarExpr, of: ValueType| ScalarExpr::Arithmetic {
        op: sluice_spi::ArithmeticOp::Multiply,
        left: Box::new(left),
        right: Box::new(right),
        of,
    };
    let computed = |name: &str, expr: ScalarExpr, of: ValueType| Output {
        expr,
        field: Arc::new(Field::new(name, of.data_type(), true)),
    };
    let (short, long) = (decimal(10, 0), decimal(19, 0));
    let outputs = [
        computed("cast", cast("i", short), short),
        computed("wide", cast("i", ValueType::Int64), ValueType::Int64),
        computed("scaled", cast("n", decimal(14, 4)), decimal(14, 4)),
        // As whole numbers these would overflow.
        computed(
            "square",
            times(cast("b", long), cast("b", long), decimal(38, 0)),
            decimal(38, 0),
        ),
        computed(
            "mixed",
            times(cast("i", short), column("n"), decimal(21, 2)),
            decimal(21, 2),
        ),
    ];
    let handle = apply(
        &catalog,
        &whole.handle,
        &Operation::Project { outputs: &outputs },
    )
    .unwrap();
    let fields: Vec<_> = outputs.iter().map(|output| output.field.clone()).collect();
    assert_eq!(
        rows_of(&catalog, &handle, Arc::new(Schema::new(fields))).await,
        [
            "-7|-7|0.2500|85070591730234615847396907784232501249|-1.75",
            "NULL|NULL|NULL|NULL|NULL"
        ]
    );
}

#[tokio::test]
async fn what_differs_at_the_source_is_refused_with_a_reason() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE ops_names (o_name varchar(9)) CHARACTER SET utf8mb4;
         CREATE OR REPLACE TABLE ops_floats (f double, i int, u int unsigned)",
    );
    let catalog = catalog(&server);
    let names = table(&catalog, "ops_names").await;
    let floats = table(&catalog, "ops_floats").await;
    let refused = |input: &TableHandle, operation: Operation<'_>| {
        apply(&catalog, input, &operation).unwrap_err().0
    };

    let by_name = [output("o_name", "n", DataType::Utf8View)];
    assert_eq!(
        refused(
            &names.handle,
            Operation::Aggregate {
                groups: &by_name,
                calls: &[]
            }
        ),
        "group by n: its collation takes different texts for equal"
    );
    let sum = [call(
        AggregateFunction::Sum,
        Some("f"),
        false,
        DataType::Float64,
    )];
    assert_eq!(
        refused(
            &floats.handle,
            Operation::Aggregate {
                groups: &[],
                calls: &sum
            }
        ),
        "sum: it is computed by the engine"
    );
    let keys = [SortKey {
        expr: column("o_name"),
        descending: false,
        nulls_first: false,
    }];
    assert_eq!(
        refused(
            &names.handle,
            Operation::TopN {
                keys: &keys,
                skip: 0,
                fetch: 3
            }
        ),
        "text is sorted by the engine"
    );
    let plus = |of: ValueType, name: &str| Output {
        expr: ScalarExpr::Arithmetic {
            op: sluice_spi::ArithmeticOp::Add,
            left: Box::new(column(name)),
            right: Box::new(column(name)),
            of,
        },
        field: Arc::new(Field::new("s", of.data_type(), true)),
    };
    assert_eq!(
        refused(
            &floats.handle,
            Operation::Project {
                outputs: &[plus(ValueType::Int32, "i")]
            }
        ),
        "integer overflow is no error at the source"
    );
    assert_eq!(
        refused(
            &floats.handle,
            Operation::Project {
                outputs: &[plus(ValueType::Int64, "u")]
            }
        ),
        "a negative result of unsigned numbers is an error at the source"
    );
}

/// The least of an unsigned column is unsigned still: a difference below zero would be an error at the source.
#[tokio::test]
async fn the_least_of_unsigned_numbers_is_unsigned() {
    let server = shared();
    server.query("CREATE OR REPLACE TABLE ops_unsigned (u int unsigned); INSERT INTO ops_unsigned VALUES (3)");
    let catalog = catalog(&server);
    let numbers = table(&catalog, "ops_unsigned").await;
    let least = [call(
        AggregateFunction::Min,
        Some("u"),
        false,
        DataType::Int64,
    )];
    let operation = Operation::Aggregate {
        groups: &[],
        calls: &least,
    };
    let least = apply(&catalog, &numbers.handle, &operation).unwrap();
    let name = least.relation.columns()[0].name.clone();
    let below = Output {
        expr: ScalarExpr::Arithmetic {
            op: sluice_spi::ArithmeticOp::Subtract,
            left: Box::new(column(&name)),
            right: Box::new(ScalarExpr::Literal(sluice_spi::Literal::Int(5))),
            of: ValueType::Int64,
        },
        field: Arc::new(Field::new("below", DataType::Int64, true)),
    };
    let outputs = std::slice::from_ref(&below);
    let refused = apply(&catalog, &least, &Operation::Project { outputs }).unwrap_err();
    assert_eq!(
        refused.0,
        "a negative result of unsigned numbers is an error at the source"
    );
}
