//! Dates and times: zones, microseconds, years before the first, and the ends of time.

use super::{check, exactly, refused, same};

#[test]
fn time_zones_and_microseconds() {
    check(&[
        exactly("SELECT id, ts FROM times WHERE ts = '1969-12-31 23:59:59.999999'"),
        exactly("SELECT id, tz FROM times WHERE tz = '2000-02-29 10:34:56.789+00'"),
        exactly("SELECT id FROM times WHERE tz >= '2024-03-31 01:30:00+00'"),
        exactly("SELECT id FROM times WHERE tz = '2024-03-31 01:30:00'"),
        exactly("SELECT id FROM times WHERE d >= '1970-01-01' AND d < '2024-03-31'"),
        exactly("SELECT id FROM times WHERE t = '23:59:59.999999' OR t = '06:00:00.000001'"),
        exactly("SELECT id, tz FROM times ORDER BY tz DESC NULLS LAST, id LIMIT 4"),
        exactly("SELECT min(ts), max(tz), min(d), max(t) FROM times"),
        exactly("SELECT t, count(*) FROM times GROUP BY t"),
        exactly("SELECT count(DISTINCT tz) FROM times"),
        same("SELECT id FROM times WHERE ts = tz"),
        same("SELECT id FROM times WHERE ts > d"),
        same("SELECT id FROM times WHERE tz::date = d"),
        same("SELECT id, ts::date, tz::time, d::timestamp FROM times"),
        same(
            "SELECT id, extract(epoch FROM tz), extract(microseconds FROM t) FROM times WHERE id NOT IN (6)",
        ),
        same("SELECT date_trunc('hour', ts), count(*) FROM times GROUP BY 1"),
        same(
            "SELECT id, ts - interval '26 hours', d + 1, ts - ts FROM times WHERE id NOT IN (6, 7)",
        ),
        same("SELECT a.id, b.id FROM times a JOIN times b ON a.tz = b.tz AND a.t = b.t"),
        same("SELECT a.id, b.id FROM times a JOIN times b ON a.ts = b.tz"),
        same("SELECT a.id, b.id FROM shop.public.times a JOIN other.public.times b ON a.tz = b.tz"),
        same("SELECT a.id, b.id FROM shop.public.times a JOIN other.public.times b ON a.d = b.ts"),
    ]);
}

/// Intervals that are equal and not the same.
#[test]
fn intervals() {
    check(&[
        same("SELECT id, iv FROM times"),
        same("SELECT id FROM times WHERE iv = '1 day'"),
        same("SELECT id FROM times WHERE iv > '0'"),
        same(
            "SELECT count(*) FROM times WHERE iv = interval '24 hours' OR iv = interval '1 month'",
        ),
        same("SELECT count(DISTINCT iv) FROM times"),
        same("SELECT a.id, b.id FROM times a JOIN times b ON a.iv = b.iv"),
        same("SELECT count(*) FROM times GROUP BY iv"),
        same("SELECT id FROM times ORDER BY iv, id"),
    ]);
}

#[test]
fn years_before_the_first() {
    check(&[
        same("SELECT id, d, ts, tz FROM times WHERE id = 6"),
        exactly("SELECT id FROM times WHERE d < '0001-01-01'"),
        same("SELECT id, d FROM times WHERE d = '0001-12-31 BC'"),
        same("SELECT id FROM times WHERE ts < '0044-03-15 12:00:00.000002 BC'"),
        exactly("SELECT min(d), min(ts), min(tz) FROM times"),
        exactly("SELECT id, d FROM times ORDER BY d, id LIMIT 3"),
        exactly(
            "SELECT id FROM times WHERE d <= '9999-12-31' AND ts > '9999-12-31 23:59:59.999998'",
        ),
        exactly("SELECT id FROM times WHERE ts BETWEEN '1582-10-04' AND '1582-10-16'"),
        same("SELECT a.id, b.id FROM shop.public.times a JOIN other.public.times b ON a.d = b.d"),
    ]);
}

/// Infinity is an error that names the column, or infinity; never another time.
#[test]
fn the_ends_of_time() {
    check(&[
        refused("SELECT d FROM endless", "22008", "d"),
        refused("SELECT ts FROM endless WHERE id = 2", "22008", "ts"),
        refused("SELECT tz FROM endless WHERE id = 3", "22008", "tz"),
        refused("SELECT max(d) FROM endless", "22008", ""),
        exactly("SELECT id FROM endless WHERE d > '2000-01-01'").unless_read("22008"),
        exactly("SELECT id FROM endless WHERE ts <= '2024-01-01'").unless_read("22008"),
        exactly("SELECT count(*), count(tz) FROM endless").unless_read("22008"),
        same("SELECT id FROM endless WHERE d IS NULL").unless_read("22008"),
        same("SELECT id, d, ts, tz FROM lenient.public.endless"),
        same("SELECT id FROM lenient.public.endless WHERE d = 'infinity'"),
        same("SELECT id FROM lenient.public.endless WHERE ts < 'infinity'"),
        same("SELECT id FROM lenient.public.endless ORDER BY tz, id"),
        same("SELECT max(d), min(ts) FROM lenient.public.endless"),
        same("SELECT d, count(*) FROM lenient.public.endless GROUP BY d"),
        same(
            "SELECT a.id, b.id FROM lenient.public.endless a JOIN lenient.public.endless b ON a.ts = b.ts",
        ),
    ]);
}
