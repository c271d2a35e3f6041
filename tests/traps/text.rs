//! Text: locales, collations that call different texts equal, padding, patterns, and quoting.

use super::{check, exactly, fails, kept, same};

/// Ranges, orders and extremes of text are those of its bytes, whatever locale the source has.
#[test]
fn text_ranges_under_a_locale() {
    check(&[
        exactly("SELECT id FROM texts WHERE t < 'b'").says("COLLATE \"C\" < "),
        exactly("SELECT id FROM texts WHERE t >= 'B' AND t <= 'a'").says("COLLATE \"C\""),
        exactly("SELECT id FROM texts WHERE t BETWEEN 'A' AND 'Z'"),
        exactly("SELECT id FROM texts WHERE v > 'a' AND id < 40"),
        exactly("SELECT id FROM texts WHERE de > 'z'").says("COLLATE \"C\""),
        exactly("SELECT id FROM texts WHERE NOT (t < 'b')"),
        exactly("SELECT id FROM texts WHERE t <= '' OR t > '𝄝'"),
        exactly(
            "SELECT a.id, b.id FROM texts a JOIN texts b ON a.t < b.t WHERE a.id < 20 AND b.id < 20",
        ),
        same("SELECT id FROM texts WHERE t < v"),
        same("SELECT id FROM texts WHERE t > lower(t)"),
        same("SELECT id FROM texts WHERE t COLLATE \"C\" > 'a'"),
    ]);
}

#[test]
fn text_order_under_a_locale() {
    check(&[
        exactly("SELECT t, id FROM texts ORDER BY t, id LIMIT 20").says("COLLATE \"C\""),
        exactly("SELECT t, id FROM texts ORDER BY t DESC, id LIMIT 20").says("COLLATE \"C\""),
        exactly("SELECT v, id FROM texts ORDER BY v DESC NULLS LAST, id LIMIT 7 OFFSET 5"),
        exactly("SELECT de, id FROM texts ORDER BY de NULLS FIRST, id LIMIT 9")
            .says("COLLATE \"C\""),
        same("SELECT t, id FROM texts ORDER BY t, id"),
        same("SELECT t, row_number() OVER (ORDER BY t, id) FROM texts"),
        same("SELECT t, k, rank() OVER (PARTITION BY k ORDER BY t DESC) FROM texts"),
        same("SELECT id FROM texts ORDER BY lower(t), id LIMIT 30"),
    ]);
}

#[test]
fn text_extremes_under_a_locale() {
    check(&[
        exactly("SELECT min(t), max(t) FROM texts").says("COLLATE \"C\""),
        exactly("SELECT min(v), max(v) FROM texts WHERE t > 'a'"),
        exactly("SELECT min(de), max(de) FROM texts").says("COLLATE \"C\""),
        exactly("SELECT k, min(t), max(de) FROM texts GROUP BY k"),
        same("SELECT max(t) FROM texts HAVING max(t) > 'z'"),
        same("SELECT k, max(lower(t)) FROM texts GROUP BY k"),
        same("SELECT greatest(t, de COLLATE \"C\", 'm'), least(v, 'm') FROM texts").as_text(),
    ]);
}

/// Under a deterministic collation, equal is equal.
#[test]
fn text_equality_under_a_locale() {
    check(&[
        exactly("SELECT id FROM texts WHERE t = 'a'"),
        exactly("SELECT id FROM texts WHERE t <> 'ab'"),
        exactly("SELECT id FROM texts WHERE t IN ('ab', 'AB', 'á', 'x', '')"),
        exactly("SELECT id FROM texts WHERE de NOT IN ('ab', 'AB', 'á', 'ß')"),
        exactly("SELECT t, count(*) FROM texts GROUP BY t"),
        exactly("SELECT DISTINCT de FROM texts"),
        exactly("SELECT count(DISTINCT t), count(DISTINCT v) FROM texts"),
        exactly("SELECT a.id, b.id FROM texts a JOIN texts b ON a.t = b.t"),
        exactly("SELECT a.id, b.id FROM texts a JOIN texts b ON a.v = b.t"),
        exactly(
            "SELECT id FROM texts a WHERE EXISTS (SELECT FROM texts b WHERE b.de = a.de AND b.id <> a.id)",
        ),
        same("SELECT a.id, b.id FROM shop.public.texts a JOIN other.public.texts b ON a.t = b.t"),
    ]);
}

