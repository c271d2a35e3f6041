//! What is written for which relation.

use sluice_spi::{
    AggregateCall, AggregateFunction, CompareOp, JoinKind, Literal, SortKey, ValueType,
};

use super::*;

fn column(name: &str, collation: Option<&str>) -> RelColumn {
    RelColumn {
        name: name.into(),
        native_type: String::new(),
        collation: collation.map(str::to_owned),
        deterministic: true,
        nullable: true,
    }
}

fn table() -> (Relation, Facts) {
    let columns = vec![
        column("id", None),
        column("na\"me", Some("en_US")),
        column("address", None),
    ];
    let facts = Facts {
        columns: vec![ColumnType::Int4, ColumnType::Text, ColumnType::AsOutput],
        unique: vec![vec!["id".into()]],
        utf8: true,
        leaves: Vec::new(),
    };
    (
        Relation::Scan {
            schema: "public".into(),
            table: "t".into(),
            columns,
        },
        facts,
    )
}

fn compare(op: CompareOp, name: &str, literal: Literal) -> ScalarExpr {
    ScalarExpr::Compare {
        op,
        left: Box::new(ScalarExpr::Column(name.into())),
        right: Box::new(ScalarExpr::Literal(literal)),
    }
}

#[test]
fn a_scan_with_filters_and_a_limit() {
    let (relation, facts) = table();
    let relation = relation.filtered(vec![
        compare(CompareOp::Eq, "id", Literal::Int(7)),
        compare(CompareOp::Lt, "na\"me", Literal::Text("O'Hara".into())),
    ]);
    assert!(facts.is_key_lookup(&relation));
    let sql = select(&relation, &facts, &[1, 2], Some(3), Constants::Inline).unwrap();
    assert_eq!(
        sql.text,
        "SELECT \"na\"\"me\", CASE WHEN \"address\" IS NULL THEN NULL ELSE format('%s', \"address\") END \
         FROM \"public\".\"t\" WHERE \"id\" = '7'::int4 AND \"na\"\"me\" COLLATE \"C\" < 'O''Hara'::text LIMIT 3"
    );
    let sql = select(&relation, &facts, &[0], None, Constants::Parameters).unwrap();
    assert_eq!(
        sql.text,
        "SELECT \"id\" FROM \"public\".\"t\" WHERE \"id\" = $1::int4 AND \"na\"\"me\" COLLATE \"C\" < $2::text"
    );
    assert_eq!(sql.parameters, ["7", "O'Hara"]);
}

#[test]
fn rows_are_counted_at_the_source() {
    let (relation, facts) = table();
    let count = |limit| {
        select(&relation, &facts, &[], limit, Constants::Inline)
            .unwrap()
            .text
    };
    assert_eq!(count(None), "SELECT count(*) FROM \"public\".\"t\"");
    assert_eq!(
        count(Some(5)),
        "SELECT count(*) FROM (SELECT FROM \"public\".\"t\" LIMIT 5) AS \"q\""
    );
}

#[test]
fn what_is_not_known_is_not_written() {
    let (relation, facts) = table();
    for predicate in [
        compare(CompareOp::Eq, "id", Literal::Text("7".into())),
        compare(CompareOp::Eq, "address", Literal::Text("::1".into())),
        compare(CompareOp::Eq, "gone", Literal::Int(1)),
        ScalarExpr::Column("id".into()),
        ScalarExpr::Or(vec![]),
    ] {
        assert!(
            !can_render(&predicate, relation.columns(), &facts.columns),
            "{predicate:?}"
        );
    }
}

fn named(name: &str) -> ScalarExpr {
    ScalarExpr::Column(name.into())
}

fn numbers(table: &str, names: &[&str]) -> Relation {
    Relation::Scan {
        schema: "s".into(),
        table: table.into(),
        columns: names.iter().map(|name| column(name, None)).collect(),
    }
}

/// The whole relation, whose leaves have integers only.
fn written(relation: &Relation) -> String {
    let leaves: Vec<Vec<ColumnType>> = relation
        .leaves()
        .iter()
        .map(|leaf| vec![ColumnType::Int4; leaf.columns().len()])
        .collect();
    let facts = Facts {
        columns: types_of(relation, &leaves).expect("it can be written"),
        unique: Vec::new(),
        utf8: true,
        leaves,
    };
    let all: Vec<usize> = (0..facts.columns.len()).collect();
    select(relation, &facts, &all, None, Constants::Inline)
        .expect("it can be written")
        .text
}

