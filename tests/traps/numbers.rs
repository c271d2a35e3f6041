//! Numbers: overflow, division, types of sums, decimals beyond every limit, and floats that are no numbers.

use super::{check, exactly, fails, kept, refused, same};

#[test]
fn integer_division_and_overflow() {
    check(&[
        same(
            "SELECT id, i4 / 2, i4 / -2, i4 % 3, i8 / 7, i2 / 3::smallint FROM numbers WHERE i4 IS NOT NULL",
        ),
        same("SELECT id FROM numbers WHERE i4 / 2 = 3"),
        same("SELECT sum(i4 / 2), sum(i8 % 5) FROM small_numbers"),
        same("SELECT id, CASE WHEN i4 <> 0 THEN 10 / i4 END FROM numbers"),
        same("SELECT sum(CASE WHEN i4 <> 0 THEN 10 / i4 ELSE 0 END) FROM numbers WHERE i4 < 100"),
        same("SELECT id, 10 / nullif(i4, 0) FROM numbers"),
        fails("SELECT id FROM numbers WHERE 10 / i4 > 1", "22012"),
        fails("SELECT 10 / i4 FROM numbers", "22012"),
        fails("SELECT sum(10 / i4) FROM numbers", "22012"),
        fails("SELECT 10 % i4 FROM numbers", "22012"),
        fails("SELECT n / i4 FROM numbers", "22012"),
        fails("SELECT 1.5 / n FROM numbers", "22012"),
        fails("SELECT f8 / i4 FROM numbers WHERE id = 1", "22012"),
        fails("SELECT i4 + 1 FROM numbers", "22003"),
        fails("SELECT i2 + 1::smallint FROM numbers", "22003"),
        fails("SELECT i8 * 2 FROM numbers", "22003"),
        fails("SELECT i4 * i4 FROM numbers", "22003"),
        fails("SELECT -i4 FROM numbers", "22003"),
        fails("SELECT abs(i4) FROM numbers", "22003"),
        fails("SELECT i8 - 1 FROM numbers", "22003"),
        fails("SELECT i8 / -1 FROM numbers WHERE id = 7", "22003"),
        fails("SELECT sum(i4 * 2) FROM numbers", "22003"),
        fails("SELECT id FROM numbers WHERE i4 + 1 > 0", "22003"),
        fails("SELECT i8::integer FROM numbers", "22003"),
        fails("SELECT f8::bigint FROM numbers WHERE id = 6", "22003"),
        fails("SELECT f8::integer FROM numbers WHERE id = 8", "22003"),
        fails("SELECT i4::smallint FROM numbers WHERE id = 6", "22003"),
        fails("SELECT f8 * 10 FROM numbers WHERE id = 6", "22003"),
        same("SELECT id, i4 % -1, i8 % -1 FROM numbers WHERE id IN (2, 7)"),
    ]);
}

/// Casts round as PostgreSQL's do: decimals away from zero, floats to even.
#[test]
fn casts_round() {
    check(&[
        same("SELECT id, n::integer, (-n)::integer FROM numbers WHERE n < 1000 AND n > -1000"),
        same("SELECT id, f8::integer, f4::integer FROM numbers WHERE id IN (1, 2, 3, 4, 5)"),
        same(
            "SELECT id, (i4 + 0.5)::integer, (i4 + 0.5::float8)::integer FROM numbers WHERE i4 BETWEEN -8 AND 8",
        ),
        same("SELECT id, round(n), round(n, 1), trunc(n), floor(n), ceil(n) FROM small_numbers"),
        same("SELECT id, ceil(n) FROM numbers"),
        same("SELECT id, n::numeric(8,1) FROM numbers WHERE n < 1000 AND n > -1000"),
        same(
            "SELECT id, i4::text, n::text, f8::text, f4::text FROM numbers WHERE id NOT IN (6, 7, 12, 14)",
        ),
        same("SELECT id, (i4 <> 0)::integer FROM numbers"),
    ]);
}