/// What such a collation calls equal is not: it is neither filtered, grouped, joined nor counted there alone.
/// The worst of it is keys of a join, which other engines send there and lose or double rows by.
#[test]
fn collations_that_ignore_case_and_accents() {
    check(&[
        exactly("SELECT id FROM texts WHERE ci = 'ab'").says("COLLATE \"C\""),
        exactly("SELECT id FROM texts WHERE ci <> 'ab'").says("COLLATE \"C\""),
        exactly("SELECT id FROM texts WHERE ci IN ('ab', 'Z')").says("COLLATE \"C\""),
        exactly("SELECT id FROM texts WHERE ci NOT IN ('ab', 'Z')").says("COLLATE \"C\""),
        same("SELECT id FROM texts WHERE NOT (ci = 'ab' OR ci = 'z')"),
        same("SELECT id FROM texts WHERE ci > 'a' AND ci <= 'b'"),
        same("SELECT id FROM texts WHERE ci = 'ab' LIMIT 10"),
        same("SELECT count(*) FROM texts WHERE ci = 'ab'"),
        same("SELECT ci, count(*) FROM texts GROUP BY ci"),
        same("SELECT DISTINCT ci FROM texts"),
        same("SELECT count(DISTINCT ci) FROM texts"),
        same("SELECT min(ci), max(ci) FROM texts"),
        same("SELECT ci, id FROM texts ORDER BY ci, id LIMIT 12"),
        same("SELECT id FROM texts WHERE ci LIKE 'a%'"),
        same("SELECT a.id, b.id FROM texts a JOIN texts b ON a.ci = b.ci"),
        same("SELECT a.id, b.id FROM texts a LEFT JOIN texts b ON a.ci = b.ci AND a.id <> b.id"),
        same(
            "SELECT id FROM texts a WHERE NOT EXISTS (SELECT FROM texts b WHERE b.ci = a.ci AND b.id <> a.id)",
        ),
        same("SELECT a.id, b.id FROM shop.public.texts a JOIN other.public.texts b ON a.ci = b.ci"),
        same(
            "SELECT a.id, b.id FROM shop.public.texts a JOIN other.public.texts b ON a.t = b.ci WHERE a.k = 1",
        ),
        same(
            "SELECT a.id FROM shop.public.texts a WHERE a.ci IN (SELECT t FROM other.public.texts WHERE k = 2)",
        ),
        same("SELECT ci FROM texts UNION SELECT t FROM texts"),
    ]);
}

#[test]
fn citext_is_not_text() {
    check(&[
        same("SELECT id FROM texts WHERE cit::text = 'ab'"),
        same("SELECT id FROM texts WHERE cit::text <> 'ab'"),
        same("SELECT cit::text, count(*) FROM texts GROUP BY cit::text"),
        same("SELECT DISTINCT cit::text FROM texts"),
        same(
            "SELECT a.id, b.id FROM shop.public.texts a JOIN other.public.texts b ON a.t = b.cit::text",
        ),
        same("SELECT a.id, b.id FROM texts a JOIN texts b ON a.cit::text = b.cit::text"),
        same("SELECT max(cit::text) FROM texts"),
        kept("SELECT id FROM texts WHERE cit::text LIKE 'A%'"),
        exactly("SELECT id FROM texts WHERE cit IS NULL"),
        exactly("SELECT count(cit) FROM texts"),
    ]);
}

