//! Shapes of queries: NULL among keys and in orders, outer joins, groupings, and what may stand above a filter
//! that the source does not do exactly.

use super::{check, exactly, kept, same};

/// PostgreSQL sorts NULL last, others first; the order is always said.
#[test]
fn the_order_of_nulls() {
    check(&[
        exactly("SELECT k, id FROM lefts ORDER BY k, id LIMIT 18").says("NULLS LAST"),
        exactly("SELECT k, id FROM lefts ORDER BY k DESC, id LIMIT 6").says("NULLS FIRST"),
        exactly("SELECT k, id FROM lefts ORDER BY k NULLS FIRST, id DESC LIMIT 6")
            .says("NULLS FIRST"),
        exactly("SELECT k, id FROM lefts ORDER BY k DESC NULLS LAST, id LIMIT 18"),
        exactly(
            "SELECT s, k, id FROM lefts ORDER BY s DESC NULLS LAST, k NULLS FIRST, id LIMIT 5 OFFSET 10",
        ),
        same("SELECT k, id FROM lefts ORDER BY k, id"),
        same("SELECT k, id FROM lefts ORDER BY k DESC, id"),
        same("SELECT k, count(*) FROM lefts GROUP BY k ORDER BY k NULLS FIRST LIMIT 3"),
        same(
            "SELECT l.k, r.k FROM lefts l LEFT JOIN rights r ON l.id = r.k ORDER BY r.k DESC, l.id, r.id LIMIT 9",
        ),
        same("SELECT id, lag(k) OVER (ORDER BY k NULLS FIRST, id) FROM lefts"),
        same("SELECT min(k), max(k), count(k), sum(k) FROM lefts WHERE k IS NULL"),
    ]);
}

#[test]
fn not_in_with_nulls() {
    check(&[
        same("SELECT id FROM lefts WHERE k NOT IN (1, 2)"),
        same("SELECT id FROM lefts WHERE k NOT IN (1, NULL)"),
        same("SELECT id FROM lefts WHERE k IN (1, NULL)"),
        same("SELECT id FROM lefts WHERE NOT (k IN (1, NULL))"),
        same("SELECT id FROM lefts WHERE k NOT IN (SELECT k FROM rights)"),
        same("SELECT id FROM lefts WHERE k NOT IN (SELECT k FROM rights WHERE k IS NOT NULL)"),
        same("SELECT id FROM lefts WHERE k NOT IN (SELECT k FROM nothing)"),
        same("SELECT id FROM lefts WHERE k IN (SELECT k FROM nothing)"),
        same("SELECT id FROM lefts WHERE id NOT IN (SELECT k FROM rights WHERE k IS NOT NULL)"),
        same("SELECT id FROM lefts WHERE id NOT IN (SELECT id FROM rights)"),
        same(
            "SELECT count(*) FROM lefts WHERE k NOT IN (SELECT k FROM rights WHERE rights.s = lefts.s)",
        ).differs(),
        same("SELECT id FROM lefts WHERE k NOT IN (SELECT k FROM rights) OR id = 3"),
        same("SELECT id, k NOT IN (SELECT k FROM rights) FROM lefts").differs(),
        same("SELECT id FROM lefts WHERE k NOT IN (SELECT k FROM other.public.rights)"),
        same("SELECT id FROM lefts WHERE k NOT IN (SELECT k FROM other.public.rights WHERE k > 3)"),
        same("SELECT id FROM lefts WHERE id NOT IN (SELECT id FROM other.public.rights)"),
        same("SELECT id FROM lefts l WHERE NOT EXISTS (SELECT FROM rights r WHERE r.k = l.k)"),
        exactly("SELECT l.id FROM lefts l WHERE EXISTS (SELECT FROM rights r WHERE r.k = l.k)"),
        same("SELECT id FROM lefts WHERE k > ALL (SELECT k FROM rights)"),
        same("SELECT id FROM lefts WHERE k <> ALL (SELECT k FROM nothing)"),
        same("SELECT id FROM lefts WHERE k > ANY (SELECT k FROM rights)"),
    ]);
}

