//! Every type at its edges: what is stored is what is read.

use arrow::datatypes::DataType;
use sluice_spi::types::pg_type;

use crate::support::{catalog, catalog_with, fails, lines, read_all, shared, table};

#[tokio::test]
async fn every_type_is_read_as_it_was_stored() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE kinds (
           id int, ti tinyint, tu tinyint unsigned, si smallint, su smallint unsigned, mi mediumint, mu mediumint unsigned,
           i int, iu int unsigned, b bigint, bu bigint unsigned, m decimal(65,30), p decimal(5,2) unsigned zerofill,
           f float, d double, bi bit(10), c char(5), v varchar(5), l varchar(5) CHARACTER SET latin1,
           e enum('x', 'ü'), s set('a', 'b'), day date, at datetime(6), ts timestamp(6) NULL, t time(6), y year,
           j json, bin binary(4), bl blob, g geometry, u uuid, ip inet6) CHARACTER SET utf8mb4;
         INSERT INTO kinds VALUES
           (1, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808,
            18446744073709551615, -99999999999999999999999999999999999.999999999999999999999999999999, 1.5,
            0.1, 1.7976931348623157e308, b'1000000001', 'ab  ', 'ab  ', 'é', 'ü', 'a,b', '9999-12-31',
            '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999', '-838:59:59.999999', 2155, '{\"a\": [1, null]}',
            'ab', x'00ff', ST_GeomFromText('POINT(1 2)'), '123e4567-e89b-12d3-a456-426655440000', '::1'),
           (2, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807, 0, 0, 0, -0.5, 5e-324, b'0', '', '', '',
            'x', '', '0001-01-01', '1000-01-01', '1970-01-01 00:00:01', '838:59:59', 1901, 'null', '', '', NULL,
            '00000000-0000-0000-0000-000000000000', '::1.2.3.4')",
    );
    let catalog = catalog(&server);
    let kinds = table(&catalog, "kinds").await;
    let read = lines(&read_all(&catalog, &kinds).await.unwrap());
    assert_eq!(
        read[0],
        "1|-128|255|-32768|65535|-8388608|16777215|-2147483648|4294967295|-9223372036854775808|18446744073709551615|\
         -99999999999999999999999999999999999.999999999999999999999999999999|1.50|0.1|1.7976931348623157e308|1000000001|\
         ab|ab  |é|ü|a,b|9999-12-31|9999-12-31T23:59:59.999999|2038-01-19T03:14:07.999999Z|\
         -838 hours -59 mins -59.999999000 secs|2155|{\"a\": [1, null]}|61620000|00ff|\
         000000000101000000000000000000f03f0000000000000040|123e4567-e89b-12d3-a456-426655440000|::1"
    );
    assert_eq!(
        read[1],
        "2|127|0|32767|0|8388607|0|2147483647|0|9223372036854775807|0|0.000000000000000000000000000000|0.00|-0.5|5e-324|\
         0000000000||||x||0001-01-01|1000-01-01T00:00:00|1970-01-01T00:00:01Z|838 hours 59 mins 59.000000000 secs|1901|null|\
         00000000||NULL|00000000-0000-0000-0000-000000000000|::1.2.3.4"
    );
    let field = |name: &str| {
        let column = kinds
            .columns
            .iter()
            .find(|c| c.field.name() == name)
            .unwrap();
        (
            column.field.data_type().clone(),
            pg_type(&column.field).map(str::to_owned),
        )
    };
    for (name, data_type, tag) in [
        ("ti", DataType::Int8, None),
        ("tu", DataType::Int16, None),
        ("iu", DataType::Int64, None),
        ("bu", DataType::UInt64, None),
        ("m", DataType::Decimal256(65, 30), None),
        ("v", DataType::Utf8View, Some("character varying(5)")),
        ("j", DataType::Utf8View, Some("json")),
        ("bi", DataType::Utf8View, Some("bit(10)")),
        ("u", DataType::Utf8View, Some("uuid")),
    ] {
        assert_eq!(field(name), (data_type, tag.map(str::to_owned)), "{name}");
    }
}

#[tokio::test]
async fn tinyint1_is_a_number_or_a_truth_value() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE flags (b tinyint(1)); INSERT INTO flags VALUES (0), (1), (2), (NULL)",
    );
    for (keys, expected) in [
        ("", ["0", "1", "2", "NULL"]),
        ("tinyint1 = 'bool'", ["NULL", "false", "true", "true"]),
    ] {
        let catalog = catalog_with(&server, keys);
        let flags = table(&catalog, "flags").await;
        assert_eq!(lines(&read_all(&catalog, &flags).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_table_that_changed_is_not_read_as_what_it_was() {
    let server = shared();
    server.query("CREATE OR REPLACE TABLE moving (a int); INSERT INTO moving VALUES (1)");
    let catalog = catalog(&server);
    let moving = table(&catalog, "moving").await;
    server.query("ALTER TABLE moving MODIFY a varchar(9)");
    let error = fails(read_all(&catalog, &moving).await);
    assert_eq!(error.code.code(), "55000", "{error:?}");
    server.query("ALTER TABLE moving CHANGE a b varchar(9)");
    let error = fails(read_all(&catalog, &moving).await);
    assert_eq!(error.code.code(), "42703");
    server.query("DROP TABLE moving");
    let error = fails(read_all(&catalog, &moving).await);
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("42P01", Some("shop"))
    );
    assert!(error.hint.unwrap().contains("flush_metadata"));
}

#[tokio::test]
async fn text_of_any_character_set_arrives_as_utf8() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE sets (a varchar(9) CHARACTER SET latin1, b varchar(9) CHARACTER SET sjis,
           c varchar(9) CHARACTER SET ucs2, d varchar(9) CHARACTER SET utf8mb3);
         INSERT INTO sets VALUES ('é€', '日本', '日', 'ß')",
    );
    let catalog = catalog(&server);
    let sets = table(&catalog, "sets").await;
    assert_eq!(
        lines(&read_all(&catalog, &sets).await.unwrap()),
        ["é€|日本|日|ß"]
    );
}
