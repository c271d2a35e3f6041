//! Every type's values, compared with what the server itself says about them.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use sluice_spi::types::pg_type;

use crate::support::{Server, fails, read_all, rows, table};

/// Column type, its values, and an expression over the column `c` that says what each value is.
pub(crate) struct Case(
    pub(crate) &'static str,
    pub(crate) &'static [&'static str],
    pub(crate) &'static str,
);

const TEXT: &str = "format('%s', c)";

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case("boolean", &["'t'", "'f'"], "c::text"),
    Case("smallint", &["-32768", "0", "32767"], "c::text"),
    Case("integer", &["-2147483648", "0", "2147483647"], "c::text"),
    Case("bigint", &["-9223372036854775808", "0", "9223372036854775807"], "c::text"),
    Case("real", &["'NaN'", "'-0'", "'Infinity'", "'-Infinity'", "1e-45", "3.4028235e38", "0.1"], "encode(float4send(c), 'hex')"),
    Case("double precision", &["'NaN'", "'-0'", "'Infinity'", "'-Infinity'", "5e-324", "1.7976931348623157e308", "0.1"], "encode(float8send(c), 'hex')"),
    Case("numeric(10,2)", &["0", "-0.01", "99999999.99", "-99999999.99", "1.5", "10000", "0.0001"], "trim_scale(c)::text"),
    Case("numeric(38,0)", &["99999999999999999999999999999999999999", "-99999999999999999999999999999999999999", "10000000000000000"], "trim_scale(c)::text"),
    Case("numeric(38,38)", &["0.99999999999999999999999999999999999999", "-0.00000000000000000000000000000000000001"], "trim_scale(c)::text"),
    Case("numeric(76,10)", &["999999999999999999999999999999999999999999999999999999999999999999.9999999999", "-0.0000000001", "12345678901234567890123456789012345678901234567890"], "trim_scale(c)::text"),
    Case("numeric(3,-2)", &["99900", "-100", "149"], "trim_scale(c)::text"),
    Case("numeric(2,5)", &["0.00099", "-0.00001"], "trim_scale(c)::text"),
    Case("numeric", &["0", "1.50", "-99999999999999999999999999999999999999999999999999999999.99999999999999999999", "0.00000000000000000001", "1e55", "123456789012345678901234567890"], "trim_scale(c)::text"),
    Case("numeric(100,2)", &["1.5", "'NaN'"], TEXT),
    Case("text", &["''", "' '", "'a''b\\c'", "E'tab\\tline\\nend'", "'äöü€𝄞'", "repeat('x', 10000)", "E'\\u0001'"], "c"),
    Case("character varying(10)", &["''", "'abc  '"], "c"),
    Case("character(5)", &["''", "'ab'", "'äöü'", "'abcde'"], "rtrim(format('%s', c), ' ')"),
    Case("name", &["'pg_class'", "''"], "c::text"),
    Case("bytea", &["''", "'\\x00ff27'"], "encode(c, 'hex')"),
    Case("date", &["'1970-01-01'", "'1969-12-31'", "'2000-02-29'", "'0001-01-01'", "'4713-11-24 BC'", "'99999-12-31'"], "(c - '1970-01-01'::date)::text"),
    Case("time", &["'00:00'", "'23:59:59.999999'"], "(extract(epoch FROM c) * 1000000)::bigint::text"),
    Case("timestamp", &["'1970-01-01'", "'1969-12-31 23:59:59.999999'", "'0044-03-15 12:00 BC'", "'294246-12-31 23:59:59'"], "(extract(epoch FROM c) * 1000000)::bigint::text"),
    Case("timestamptz", &["'2024-07-01 12:00+02'", "'1883-11-18 12:00 America/New_York'", "'0044-03-15 12:00+00 BC'"], "(extract(epoch FROM c) * 1000000)::bigint::text"),
    Case("interval", &["'1 year 2 mons -3 days 04:05:06.789'", "'-1 mon'", "'0'", "'2562000 hours'"], "(extract(year FROM c) * 12 + extract(month FROM c))::int || ' ' || extract(day FROM c)::int || ' ' || (extract(hour FROM c) * 3600000000 + extract(minute FROM c) * 60000000 + extract(microseconds FROM c))::bigint * 1000"),
    Case("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"], TEXT),
    Case("json", &["'{\"a\" : 1}'", "'null'"], TEXT),
    Case("jsonb", &["'{\"a\" : 1, \"a\": 2}'", "'null'", "'\"x\"'"], TEXT),
    Case("mood", &["'sad'", "'it''s ok'"], TEXT),
    Case("oid", &["0", "4294967295"], "c::text"),
    // Types that have no form of their own here.
    Case("inet", &["'1.2.3.4'", "'10.0.0.0/8'", "'::1'"], TEXT),
    Case("cidr", &["'10.0.0.0/8'"], TEXT),
    Case("macaddr", &["'08:00:2b:01:02:03'"], TEXT),
    Case("money", &["'12.34'"], TEXT),
    Case("bit(3)", &["B'101'"], TEXT),
    Case("bit varying", &["B'1'", "B''"], TEXT),
    Case("xml", &["'<a>b</a>'"], TEXT),
    Case("point", &["'(1,2)'"], TEXT),
    Case("int4range", &["'[1,5)'", "'empty'"], TEXT),
    Case("tsvector", &["'a:1 b:2'"], TEXT),
    Case("pg_lsn", &["'16/B374D848'"], TEXT),
    Case("regclass", &["'pg_class'"], TEXT),
    Case("xid", &["'5'"], TEXT),
    Case("time with time zone", &["'12:00+02'"], TEXT),
    Case("\"char\"", &["'a'"], TEXT),
    Case("jsonpath", &["'$.a'"], TEXT),
    Case("pair", &["ROW(1, 'x,y')", "ROW(NULL, NULL)"], TEXT),
    Case("int2vector", &["'1 2 3'"], TEXT),
    // Domains are their base types.
    Case("positive", &["1", "2147483647"], "c::text"),
    Case("price", &["1.25"], "trim_scale(c)::text"),
    Case("codes", &["'{a,b}'"], TEXT),
    // Arrays.
    Case("integer[]", &["'{}'", "'{1,NULL,-3}'"], TEXT),
    Case("text[]", &["'{a,bc,NULL}'", "ARRAY['']::text[]"], "translate(c::text, '\"', '')"),
    Case("numeric(10,2)[]", &["'{1.5,2}'"], "(SELECT '{' || string_agg(trim_scale(x)::text, ',') || '}' FROM unnest(c) x)"),
    Case("uuid[]", &["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"], TEXT),
    Case("mood[]", &["'{sad,sad}'"], TEXT),
    Case("positive[]", &["'{1,2}'"], TEXT),
    Case("integer[][]", &["'{{1,2},{3,NULL}}'", "'{}'", "'{{NULL}}'"], TEXT),
    Case("text[][][]", &["'{{{a,NULL},{b,c}},{{d,e},{f,g}}}'"], TEXT),
    Case("inet[]", &["'{1.2.3.4,10.0.0.0/8,NULL}'"], TEXT),
    Case("pair[]", &["ARRAY[ROW(1, 'x')::pair, NULL]"], "replace(c::text, '\"', '')"),
    Case("int4range[]", &["ARRAY['[1,5)'::int4range, 'empty']"], "replace(c::text, '\"', '')"),
    Case("bit(3)[]", &["'{101,000}'"], TEXT),
    Case("bool[]", &["'{t,NULL}'"], "replace(replace(c::text, 't', 'true'), 'f', 'false')"),
    Case("bigint[]", &["'{9223372036854775807,-9223372036854775808}'"], TEXT),
    // More that has no form of its own here.
    Case("citext", &["'AbC'", "''"], TEXT),
    Case("hstore", &["'a=>1, b=>NULL'", "''"], TEXT),
    Case("int4multirange", &["'{[1,3),[5,7)}'", "'{}'"], TEXT),
    Case("daterange", &["'[2020-01-01,infinity)'", "'(,)'"], TEXT),
    Case("tstzrange", &["'[2020-01-01 00:00+00,)'"], TEXT),
    Case("numrange", &["'(1.50,2.5]'"], TEXT),
    Case("macaddr8", &["'08:00:2b:01:02:03:04:05'"], TEXT),
    Case("tsquery", &["'a & !b'"], TEXT),
    Case("path", &["'[(0,0),(1,1)]'"], TEXT),
    Case("box", &["'(1,1),(0,0)'"], TEXT),
    Case("circle", &["'<(1,2),3>'"], TEXT),
    Case("regtype", &["'int4'", "'varchar'"], TEXT),
    Case("regproc", &["'now'"], TEXT),
    Case("regrole", &["'postgres'"], TEXT),
    Case("xid8", &["'18446744073709551615'"], TEXT),
    Case("tid", &["'(1,2)'"], TEXT),
    Case("pg_snapshot", &["'10:20:10,14'"], TEXT),
    Case("nested", &["ROW(ROW(1, 'a\"b')::pair, '{1,2}')"], TEXT),
    Case("money", &["'-1234.5'"], TEXT),
    Case("numeric(1000,2)", &["repeat('9', 900)::numeric", "'-0.01'"], TEXT),
    Case("interval", &["'-178000000 years'", "'1 day -00:00:00.000001'"], "(extract(year FROM c) * 12 + extract(month FROM c))::int || ' ' || extract(day FROM c)::int || ' ' || (extract(hour FROM c) * 3600000000 + extract(minute FROM c) * 60000000 + extract(microseconds FROM c))::bigint * 1000"),
    Case("macaddr[]", &["'{08:00:2b:01:02:03,NULL}'"], TEXT),
];