#[test]
fn outer_joins() {
    check(&[
        same("SELECT l.id, r.id FROM lefts l FULL JOIN rights r ON l.k = r.k"),
        same(
            "SELECT l.id, r.id FROM lefts l FULL JOIN rights r ON l.k = r.k WHERE l.id IS NULL OR r.id IS NULL",
        ),
        same("SELECT l.id, r.id FROM lefts l FULL JOIN nothing r ON l.k = r.k"),
        same("SELECT l.id, r.id FROM lefts l FULL JOIN other.public.rights r ON l.k = r.k"),
        same(
            "SELECT coalesce(l.k, r.k), count(*) FROM lefts l FULL JOIN rights r ON l.k = r.k GROUP BY 1",
        ),
        exactly("SELECT l.id, r.id FROM lefts l LEFT JOIN rights r ON l.k = r.k"),
        same("SELECT l.id, r.id FROM lefts l LEFT JOIN rights r ON l.k = r.k AND r.id > 5"),
        same("SELECT l.id, r.id FROM lefts l LEFT JOIN rights r ON l.k = r.k AND l.id > 5"),
        same("SELECT l.id, r.id FROM lefts l LEFT JOIN rights r ON l.k = r.k WHERE r.id > 5"),
        same("SELECT l.id, r.id FROM lefts l LEFT JOIN rights r ON l.k = r.k WHERE r.k IS NULL"),
        same(
            "SELECT l.id, r.id FROM lefts l LEFT JOIN rights r ON l.k = r.k WHERE coalesce(r.k, 3) = 3",
        ),
        same("SELECT l.id, r.id FROM lefts l RIGHT JOIN rights r ON l.k = r.k"),
        same("SELECT l.id, r.id FROM lefts l LEFT JOIN rights r ON false"),
        same(
            "SELECT l.id, r.id FROM lefts l LEFT JOIN other.public.rights r ON l.k = r.k WHERE r.s IS NULL",
        ),
        same(
            "SELECT l.id, r.id, n.id FROM lefts l LEFT JOIN rights r ON l.k = r.k LEFT JOIN nothing n ON n.id = r.id",
        ),
        same("SELECT count(*), count(r.id), sum(r.k) FROM lefts l LEFT JOIN rights r ON l.k = r.k"),
        same(
            "SELECT l.id, r.n FROM lefts l LEFT JOIN (SELECT k, count(*) AS n FROM rights GROUP BY k) r ON l.k = r.k",
        ),
        same(
            "SELECT l.id, r.one FROM lefts l LEFT JOIN (SELECT k, 1 AS one FROM rights) r ON l.k = r.k",
        ),
        same("SELECT l.id, r.id FROM lefts l JOIN rights r ON l.k IS NOT DISTINCT FROM r.k"),
    ]);
}

#[test]
fn groupings_and_ordered_aggregates() {
    check(&[
        same("SELECT k, s, count(*) FROM lefts GROUP BY ROLLUP (k, s)"),
        same("SELECT k, s, count(*) FROM lefts GROUP BY CUBE (k, s)"),
        same("SELECT k, s, count(*), grouping(k) FROM lefts GROUP BY GROUPING SETS ((k), (s), ())"),
        same("SELECT count(*) FILTER (WHERE k > 3), sum(id) FILTER (WHERE k IS NULL) FROM lefts"),
        same("SELECT k, count(*) FILTER (WHERE s IS NULL) FROM lefts GROUP BY k"),
        same("SELECT string_agg(s, ',' ORDER BY s DESC) FROM lefts"),
        same("SELECT k, string_agg(s, ',' ORDER BY id) FROM lefts GROUP BY k"),
        same("SELECT array_agg(id ORDER BY k NULLS FIRST, id DESC) FROM lefts"),
        same("SELECT k, array_agg(s ORDER BY id) FROM lefts GROUP BY k"),
        same("SELECT DISTINCT ON (k) k, id FROM lefts ORDER BY k, id DESC"),
        same("SELECT k, count(DISTINCT s), count(s), count(*) FROM lefts GROUP BY k"),
        same("SELECT count(*), sum(k) FROM nothing"),
        same("SELECT k, count(*) FROM nothing GROUP BY k"),
        same("SELECT k, count(*) FROM lefts GROUP BY k HAVING count(*) > 2 AND max(s) IS NOT NULL"),
        same("SELECT count(*) FROM (SELECT DISTINCT k, s FROM lefts) AS d"),
        same("SELECT k FROM lefts UNION SELECT k FROM rights"),
        same("SELECT k FROM lefts UNION ALL SELECT k FROM rights"),
        same("SELECT k, s FROM lefts INTERSECT SELECT k, upper(s) FROM rights"),
        same("SELECT k FROM lefts EXCEPT SELECT k FROM rights"),
        same("SELECT k FROM lefts EXCEPT ALL SELECT k FROM rights"),
        same("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY k) FROM lefts"),
        same(
            "SELECT id, sum(k) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM lefts",
        ),
    ]);
}