fn join(kind: JoinKind, left: Relation, right: Relation, on: Vec<ScalarExpr>) -> Relation {
    Relation::Join {
        kind,
        columns: kind.columns(left.columns(), right.columns()),
        left: Box::new(left),
        right: Box::new(right),
        on,
    }
}

fn equal(left: &str, right: &str) -> ScalarExpr {
    ScalarExpr::Compare {
        op: CompareOp::Eq,
        left: Box::new(named(left)),
        right: Box::new(named(right)),
    }
}

fn counted(input: Relation, group: &str) -> Relation {
    Relation::Aggregate {
        input: Box::new(input),
        groups: vec![named(group)],
        calls: vec![AggregateCall {
            function: AggregateFunction::Count,
            argument: None,
            distinct: false,
            result: Some(ValueType::Int64),
        }],
        columns: vec![column(group, None), column("n", None)],
    }
}

#[test]
fn inner_joins_and_aggregates_are_one_select() {
    let small =
        numbers("a", &["a", "b"]).filtered(vec![compare(CompareOp::Gt, "b", Literal::Int(1))]);
    let relation = join(
        JoinKind::Inner,
        small,
        numbers("c", &["c", "d"]),
        vec![equal("a", "c")],
    );
    let top = Relation::TopN {
        input: Box::new(counted(relation, "d")),
        keys: vec![SortKey {
            expr: named("n"),
            descending: true,
            nulls_first: true,
        }],
        skip: 2,
        fetch: 5,
    };
    assert_eq!(
        written(&top),
        "SELECT \"t2\".\"d\", count(*) FROM \"s\".\"a\" AS \"t1\" JOIN \"s\".\"c\" AS \"t2\" \
         ON \"t1\".\"a\" = \"t2\".\"c\" WHERE \"t1\".\"b\" > '1'::int4 GROUP BY \"t2\".\"d\" \
         ORDER BY count(*) DESC NULLS FIRST LIMIT 5 OFFSET 2"
    );
}

#[test]
fn what_a_left_join_may_fill_with_null_is_computed_below_it() {
    let right =
        numbers("c", &["c", "d"]).filtered(vec![compare(CompareOp::Eq, "d", Literal::Int(1))]);
    let relation = join(
        JoinKind::Left,
        numbers("a", &["a"]),
        right,
        vec![equal("a", "c")],
    );
    assert_eq!(
        written(&relation),
        "SELECT \"t1\".\"a\", \"t3\".\"c\", \"t3\".\"d\" FROM \"s\".\"a\" AS \"t1\" LEFT JOIN \
         (SELECT \"t2\".\"c\", \"t2\".\"d\" FROM \"s\".\"c\" AS \"t2\" WHERE \"t2\".\"d\" = '1'::int4) AS \"t3\" \
         ON \"t1\".\"a\" = \"t3\".\"c\""
    );
}

#[test]
fn existence_is_a_filter_and_a_filter_on_groups_a_subquery() {
    let relation = join(
        JoinKind::Anti,
        numbers("a", &["a"]),
        counted(numbers("c", &["c"]), "c").filtered(vec![compare(
            CompareOp::Gt,
            "n",
            Literal::Int(3),
        )]),
        vec![equal("a", "c")],
    );
    assert_eq!(
        written(&relation),
        "SELECT \"t1\".\"a\" FROM \"s\".\"a\" AS \"t1\" WHERE NOT EXISTS (SELECT FROM (SELECT \"t2\".\"c\", \
         count(*) AS \"n\" FROM \"s\".\"c\" AS \"t2\" GROUP BY \"t2\".\"c\") AS \"t3\" \
         WHERE \"t3\".\"n\" > '3'::int8 AND \"t1\".\"a\" = \"t3\".\"c\")"
    );
}

#[test]
fn a_union_has_the_first_branches_names() {
    let relation = Relation::Distinct {
        input: Box::new(Relation::Union {
            inputs: vec![numbers("a", &["a"]), numbers("c", &["c"])],
            columns: vec![column("a", None)],
        }),
    };
    assert_eq!(
        written(&relation),
        "SELECT DISTINCT \"a\" FROM ((SELECT \"a\" FROM \"s\".\"a\") UNION ALL \
         (SELECT \"c\" AS \"a\" FROM \"s\".\"c\")) AS \"t1\""
    );
}