/// Names, types and digits of sums and averages, pushed and not.
#[test]
fn types_of_sums_and_averages() {
    check(&[
        exactly("SELECT sum(i2), sum(i4), sum(i8) FROM numbers"),
        exactly("SELECT sum(n) FROM numbers"),
        same("SELECT sum(f8) FROM numbers WHERE id < 6"),
        same("SELECT sum(f4) FROM numbers WHERE id < 6").differs(),
        same("SELECT avg(i2), avg(i4), avg(i8), avg(n) FROM small_numbers"),
        same("SELECT avg(f4), avg(f8) FROM numbers WHERE id < 6"),
        same("SELECT i2, sum(i8), avg(i8), avg(n), count(*) FROM small_numbers GROUP BY i2"),
        same("SELECT sum(i8) + 1, sum(i4) * 2, avg(i4) * 2 FROM small_numbers"),
        same("SELECT sum(DISTINCT i4), avg(DISTINCT i4), count(DISTINCT i4) FROM numbers"),
        same("SELECT sum(i4), avg(i4), count(i4), min(i4), max(i4) FROM numbers WHERE id = 13"),
        same("SELECT sum(i8), avg(n), count(*), max(i2) FROM nothing, numbers"),
        same("SELECT sum(i8 + i8) FROM small_numbers"),
        same("SELECT sum(w), max(w), min(w) FROM numbers"),
        same("SELECT sum(n * 2), sum(n * n) FROM small_numbers"),
        same("SELECT sum(i4::numeric / 3) FROM small_numbers"),
        kept("SELECT sum(f8) FROM numbers WHERE id < 6"),
    ]);
}

/// A sum of bigints leaves them, and is a numeric.
#[test]
fn sums_beyond_bigint() {
    check(&[
        same("SELECT sum(a.i8) FROM numbers a JOIN numbers b ON a.id = 6 AND b.id > 0"),
        same(
            "SELECT sum(i8) FROM (SELECT i8 FROM numbers WHERE id = 6 UNION ALL SELECT i8 FROM numbers WHERE id = 6) AS u",
        ),
        same(
            "SELECT avg(i8) FROM (SELECT i8 FROM numbers WHERE id = 6 UNION ALL SELECT i8 FROM numbers WHERE id = 6) AS u",
        ),
        same("SELECT sum(a.i4) FROM numbers a, numbers b WHERE a.id = 6"),
        same("SELECT sum(a.w) FROM numbers a, numbers b WHERE a.id = 6"),
    ]);
}

/// Nothing is rounded silently: a decimal fits, or it is an error, or it is asked for as text.
#[test]
fn decimals_beyond_every_limit() {
    check(&[
        exactly("SELECT id, w, ww FROM numbers WHERE w > 1"),
        same(
            "SELECT id FROM numbers WHERE ww = 9999999999999999999999999999999999999999999999999999999.99999",
        ),
        exactly("SELECT id FROM numbers WHERE u = 0.00000000000000000001"),
        exactly("SELECT id, u FROM numbers ORDER BY u DESC NULLS LAST, id LIMIT 5"),
        exactly("SELECT min(u), max(u), min(ww), max(ww) FROM numbers"),
        exactly("SELECT u, count(*) FROM numbers GROUP BY u"),
        same("SELECT id FROM numbers WHERE n = 0.1 OR n = 1.500"),
        same("SELECT id FROM numbers WHERE n > 0.005 AND n < 0.015"),
        same("SELECT id FROM numbers WHERE n = 0.015"),
        same("SELECT id FROM numbers WHERE w = u"),
        same("SELECT id FROM numbers WHERE n = i4"),
        same("SELECT a.id, b.id FROM numbers a JOIN numbers b ON a.n = b.u"),
        same(
            "SELECT a.id, b.id FROM shop.public.numbers a JOIN other.public.numbers b ON a.w = b.ww",
        ),
        same("SELECT sum(u) FROM numbers WHERE id IN (2, 3, 12)"),
        refused("SELECT u FROM odd_numbers", "22003", "u"),
        refused("SELECT u FROM odd_numbers WHERE id = 2", "22003", "u"),
        refused("SELECT u FROM odd_numbers WHERE id = 3", "22003", "u"),
        refused("SELECT u FROM odd_numbers WHERE id = 4", "22003", "u"),
        refused("SELECT u FROM odd_numbers WHERE id = 5", "22003", "u"),
        refused("SELECT u FROM odd_numbers WHERE id = 6", "22003", "u"),
        refused("SELECT n FROM odd_numbers", "22003", "n"),
        exactly("SELECT id, what FROM odd_numbers WHERE u > 1").unless_read("22003"),
        exactly("SELECT count(*), count(u) FROM odd_numbers").unless_read("22003"),
        same("SELECT id, u FROM lenient.public.odd_numbers")
            .means("SELECT id, u::text FROM odd_numbers"),
        same("SELECT id, length(u) FROM lenient.public.odd_numbers")
            .means("SELECT id, length(u::text) FROM odd_numbers"),
    ]);
}

