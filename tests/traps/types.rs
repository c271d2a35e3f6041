//! Types that have no place in Arrow, or another order there: enums, documents, money, bits, addresses; and
//! comparisons of one type with another.

use super::{check, exactly, fails, kept, same};

/// PostgreSQL orders enums by the positions of their labels, and refuses a label that is none. Here they are
/// text, as `docs/differences.md` says; nothing of that may reach the source as something else.
#[test]
fn enums() {
    check(&[
        exactly("SELECT id, m FROM things WHERE m = 'ok'").as_text(),
        exactly("SELECT id FROM things WHERE m <> 'sad'"),
        exactly("SELECT id FROM things WHERE m IN ('sad', 'Ångström')"),
        exactly("SELECT id FROM things WHERE m NOT IN ('sad', 'ok')"),
        exactly("SELECT m, count(*) FROM things GROUP BY m").as_text(),
        exactly("SELECT count(DISTINCT m) FROM things"),
        exactly("SELECT a.id, b.id FROM things a JOIN things b ON a.m = b.m"),
        fails("SELECT id FROM things WHERE m = 'nonsense'", "22P02"),
        fails(
            "SELECT id FROM things WHERE m IN ('ok', 'nonsense')",
            "22P02",
        ),
        kept("SELECT id, m FROM things ORDER BY m, id LIMIT 3")
            .means("SELECT id, m FROM things ORDER BY m::text, id LIMIT 3"),
        kept("SELECT min(m), max(m) FROM things")
            .means("SELECT min(m::text), max(m::text) FROM things"),
        fails("SELECT id FROM things WHERE m = 1", "42883").differs(),
        same("SELECT id FROM things WHERE m::text LIKE 's%'"),
        same(
            "SELECT a.id, b.id FROM shop.public.things a JOIN other.public.things b ON a.m::text = b.m::text",
        ),
    ]);
}

/// Their text is not their value: the source may test them for NULL and count them, and nothing else.
#[test]
fn documents_money_and_bits_stay_here() {
    check(&[
        same("SELECT id, j, jb FROM things"),
        same("SELECT id, mo FROM things").as_text(),
        same("SELECT id, h FROM things").as_text(),
        same("SELECT id, b, vb FROM things").as_text(),
        same("SELECT id, x, r, lsn FROM things").as_text(),
        same("SELECT id, ip, u, by, o FROM things").as_text(),
        same("SELECT id, a, ta FROM things"),
        same("SELECT id, p, cp FROM things").as_text(),
        exactly("SELECT count(j), count(jb), count(mo), count(h), count(b) FROM things"),
        exactly("SELECT id FROM things WHERE jb IS NULL"),
        exactly("SELECT id FROM things WHERE h IS NOT NULL AND mo IS NOT NULL AND b IS NOT NULL"),
        kept("SELECT jb::text, count(*) FROM things GROUP BY jb::text").as_text(),
        kept("SELECT id FROM things WHERE jb::text = '{\"a\": 1, \"b\": 2}'"),
        kept("SELECT id FROM things WHERE mo::text = '$12.34'"),
        kept("SELECT id FROM things WHERE b::text = '1010'"),
        kept("SELECT id FROM things WHERE h::text LIKE '%a%'"),
        same("SELECT count(DISTINCT j::text), max(vb::text) FROM things"),
        same("SELECT j::text, id FROM things ORDER BY j::text, id LIMIT 4").as_text(),
        same("SELECT a.id, b.id FROM things a JOIN things b ON a.jb::text = b.jb::text"),
        same(
            "SELECT a.id, b.id FROM shop.public.things a JOIN other.public.things b ON a.h::text = b.h::text",
        ),
        same("SELECT id FROM things WHERE by = '\\x00ff'"),
        same("SELECT id, o FROM things WHERE o"),
        same("SELECT id FROM things WHERE NOT o"),
        same("SELECT id FROM things WHERE o IS NOT TRUE"),
        same("SELECT bool_and(o), bool_or(o), count(*) FILTER (WHERE o) FROM things"),
        same("SELECT o, count(*) FROM things GROUP BY o"),
    ]);
}

#[test]
fn identifiers_and_arrays() {
    check(&[
        exactly("SELECT id FROM things WHERE u = '00000000-0000-0000-0000-000000000001'"),
        same("SELECT id FROM things WHERE u = 'ffffffff-FFFF-ffff-ffff-ffffffffffff'"),
        same("SELECT id FROM things WHERE u = '{a0eebc999c0b4ef8bb6d6bb9bd380a11}'"),
        fails("SELECT id FROM things WHERE u = 'nonsense'", "22P02"),
        same("SELECT u, id FROM things ORDER BY u, id LIMIT 3"),
        same("SELECT a.id, b.id FROM things a JOIN things b ON a.u = b.u"),
        same("SELECT id FROM things WHERE p = 2 OR p > 3"),
        same("SELECT sum(p), max(p) FROM things"),
        same("SELECT id FROM things WHERE a = '{1,2,NULL}'"),
        same("SELECT id FROM things WHERE 3 = ANY (a)"),
        same("SELECT id, a FROM lenient.public.things").means("SELECT id, a::text FROM things"),
    ]);
}

