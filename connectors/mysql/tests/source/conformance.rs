//! The contract's own kit, over tables with a column of each type and values chosen to trip.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use sluice_spi::conformance::{Fixture, check};
use sluice_spi::types::tagged;

use crate::mariadb::MariaDbServer;
use crate::support::{catalog, catalog_with, wait_until_idle};

/// One row for each text, the other columns in step with it.
pub(crate) const CORPUS: &str = r#"
SET SESSION sql_mode = '';
CREATE TABLE corpus (
    id int PRIMARY KEY AUTO_INCREMENT, i int, ti tinyint, tu tinyint unsigned, iu int unsigned, b bigint,
    bu bigint unsigned, m decimal(10,2), mm decimal(50,10), f float, dbl double,
    t varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
    tb varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    tn varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin,
    tu8 varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci,
    l varchar(20) CHARACTER SET latin1, c char(6) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci,
    x text CHARACTER SET utf8mb4, lt longtext CHARACTER SET utf8mb4, sj varchar(20) CHARACTER SET sjis,
    en enum('a', 'A ', 'b', '10', '') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, st set('a', 'b') CHARACTER SET utf8mb4,
    v varbinary(20), bl blob, bi binary(3), bt bit(9), d date, dn date NOT NULL, dt datetime(3), ts timestamp(6) NULL,
    tm time(6), y year, j json, key (t), key (tb), key (m), key (d), key (f), key (ts)
) CHARACTER SET utf8mb4;
INSERT INTO corpus (i, ti, tu, iu, b, bu, m, mm, f, dbl, t, tb, tn, tu8, l, c, x, lt, sj, en, st, v, bl, bi, bt, d, dn, dt, ts, tm, y, j)
SELECT i, i, abs(i), abs(i) * 500000000, i * 1000000000000, abs(i) * 2000000000000000000, i / 4, i * 1e30 / 7, i / 10,
       elt(1 + n % 6, 0e0, -0e0, 1.5e0, 0.1e0, 1e300, NULL), t, t, t, t,
       IF(t REGEXP '^[ -~]*$', t, 'é'), left(t, 6), t, t, IF(t REGEXP '^[ -~]*$', t, 'ｱ'),
       elt(1 + n % 5, 'a', 'A ', 'b', '10', NULL), elt(1 + n % 3, 'a', 'a,b', NULL), t, t, left(t, 1), abs(i),
       DATE'1970-01-01' + INTERVAL i * 500 DAY, DATE'1970-01-02' + INTERVAL ifnull(i, 0) DAY,
       TIMESTAMP'1970-01-01 00:00:00' + INTERVAL i * 1000 MICROSECOND, TIMESTAMP'2001-01-01 00:00:00' + INTERVAL i HOUR,
       SEC_TO_TIME(i * 100000), IF(i > 0, 1990 + i, i), IF(t IS NULL, NULL, '{"a": 1}')
FROM (SELECT n, t, elt(1 + n % 6, -7, -1, 0, 1, 7, NULL) + 0 AS i FROM (
    SELECT 0 AS n, '' AS t UNION ALL SELECT 1, ' ' UNION ALL SELECT 2, 'a' UNION ALL SELECT 3, 'A' UNION ALL SELECT 4, 'a '
    UNION ALL SELECT 5, ' a' UNION ALL SELECT 6, 'ab' UNION ALL SELECT 7, 'aB' UNION ALL SELECT 8, 'b' UNION ALL SELECT 9, 'ä'
    UNION ALL SELECT 10, 'é' UNION ALL SELECT 11, 'e' UNION ALL SELECT 12, 'ß' UNION ALL SELECT 13, 'ss' UNION ALL SELECT 14, '_'
    UNION ALL SELECT 15, '%' UNION ALL SELECT 16, 'a%b' UNION ALL SELECT 17, 'a_b' UNION ALL SELECT 18, 'a|b'
    UNION ALL SELECT 19, '\\' UNION ALL SELECT 20, '\\\\' UNION ALL SELECT 21, 'a''b' UNION ALL SELECT 22, '"'
    UNION ALL SELECT 23, 'a\nb' UNION ALL SELECT 24, '10' UNION ALL SELECT 25, '9' UNION ALL SELECT 26, '😀' UNION ALL SELECT 27, 'ı'
    UNION ALL SELECT 28, 'I' UNION ALL SELECT 29, 'é' UNION ALL SELECT 30, NULL) v) s;
"#;

const MORE: &str = "
CREATE TABLE keyed (id int PRIMARY KEY, seven int, name varchar(20) CHARACTER SET utf8mb4);
INSERT INTO keyed SELECT seq, seq % 7, concat('name ', seq % 100) FROM seq_1_to_3000;
CREATE TABLE nothing (a int, b text);
CREATE VIEW shown AS SELECT * FROM keyed WHERE seven = 3;";

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_conforms() {
    let server = MariaDbServer::start();
    server.query(CORPUS);
    server.query(MORE);
    // The kit's dates begin before those of MySQL: `writing` has dates of its own.
    let columns = Schema::new(vec![
        Field::new("k", DataType::Int32, true),
        Field::new("small", DataType::Int16, true),
        Field::new("tiny", DataType::Int8, true),
        Field::new("b", DataType::Int64, true),
        Field::new("u", DataType::UInt64, true),
        Field::new("m", DataType::Decimal128(20, 4), true),
        Field::new("mm", DataType::Decimal256(60, 10), true),
        Field::new("t", DataType::Utf8View, true),
        tagged("v", DataType::Utf8View, true, "character varying(40)"),
        Field::new("bytes", DataType::Binary, true),
    ]);
    let fixture = Fixture::new("shop", ["corpus", "keyed", "nothing", "shown"])
        .writable("shop", Arc::new(columns));
    check(&*catalog(&server), &fixture).await;
    wait_until_idle(&server, Duration::from_secs(5)).await;
    assert_eq!(server.query("SHOW TABLES LIKE '|_sluice%'"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_with_its_options_turned() {
    let server = MariaDbServer::start();
    server.query(CORPUS);
    server.query(
        "SET SESSION sql_mode = ''; CREATE TABLE zeros (id int PRIMARY KEY, d date, dn date NOT NULL, dt datetime, b tinyint(1));
         INSERT INTO zeros VALUES (1, '0000-00-00', '0000-00-00', '0000-00-00', 0), (2, '2024-00-10', '2024-02-00', NULL, 1),
         (3, '2020-01-01', '2020-01-01', '2020-01-01', 2), (4, NULL, '1999-12-31', '1999-12-31', NULL);
         CREATE TABLE wide (id int PRIMARY KEY, n int); INSERT INTO wide SELECT seq * 100, seq FROM seq_1_to_3000;",
    );
    let keys = "zero_dates = 'null'\ntinyint1 = 'bool'\nconsistency = 'relaxed'";
    let fixture = Fixture::new("shop", ["corpus", "zeros", "wide"]).seed(2);
    check(&*catalog_with(&server, keys), &fixture).await;
    wait_until_idle(&server, Duration::from_secs(5)).await;
}