/// NaN equals NaN and is the greatest; -0 equals 0; both in filters, groups, orders, joins and lists.
#[test]
fn nan_and_negative_zero() {
    check(&[
        same("SELECT id FROM numbers WHERE f8 = 'NaN'"),
        same("SELECT id FROM numbers WHERE f8 <> 'NaN'"),
        same("SELECT id FROM numbers WHERE f8 > 1e300"),
        same("SELECT id FROM numbers WHERE f8 >= 'Infinity'"),
        same("SELECT id FROM numbers WHERE f8 < 'NaN' AND f4 < 'NaN'"),
        same("SELECT id FROM numbers WHERE f8 = 0"),
        same("SELECT id FROM numbers WHERE f8 = '-0'"),
        same("SELECT id FROM numbers WHERE f8 <> 0"),
        same("SELECT id FROM numbers WHERE f8 > '-0'"),
        same("SELECT id FROM numbers WHERE f8 < 0 OR f8 >= 0"),
        same("SELECT id FROM numbers WHERE f8 IN (0, 1.5, 'NaN')"),
        same("SELECT id FROM numbers WHERE f8 NOT IN (0, 'NaN')"),
        same("SELECT id FROM numbers WHERE NOT (f8 = 0)"),
        same("SELECT id FROM numbers WHERE f8 BETWEEN -1 AND '-0'"),
        same("SELECT count(*) FROM numbers WHERE f8 = 0"),
        same("SELECT id FROM numbers WHERE f8 = 0 ORDER BY id LIMIT 1"),
        same("SELECT count(DISTINCT f8), count(DISTINCT f4) FROM numbers"),
        same("SELECT max(f8), min(f8), max(f4), min(f4) FROM numbers"),
        same("SELECT f8, id FROM numbers ORDER BY f8 DESC, id LIMIT 6"),
        same("SELECT f8, id FROM numbers ORDER BY f8, id LIMIT 9"),
        same("SELECT f4, id FROM numbers ORDER BY f4, id"),
        same("SELECT a.id, b.id FROM numbers a JOIN numbers b ON a.f8 = b.f8"),
        same(
            "SELECT a.id, b.id FROM numbers a LEFT JOIN numbers b ON a.f4 = b.f4 AND a.id <> b.id",
        ),
        same(
            "SELECT a.id, b.id FROM shop.public.numbers a JOIN other.public.numbers b ON a.f8 = b.f8",
        ),
        same(
            "SELECT id FROM numbers a WHERE f8 IN (SELECT f8 FROM other.public.numbers b WHERE b.id IN (1, 8))",
        ),
        same("SELECT id, f8 = f4, f8 > f4, -f8 FROM numbers"),
        same("SELECT f8, sum(i4) OVER (PARTITION BY f8) FROM small_numbers"),
        same("SELECT f8 FROM numbers INTERSECT SELECT f8 FROM numbers WHERE id IN (1, 8)"),
        same(
            "SELECT a.id FROM numbers a WHERE NOT EXISTS (SELECT FROM numbers b WHERE b.f8 = a.f8 AND b.id <> a.id)",
        ),
        kept("SELECT count(*), f8 FROM numbers GROUP BY f8"),
    ]);
}

/// A float column and a constant of another type.
#[test]
fn float_equality() {
    check(&[
        same("SELECT id FROM numbers WHERE f4 = 0.1"),
        same("SELECT id FROM numbers WHERE f4 = 0.1::real"),
        same("SELECT id FROM numbers WHERE f4 > 0.1"),
        same("SELECT id FROM numbers WHERE f4 = 16777217"),
        same("SELECT id FROM numbers WHERE f4 = f8"),
        same("SELECT id FROM numbers WHERE f8 = 0.1"),
        same("SELECT id FROM numbers WHERE f8 = 9007199254740993"),
        same("SELECT id FROM numbers WHERE f8 = i8"),
        same("SELECT a.id, b.id FROM numbers a JOIN numbers b ON a.f4 = b.f8"),
        same(
            "SELECT a.id, b.id FROM shop.public.numbers a JOIN other.public.numbers b ON a.f4 = b.f8",
        ),
        same(
            "SELECT a.id, b.id FROM shop.public.numbers a JOIN other.public.numbers b ON a.i8 = b.f8",
        ),
    ]);
}