/// Trailing blanks of `character(n)` do not count, and those of other text do.
#[test]
fn trailing_blanks() {
    check(&[
        exactly("SELECT id, c FROM texts WHERE c = 'ab'"),
        exactly("SELECT id, t FROM texts WHERE t = 'a'"),
        exactly("SELECT id, t FROM texts WHERE t = 'a '"),
        same("SELECT id, c FROM texts WHERE c = 'ab  '"),
        same("SELECT id, c FROM texts WHERE 'a' = c"),
        same("SELECT id, c FROM texts WHERE c <> 'a '"),
        same("SELECT id, c FROM texts WHERE c IN ('a', 'b ', 'AB  ')"),
        same("SELECT id, c FROM texts WHERE c NOT IN ('a', 'b ')"),
        same("SELECT id, c FROM texts WHERE c < 'b' OR c >= 'z '"),
        same("SELECT id FROM texts WHERE c LIKE 'a%'"),
        same("SELECT id FROM texts WHERE c LIKE '%b'"),
        same("SELECT c, count(*) FROM texts GROUP BY c"),
        same("SELECT DISTINCT c FROM texts"),
        same("SELECT count(DISTINCT c) FROM texts"),
        same("SELECT min(c), max(c) FROM texts"),
        same("SELECT c, id FROM texts ORDER BY c, id LIMIT 15"),
        same("SELECT a.id, b.id FROM texts a JOIN texts b ON a.c = b.c"),
        same("SELECT a.id, b.id FROM shop.public.texts a JOIN other.public.texts b ON a.c = b.c"),
        same("SELECT id, length(c), c || '|', upper(c) FROM texts WHERE c <> 'ß'"),
        same("SELECT id, length(t), t || '|' FROM texts WHERE t LIKE '% '"),
        same("SELECT id FROM texts WHERE c = ''"),
        same("SELECT id FROM texts WHERE t = ''"),
    ]);
}

#[test]
fn patterns() {
    check(&[
        exactly("SELECT id FROM texts WHERE t LIKE 'a%'").says("ESCAPE"),
        exactly("SELECT id FROM texts WHERE t LIKE 'a\\%b'"),
        exactly("SELECT id FROM texts WHERE t LIKE 'a\\_b'"),
        exactly("SELECT id FROM texts WHERE t LIKE 'a\\\\b'"),
        exactly("SELECT id FROM texts WHERE t LIKE '_'"),
        exactly("SELECT id FROM texts WHERE t LIKE ''"),
        exactly("SELECT id FROM texts WHERE t LIKE '%''%'"),
        exactly("SELECT id FROM texts WHERE t NOT LIKE '%a%'"),
        exactly("SELECT id FROM texts WHERE de LIKE 'á%' OR de LIKE '%ß%'"),
        exactly("SELECT id FROM texts WHERE t LIKE E'%\\n%'"),
        same("SELECT id FROM texts WHERE t LIKE 'a!%b' ESCAPE '!'"),
        same("SELECT id FROM texts WHERE t LIKE 'a\\b' ESCAPE ''"),
        same("SELECT id FROM texts WHERE t LIKE NULL"),
        fails("SELECT id FROM texts WHERE t LIKE 'a\\'", "22025"),
        kept("SELECT id FROM texts WHERE t ILIKE 'AB'"),
        kept("SELECT id FROM texts WHERE t ILIKE 'á%'"),
        kept("SELECT id FROM texts WHERE t ~ '^[a-b]+$'"),
        kept("SELECT id FROM texts WHERE t ~* '^A'"),
        kept("SELECT id FROM texts WHERE upper(t) = 'AB'"),
        kept("SELECT id FROM texts WHERE lower(t) LIKE 'a%'"),
        same("SELECT id FROM texts WHERE starts_with(t, 'a')"),
        same("SELECT id FROM texts WHERE id < 25 AND v LIKE t"),
    ]);
}

/// Constants are written into statements: whatever they are, they must arrive as they are, also at a server
/// whose sessions take backslashes in strings.
#[test]
fn constants_cannot_escape_their_quotes() {
    check(&[
        exactly("SELECT id FROM texts WHERE t = 'a''b'"),
        exactly("SELECT id FROM texts WHERE t = ''''"),
        exactly("SELECT id FROM texts WHERE t = '\\'"),
        exactly("SELECT id FROM texts WHERE t = '\\\\'"),
        exactly("SELECT id FROM texts WHERE t = 'a\\b'"),
        exactly("SELECT id FROM texts WHERE t = '\\'' OR id > 0 --'"),
        exactly("SELECT id FROM texts WHERE t = '''; DROP TABLE texts; --'"),
        exactly("SELECT id FROM texts WHERE t IN ('$1', '/*', '--', '\"', '\\''', '$$')"),
        exactly("SELECT id FROM texts WHERE t = E'a\\nb' OR t = E'\\t'"),
        exactly("SELECT id FROM texts WHERE t = '𝄞' OR t = E'a\\u0301'"),
        same("SELECT id FROM things WHERE by = '\\x5c'"),
        same("SELECT id FROM texts WHERE t = ANY (ARRAY['\\', '''', '\"', 'a,b', '{', NULL])"),
        same("SELECT count(*) FROM texts WHERE t = $$'$$"),
    ]);
}
