//! Statements as they are sent.

use sluice_spi::{CompareOp, Literal};

use super::*;
use crate::config::ZeroDates;
use crate::types::{Charset, TextType};

fn column(name: &str) -> RelColumn {
    RelColumn {
        name: name.into(),
        native_type: String::new(),
        collation: None,
        deterministic: true,
        nullable: true,
    }
}

fn text(by_bytes: bool, charset: Charset) -> ColumnType {
    ColumnType::Text(TextType {
        length: Some(10),
        charset,
        by_bytes,
        by_code_points: by_bytes,
        is_long: false,
        is_label: false,
    })
}

fn table(name: &str, columns: &[&str]) -> Relation {
    Relation::Scan {
        schema: "shop".into(),
        table: name.into(),
        columns: columns.iter().map(|name| column(name)).collect(),
    }
}

fn facts(columns: Vec<ColumnType>) -> Facts {
    Facts {
        columns,
        unique: vec![vec!["id".into()]],
        zero_dates: ZeroDates::Error,
        split_by: None,
        leaves: Vec::new(),
    }
}

fn items() -> (Relation, Facts) {
    (
        table("it`ems", &["id", "name", "code", "old"]),
        facts(vec![
            ColumnType::Int32,
            text(false, Charset::Utf8mb4),
            text(true, Charset::Utf8mb4),
            text(false, Charset::Latin1),
        ]),
    )
}

fn compare(op: CompareOp, name: &str, literal: Literal) -> ScalarExpr {
    ScalarExpr::Compare {
        op,
        left: Box::new(ScalarExpr::Column(name.into())),
        right: Box::new(ScalarExpr::Literal(literal)),
    }
}

fn equal(left: &str, right: &str) -> ScalarExpr {
    ScalarExpr::Compare {
        op: CompareOp::Eq,
        left: Box::new(ScalarExpr::Column(left.into())),
        right: Box::new(ScalarExpr::Column(right.into())),
    }
}

#[track_caller]
fn check(
    relation: &Relation,
    facts: &Facts,
    projection: &[usize],
    limit: Option<usize>,
    expected: &str,
) {
    let query = Query {
        relation,
        facts,
        projection,
        limit,
        range: None,
    };
    let sql = select(&query, Constants::Inline).map(|sql| sql.text);
    assert_eq!(sql.as_deref(), Some(expected));
}

#[test]
fn text_is_compared_by_its_bytes_and_found_by_its_index() {
    let (relation, facts) = items();
    let filtered = |predicate| relation.filtered(vec![predicate]);
    let word = |text: &str| Literal::Text(text.into());
    for (predicate, sql) in [
        (
            compare(CompareOp::Eq, "name", word("a")),
            "(`name` = 'a' AND CAST(`name` AS BINARY) = x'61')",
        ),
        (
            compare(CompareOp::NotEq, "name", word("a")),
            "CAST(`name` AS BINARY) <> x'61'",
        ),
        (
            compare(CompareOp::Lt, "old", word("O'")),
            "CAST(CONVERT(`old` USING utf8mb4) AS BINARY) < x'4f27'",
        ),
        (compare(CompareOp::Eq, "code", word("a")), "`code` = 'a'"),
        (
            ScalarExpr::InList {
                expr: Box::new(ScalarExpr::Column("name".into())),
                list: vec![word("a"), word("é")],
                negated: false,
            },
            "(`name` IN ('a', _utf8mb4 x'c3a9') AND CAST(`name` AS BINARY) IN (x'61', x'c3a9'))",
        ),
        (
            ScalarExpr::Like {
                expr: Box::new(ScalarExpr::Column("name".into())),
                pattern: r"50\%%".into(),
                escape: Some('\\'),
                negated: false,
                case_insensitive: false,
            },
            "CONVERT(`name` USING utf8mb4) COLLATE utf8mb4_bin LIKE '50|%%' ESCAPE '|'",
        ),
    ] {
        check(
            &filtered(predicate),
            &facts,
            &[0],
            None,
            &format!("SELECT `id` FROM `shop`.`it``ems` WHERE {sql}"),
        );
    }
}

#[test]
fn parameters_stand_in_the_order_of_the_text() {
    let (relation, facts) = items();
    let relation = relation.filtered(vec![
        compare(CompareOp::Eq, "name", Literal::Text("a".into())),
        compare(CompareOp::Eq, "id", Literal::Int(7)),
    ]);
    let query = Query {
        relation: &relation,
        facts: &facts,
        projection: &[0],
        limit: Some(3),
        range: None,
    };
    let sql = select(&query, Constants::Parameters).unwrap();
    assert_eq!(
        sql.text,
        "SELECT `id` FROM `shop`.`it``ems` WHERE (`name` = ? AND CAST(`name` AS BINARY) = CAST(? AS BINARY)) \
         AND `id` = ? LIMIT 3"
    );
    assert_eq!(
        sql.parameters,
        [Value::from("a"), Value::from("a"), Value::from(7)]
    );
    assert!(facts.is_key_lookup(&relation));
}

#[test]
fn rows_are_counted_at_the_source() {
    let (relation, facts) = items();
    check(
        &relation,
        &facts,
        &[],
        None,
        "SELECT count(*) FROM `shop`.`it``ems`",
    );
    check(
        &relation,
        &facts,
        &[],
        Some(5),
        "SELECT count(*) FROM (SELECT `id` AS `c0` FROM `shop`.`it``ems` LIMIT 5) AS `t1`",
    );
}