/// A limit, a top-N or an aggregate may only stand above what the source filters exactly.
#[test]
fn nothing_stands_above_an_inexact_filter() {
    check(&[
        kept("SELECT count(*) FROM texts WHERE upper(t) = 'AB'"),
        kept("SELECT id FROM texts WHERE upper(t) = 'AB' ORDER BY id LIMIT 2"),
        kept("SELECT max(id) FROM texts WHERE t ILIKE 'a%' AND k = 1"),
        kept("SELECT k, count(*) FROM texts WHERE length(t) = 1 AND id < 30 GROUP BY k"),
        kept("SELECT id FROM texts WHERE ci = 'ab' AND length(t) = 2 ORDER BY id LIMIT 1"),
        kept(
            "SELECT count(*) FROM texts a JOIN texts b ON a.id = b.id WHERE lower(a.t) = lower(b.t)",
        ),
        kept(
            "SELECT count(*) FROM texts a WHERE EXISTS (SELECT FROM texts b WHERE b.id = a.id AND length(b.t) = 1)",
        ),
        same("SELECT id FROM texts WHERE length(t) = 1 OR id = 1 ORDER BY id DESC LIMIT 3"),
        same("SELECT id FROM (SELECT id, t FROM texts ORDER BY id LIMIT 20) AS l WHERE t = 'ab'"),
        same(
            "SELECT id FROM (SELECT id, t FROM texts ORDER BY id LIMIT 20) AS l WHERE upper(t) = 'AB'",
        ),
        same("SELECT count(*) FROM (SELECT id FROM texts ORDER BY t DESC, id LIMIT 7) AS l"),
        same(
            "SELECT k, n FROM (SELECT k, count(*) AS n FROM texts GROUP BY k) AS g WHERE n > 11 AND k <> 2",
        ),
        same("SELECT max(id) FROM (SELECT DISTINCT ON (k) k, id FROM texts ORDER BY k, id) AS d"),
        same("SELECT id FROM texts ORDER BY id LIMIT 0"),
        same("SELECT id FROM texts ORDER BY id LIMIT 5 OFFSET 48"),
        same("SELECT id FROM texts ORDER BY id OFFSET 48"),
        same("SELECT count(*) FROM (SELECT id FROM texts LIMIT 9) AS l"),
        same("SELECT count(*) FROM (SELECT id FROM events LIMIT 1234) AS l"),
    ]);
}

/// The same over a table that is read in several pieces.
#[test]
fn pieces_of_a_table_are_one_table() {
    check(&[
        exactly("SELECT count(*), sum(id), min(s), max(s) FROM events"),
        same("SELECT k, count(*), max(s) FROM events WHERE s LIKE '%7' GROUP BY k"),
        same("SELECT id FROM events WHERE upper(s) = 'EVENT 777'"),
        same("SELECT s FROM events ORDER BY s DESC, id LIMIT 10"),
        same("SELECT count(*) FROM events a JOIN events b ON a.id = b.id AND a.s = b.s"),
        same(
            "SELECT count(*), sum(a.k) FROM shop.public.events a JOIN other.public.events b ON a.id = b.id",
        ),
        same(
            "SELECT count(*) FROM events a WHERE a.id NOT IN (SELECT id FROM other.public.events WHERE k = 3)",
        ),
        same("SELECT count(DISTINCT s), count(DISTINCT k) FROM events"),
        same(
            "SELECT count(*) FROM (SELECT k FROM events UNION ALL SELECT k FROM events) AS u WHERE k < 10",
        ),
    ]);
}