pub(crate) const SETUP: &str = "
DROP SCHEMA public CASCADE; CREATE SCHEMA public;
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN money2 AS numeric(12,2); CREATE DOMAIN price AS money2 NOT NULL DEFAULT 0;
CREATE DOMAIN codes AS varchar(5)[];
CREATE TYPE pair AS (a int, b text); CREATE TYPE nested AS (p pair, n int[]);
CREATE EXTENSION citext; CREATE EXTENSION hstore;";

/// What the engine got, in the words of the cases' expressions.
fn words(array: &ArrayRef, row: usize) -> Option<String> {
    use arrow::datatypes::*;
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => hex(&array.as_primitive::<Float32Type>().value(row).to_be_bytes()),
        DataType::Float64 => hex(&array.as_primitive::<Float64Type>().value(row).to_be_bytes()),
        DataType::Decimal128(..) => {
            trim_scale(&array.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Decimal256(..) => {
            trim_scale(&array.as_primitive::<Decimal256Type>().value_as_string(row))
        }
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Time64(TimeUnit::Microsecond) => array
            .as_primitive::<Time64MicrosecondType>()
            .value(row)
            .to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
            .to_string(),
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            format!("{} {} {}", value.months, value.days, value.nanoseconds)
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let items: Vec<_> = (0..items.len())
                .map(|i| words(&items, i).unwrap_or("NULL".into()))
                .collect();
            format!("{{{}}}", items.join(","))
        }
        other => panic!("no words for {other}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trim_scale(text: &str) -> String {
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    };
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

#[tokio::test]
async fn every_type_arrives_as_the_server_has_it() {
    let server = Server::start();
    server.sql(SETUP).await;
    let client = server.client().await;
    let catalog = server.catalog();
    for (number, Case(column_type, values, expression)) in CASES.iter().enumerate() {
        let name = format!("t{number}");
        let nulls = if *column_type == "price" {
            ""
        } else {
            ", (NULL)"
        };
        let values: Vec<String> = values.iter().map(|value| format!("({value})")).collect();
        client
            .batch_execute(&format!(
                "SET TIME ZONE 'UTC'; CREATE TABLE {name} (c {column_type});
                 INSERT INTO {name} VALUES {}{nulls}",
                values.join(", ")
            ))
            .await
            .unwrap_or_else(|e| panic!("{column_type}: {e:?}"));
        let expected: Vec<Option<String>> = client
            .query(&format!("SELECT {expression} FROM {name} WHERE num_nulls(c) = 0 UNION ALL SELECT NULL FROM {name} WHERE num_nulls(c) = 1"), &[])
            .await
            .unwrap_or_else(|e| panic!("{column_type}: {e:?}"))
            .iter()
            .map(|row| row.get(0))
            .collect();

        let metadata = table(&catalog, &name).await;
        // By COPY, and by a prepared statement.
        for limit in [None, Some(100)] {
            let batches =
                crate::support::read(&catalog, &metadata, &metadata.handle, vec![0], limit)
                    .await
                    .unwrap_or_else(|e| panic!("{column_type}: {e:?}"));
            assert_eq!(rows(&batches), expected.len(), "{column_type}");
            let array = batches[0].column(0);
            let got: Vec<_> = (0..array.len()).map(|row| words(array, row)).collect();
            assert_eq!(got, expected, "{column_type}, limit {limit:?}");
        }
    }
}

#[tokio::test]
async fn columns_carry_their_postgresql_type() {
    let server = Server::start();
    server.sql(SETUP).await;
    server
        .sql(
            "CREATE TABLE t (a text, b varchar(10), c char(3), d uuid, e jsonb, f mood, g numeric, h numeric(10,2),
                             i inet, j price, k mood[], l timestamptz, m oid)",
        )
        .await;
    let metadata = table(&server.catalog(), "t").await;
    let tags: Vec<_> = metadata
        .columns
        .iter()
        .map(|column| pg_type(&column.field))
        .collect();
    assert_eq!(
        tags,
        [
            None,
            Some("character varying(10)"),
            Some("character(3)"),
            Some("uuid"),
            Some("jsonb"),
            Some("mood"),
            Some("numeric"),
            None,
            Some("inet"),
            None,
            None,
            None,
            Some("oid")
        ]
    );
    assert_eq!(metadata.columns[9].native_type, "price");
    assert_eq!(
        metadata.columns[9].field.data_type(),
        &DataType::Decimal128(12, 2)
    );
    let DataType::List(item) = metadata.columns[10].field.data_type() else {
        panic!()
    };
    assert_eq!(pg_type(item), Some("mood"));
}

#[tokio::test]
async fn what_arrow_cannot_hold_is_an_error_that_names_the_column() {
    let server = Server::start();
    let catalog = server.catalog();
    for (number, (column_type, value, code, message)) in [
        (
            "numeric",
            "0.000000000000000000001",
            "22003",
            "more than 20 digits after the point",
        ),
        (
            "numeric",
            "1e56",
            "22003",
            "more than 56 digits before the point",
        ),
        ("numeric", "'NaN'", "22003", "NaN"),
        ("numeric", "'Infinity'", "22003", "infinity"),
        ("numeric(10,2)", "'NaN'", "22003", "NaN"),
        ("date", "'infinity'", "22008", "is infinity"),
        ("timestamp", "'-infinity'", "22008", "is -infinity"),
        ("timestamptz", "'infinity'", "22008", "is infinity"),
        (
            "timestamp",
            "'294276-12-31 23:59:59'",
            "22008",
            "too far in the future",
        ),
        ("time", "'24:00:00'", "22008", "24:00:00"),
        ("interval", "'178000000 years'", "22008", ""),
        (
            "interval",
            "'9000000000 seconds'::interval * 1000",
            "22008",
            "292 years",
        ),
        (
            "integer[]",
            "'{{1,2},{3,4}}'",
            "0A000",
            "of 2 dimensions, where its column declares 1",
        ),
        (
            "integer[][]",
            "'{1,2}'",
            "0A000",
            "of 1 dimensions, where its column declares 2",
        ),
        (
            "integer[]",
            "'[0:1]={1,2}'",
            "0A000",
            "does not start at index 1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // Months that fit are no error: only hours count in nanoseconds.
        if message.is_empty() {
            continue;
        }
        let name = format!("t{number}");
        server
            .sql(&format!(
                "CREATE TABLE {name} (bad {column_type}); INSERT INTO {name} VALUES ({value})"
            ))
            .await;
        let metadata = table(&catalog, &name).await;
        let error = fails(read_all(&catalog, &metadata).await);
        assert_eq!(error.code.code(), code, "{error:?}");
        assert!(
            error.message.contains("\"bad\"") && error.message.contains(message),
            "{error:?}"
        );
        assert!(error.hint.is_some());
    }
    server
        .wait_until_idle(std::time::Duration::from_secs(2))
        .await;
}

/// Keys of the catalog's file let such values in, as the server itself prints them.
#[tokio::test]
async fn keys_of_the_catalog_let_them_in() {
    let server = Server::start();
    server.sql(SETUP).await;
    server
        .sql(
            "SET TIME ZONE 'UTC';
             CREATE TABLE odd (n numeric, ns numeric[], a integer[], d date, t timestamp, z timestamptz);
             INSERT INTO odd VALUES
                 ('NaN', '{NaN,1.50}', '{{1,2},{3,NULL}}', 'infinity', 'infinity', 'infinity'),
                 ('-Infinity', '{}', '[0:1]={1,2}', '-infinity', '-infinity', '-infinity'),
                 (repeat('9', 1000)::numeric, NULL, '{}', '0044-03-15 BC', '0044-03-15 12:00 BC', '0044-03-15 12:00+00 BC'),
                 ('1e-1000', '{1e-1000}', '{1}', '2024-02-29', '2024-02-29', '2024-02-29'), (NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .await;
    let catalog = server.catalog_with("numeric = 'text'\narrays = 'text'\ninfinity = 'keep'");
    let metadata = table(&catalog, "odd").await;
    let client = server.client().await;
    client.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
    for (index, expression) in [
        "n::text",
        "ns::text",
        "a::text",
        "CASE WHEN isfinite(d) THEN (d - '1970-01-01')::text WHEN d > '1970-01-01' THEN '2147483647' ELSE '-2147483648' END",
        "CASE WHEN isfinite(t) THEN (extract(epoch FROM t) * 1000000)::bigint::text
              WHEN t > '1970-01-01' THEN '9223372036854775807' ELSE '-9223372036854775808' END",
        "CASE WHEN isfinite(z) THEN (extract(epoch FROM z) * 1000000)::bigint::text
              WHEN z > '1970-01-01' THEN '9223372036854775807' ELSE '-9223372036854775808' END",
    ]
    .into_iter()
    .enumerate()
    {
        let expected: Vec<Option<String>> = client
            .query(&format!("SELECT CASE WHEN n IS NULL THEN NULL ELSE {expression} END FROM odd"), &[])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        for limit in [None, Some(10)] {
            let batches =
                crate::support::read(&catalog, &metadata, &metadata.handle, vec![index], limit)
                    .await
                    .unwrap_or_else(|e| panic!("{expression}: {e:?}"));
            let array = batches[0].column(0);
            let got: Vec<_> = (0..array.len()).map(|row| words(array, row)).collect();
            assert_eq!(got, expected, "{expression}");
        }
    }
}