#[test]
fn operations_nest() {
    let orders = table("orders", &["id", "customer", "day"]);
    let customers = table("customers", &["c_id", "c_age"]);
    let join = |kind| {
        let (left, right) = (orders.clone(), customers.clone());
        Relation::Join {
            kind,
            columns: JoinKind::columns(kind, left.columns(), right.columns()),
            left: Box::new(left),
            right: Box::new(right.filtered(vec![compare(
                CompareOp::Gt,
                "c_age",
                Literal::Int(30),
            )])),
            on: vec![equal("customer", "c_id")],
        }
    };
    let leaves = vec![
        vec![ColumnType::Int32, ColumnType::Int32, ColumnType::Date],
        vec![ColumnType::Int32, ColumnType::Int8],
    ];
    let all = |columns: Vec<ColumnType>| Facts {
        leaves: leaves.clone(),
        ..facts(columns)
    };
    let both = all(leaves.concat());
    check(
        &join(JoinKind::Inner),
        &both,
        &[0, 4],
        None,
        "SELECT `t1`.`id`, `t2`.`c_age` FROM `shop`.`orders` AS `t1` JOIN `shop`.`customers` AS `t2` \
         ON `t1`.`customer` = `t2`.`c_id` WHERE `t2`.`c_age` > 30",
    );
    check(
        &join(JoinKind::Left),
        &both,
        &[0],
        None,
        "SELECT `t1`.`id` FROM `shop`.`orders` AS `t1` LEFT JOIN (SELECT `t2`.`c_id` AS `c0`, \
         `t2`.`c_age` AS `c1` FROM `shop`.`customers` AS `t2` WHERE `t2`.`c_age` > 30) AS `t3` \
         ON `t1`.`customer` = `t3`.`c0`",
    );
    check(
        &join(JoinKind::Anti),
        &all(leaves[0].clone()),
        &[0],
        None,
        "SELECT `t1`.`id` FROM `shop`.`orders` AS `t1` WHERE NOT EXISTS (SELECT 1 FROM \
         `shop`.`customers` AS `t2` WHERE `t2`.`c_age` > 30 AND `t1`.`customer` = `t2`.`c_id`)",
    );
    let grouped = Relation::Aggregate {
        input: Box::new(join(JoinKind::Inner)),
        groups: vec![ScalarExpr::Column("day".into())],
        calls: vec![
            AggregateCall {
                function: AggregateFunction::Count,
                argument: None,
                distinct: false,
                result: Some(ValueType::Int64),
            },
            AggregateCall {
                function: AggregateFunction::Sum,
                argument: Some(ScalarExpr::Column("c_age".into())),
                distinct: false,
                result: Some(ValueType::Int64),
            },
        ],
        columns: vec![column("day"), column("n"), column("s")],
    };
    let types = vec![ColumnType::Date, ColumnType::Int64, ColumnType::Int64];
    let inner = "FROM `shop`.`orders` AS `t1` JOIN `shop`.`customers` AS `t2` \
                 ON `t1`.`customer` = `t2`.`c_id` WHERE `t2`.`c_age` > 30 GROUP BY `t1`.`day`";
    check(
        &grouped,
        &all(types.clone()),
        &[1],
        None,
        &format!("SELECT count(*) {inner}"),
    );
    let top = Relation::TopN {
        input: Box::new(grouped),
        keys: vec![SortKey {
            expr: ScalarExpr::Column("s".into()),
            descending: true,
            nulls_first: true,
        }],
        skip: 2,
        fetch: 5,
    };
    check(
        &top,
        &all(types),
        &[0, 2],
        None,
        &format!(
            "SELECT `t3`.`c0`, `t3`.`c2` FROM (SELECT `t1`.`day` AS `c0`, count(*) AS `c1`, \
             CAST(sum(`t2`.`c_age`) AS SIGNED) AS `c2` {inner}) AS `t3` \
             ORDER BY `t3`.`c2` IS NULL DESC, `t3`.`c2` DESC LIMIT 5 OFFSET 2"
        ),
    );
}

#[test]
fn each_row_once_means_all_of_its_columns() {
    let relation = Relation::Distinct {
        input: Box::new(table("orders", &["id", "customer"])),
    };
    let types = vec![ColumnType::Int32, ColumnType::Int32];
    let facts = Facts {
        leaves: vec![types.clone()],
        ..facts(types)
    };
    check(
        &relation,
        &facts,
        &[0, 1],
        None,
        "SELECT DISTINCT `t1`.`id`, `t1`.`customer` FROM `shop`.`orders` AS `t1`",
    );
    let derived = "FROM (SELECT DISTINCT `t1`.`id` AS `c0`, `t1`.`customer` AS `c1` \
                   FROM `shop`.`orders` AS `t1`) AS `t2`";
    check(
        &relation,
        &facts,
        &[1],
        None,
        &format!("SELECT `t2`.`c1` {derived}"),
    );
    check(
        &relation,
        &facts,
        &[],
        None,
        &format!("SELECT count(*) {derived}"),
    );
}

#[test]
fn what_is_not_known_is_not_written() {
    let (relation, facts) = items();
    for predicate in [
        compare(CompareOp::Eq, "id", Literal::Text("7".into())),
        compare(CompareOp::Eq, "old", Literal::Text("日".into())),
        compare(CompareOp::Eq, "gone", Literal::Int(1)),
        ScalarExpr::Column("id".into()),
        ScalarExpr::Or(vec![]),
    ] {
        assert!(
            predicate_bytes(&predicate, relation.columns(), &facts.columns).is_none(),
            "{predicate:?}"
        );
    }
}