/// A constant of another type is made one of the column's, or both are made a third, as PostgreSQL does; never
/// is it left to the source's own casts.
#[test]
fn comparisons_across_types() {
    check(&[
        fails("SELECT id FROM texts WHERE t = 0", "42883"),
        fails("SELECT id FROM texts WHERE v > 1.5", "42883"),
        fails("SELECT id FROM numbers WHERE i4 = 'seven'", "22P02"),
        fails("SELECT id FROM numbers WHERE i4 = '7.5'", "22P02"),
        fails("SELECT id FROM times WHERE d = 'someday'", "22007"),
        fails(
            "SELECT a.id FROM numbers a JOIN texts b ON a.i4 = b.t",
            "42883",
        ),
        same("SELECT id FROM numbers WHERE i4 = '7'"),
        same("SELECT id FROM numbers WHERE i4 = ' 7 '"),
        same("SELECT id FROM numbers WHERE i4 = 7.0"),
        same("SELECT id FROM numbers WHERE i4 < 7.5"),
        same("SELECT id FROM numbers WHERE i4 = 7.5"),
        same("SELECT id FROM numbers WHERE i2 = 100000"),
        same("SELECT id FROM numbers WHERE i2 < 100000"),
        same("SELECT id FROM numbers WHERE i4 > 9223372036854775807"),
        same("SELECT id FROM numbers WHERE i8 < 99999999999999999999"),
        same("SELECT id FROM numbers WHERE n = 1.5::float8"),
        same("SELECT id FROM numbers WHERE i4 > 2.5::float8"),
        same("SELECT id FROM numbers WHERE i4 = i8"),
        same("SELECT id FROM numbers WHERE i2 IN (1, 7.0, 99999)"),
        same("SELECT id FROM numbers WHERE i4 NOT IN (1, 2.5)"),
        same("SELECT id FROM times WHERE ts = '1970-01-01'"),
        same("SELECT id FROM times WHERE ts >= DATE '2024-01-01'"),
        same("SELECT id FROM times WHERE d > TIMESTAMP '2000-02-28 12:00'"),
        same("SELECT id FROM times WHERE d = TIMESTAMPTZ '1970-01-01 00:00+00'"),
        same("SELECT id FROM texts WHERE v = t AND c = t"),
        same("SELECT a.id, b.id FROM numbers a JOIN numbers b ON a.i2 = b.i8"),
        same(
            "SELECT a.id, b.id FROM shop.public.numbers a JOIN other.public.numbers b ON a.i4 = b.n",
        ),
        same("SELECT id FROM texts WHERE t = NULL"),
        same("SELECT id FROM texts WHERE t <> NULL OR NULL"),
        same("SELECT id FROM texts WHERE NOT (t = NULL) OR id = 3"),
    ]);
}

/// Functions of one name that are another thing in the next server. None is sent.
#[test]
fn functions_of_one_name() {
    check(&[
        kept("SELECT id FROM numbers WHERE log(f8) > 0.1 AND id = 2"),
        kept("SELECT id FROM texts WHERE concat(t, NULL, k) = 'a3'"),
        kept("SELECT id FROM numbers WHERE greatest(i4, NULL, 5) = 7"),
        kept("SELECT id FROM texts WHERE substr(t, 0, 2) = 'a'"),
        kept("SELECT id FROM texts WHERE length(t) = 2"),
        kept("SELECT stddev(i4), var_pop(i4) FROM numbers WHERE id < 6")
            .means("SELECT stddev(i4)::float8, var_pop(i4)::float8 FROM numbers WHERE id < 6"),
        same(
            "SELECT id, substr(t, 2), substr(t, -1, 3), left(t, -1), right(t, 1), strpos(t, 'b') FROM texts",
        ).as_text(),
        same(
            "SELECT id, trim(t), ltrim(t, 'a'), rtrim(t, 'b '), lpad(t, 3, '*'), repeat(t, 2) FROM texts",
        ),
        same("SELECT id, upper(t), lower(t), length(t), octet_length(t) FROM texts WHERE id < 16"),
        same(
            "SELECT id, greatest(i4, i2, 0), least(i4, NULL), coalesce(i4, -99), nullif(i4, 7) FROM numbers",
        ),
        same(
            "SELECT id, t || k, concat_ws('-', t, NULL, k), replace(t, 'a', ''), md5(t) FROM texts",
        ),
        same("SELECT id, abs(n), sign(n), mod(i4, 3), round(f8) FROM numbers WHERE id < 6").as_text(),
        fails("SELECT substr(t, 1, -1) FROM texts", "22011"),
    ]);
}