#[test]
fn a_long_list_is_one_array() {
    let (relation, facts) = table();
    let list = |name: &str, list: Vec<Literal>, negated| ScalarExpr::InList {
        expr: Box::new(ScalarExpr::Column(name.into())),
        list,
        negated,
    };
    let sql = |predicate, constants| {
        let relation = relation.filtered(vec![predicate]);
        select(&relation, &facts, &[0], None, constants).unwrap()
    };
    let numbers: Vec<Literal> = (0..17).map(|n| Literal::Int(n - 1)).collect();
    assert_eq!(
        sql(list("id", numbers.clone(), false), Constants::Inline).text,
        "SELECT \"id\" FROM \"public\".\"t\" WHERE \"id\" = ANY \
         ('{-1,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}'::int4[])"
    );
    let parameters = sql(list("id", numbers, true), Constants::Parameters);
    assert!(parameters.text.ends_with("\"id\" <> ALL ($1::int4[])"));
    assert_eq!(parameters.parameters.len(), 1);
    let words: Vec<Literal> = (0..17)
        .map(|n| Literal::Text(["NULL", "it's", "a\"b\\", "{x,y}", ""][n % 5].to_owned()))
        .collect();
    let text = sql(list("na\"me", words, false), Constants::Inline).text;
    assert!(
        text.contains(r#"= ANY ('{"NULL","it''s","a\"b\\","{x,y}","","NULL","#),
        "{text}"
    );
}

#[test]
fn a_column_that_is_left_out_takes_its_constants_along() {
    let relation = Relation::Project {
        input: Box::new(numbers("a", &["a"]).filtered(vec![compare(
            CompareOp::Gt,
            "a",
            Literal::Int(1),
        )])),
        exprs: vec![
            ScalarExpr::Case {
                branches: vec![(compare(CompareOp::Eq, "a", Literal::Int(7)), named("a"))],
                otherwise: None,
                of: ValueType::Int32,
            },
            named("a"),
        ],
        columns: vec![column("made", None), column("a", None)],
    };
    let facts = Facts {
        columns: vec![ColumnType::Int4; 2],
        leaves: vec![vec![ColumnType::Int4]],
        ..table().1
    };
    let sql = |projection: &[usize]| {
        select(&relation, &facts, projection, None, Constants::Parameters).unwrap()
    };
    assert_eq!(sql(&[0, 1]).parameters, ["1", "7"]);
    assert_eq!(sql(&[1]).parameters, [""; 0]);
    assert_eq!(
        sql(&[]).text,
        "SELECT count(*) FROM \"s\".\"a\" WHERE \"a\" > '1'::int4"
    );
}

#[test]
fn rows_are_sorted_by_columns_and_not_by_outputs_of_their_name() {
    let key = |name: &str| SortKey {
        expr: named(name),
        descending: false,
        nulls_first: false,
    };
    let top = |input: Relation| Relation::TopN {
        input: Box::new(input),
        keys: vec![key("b")],
        skip: 0,
        fetch: 3,
    };
    let renamed = |input: Relation| Relation::Project {
        input: Box::new(input),
        exprs: vec![named("b"), named("a")],
        columns: vec![column("a", None), column("b", None)],
    };
    // The new "b" is the column "a", and the new "a" takes its name.
    let sum = |input: Relation| Relation::Aggregate {
        input: Box::new(input),
        groups: vec![named("a")],
        calls: Vec::new(),
        columns: vec![column("a", None)],
    };
    assert_eq!(
        written(&sum(top(renamed(numbers("t", &["a", "b"]))))),
        "SELECT \"a\" FROM (SELECT \"b\" AS \"a\", \"a\" AS \"b\" FROM \"s\".\"t\" \
         ORDER BY \"t\".\"a\" NULLS LAST LIMIT 3) AS \"t1\" GROUP BY \"a\""
    );
    assert_eq!(
        written(&sum(renamed(top(numbers("t", &["a", "b"]))))),
        "SELECT \"b\" FROM (SELECT \"a\", \"b\" FROM \"s\".\"t\" \
         ORDER BY \"b\" NULLS LAST LIMIT 3) AS \"t1\" GROUP BY \"b\""
    );
}
