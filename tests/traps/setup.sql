-- Values that tell a source's semantics from the engine's, each row another trap. Two databases have them: one
-- that is read through Sluice, under a locale and with awkward defaults, and one that says what is right.

-- Texts that some collation calls equal, or orders in another way than their bytes.
CREATE TABLE texts (
    id integer PRIMARY KEY,
    t text,
    v character varying(12),
    c character(4),
    cit citext,
    ci text COLLATE anycase,
    de text COLLATE "de-x-icu",
    k integer
);
INSERT INTO texts
SELECT n, s, left(s, 12), left(s, 4), s, s, s, n % 4
FROM unnest(ARRAY['', ' ', 'a', 'A', 'a ', 'a  ', ' a', 'ab', 'aB', 'Ab', 'AB', 'b', 'B', 'á', 'Á', 'a' || chr(769),
    'ä', 'ß', 'ss', 'SS', 'ı', 'I', 'i', 'z', 'Z', '_', '%', 'a%b', 'a_b', 'axb', 'a\b', '\', '\\', 'a''b', '''',
    '"', E'a\nb', E'\t', '10', '9', '-', 'a-b', '$1', '/*', '--', '𝄞', 'ö', 'o', NULL, NULL])
    WITH ORDINALITY AS list(s, n);

-- Integers at their ends, decimals that Arrow's first type has no room for, floats that are no numbers.
CREATE TABLE numbers (
    id integer PRIMARY KEY,
    i2 smallint,
    i4 integer,
    i8 bigint,
    n numeric(10,2),
    w numeric(38,10),
    ww numeric(60,5),
    u numeric,
    f4 real,
    f8 double precision
);
INSERT INTO numbers VALUES
    (1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    (2, 1, 1, 1, 1.50, 1.5, 1.5, 1.5, 1.5, 1.5),
    (3, -1, -1, -1, -1.50, -1.5, -1.5, -1.5, -1.5, -1.5),
    (4, 7, 7, 7, 0.10, 0.1, 0.1, 0.1, 0.1, 0.1),
    (5, -7, -7, -7, -0.10, -0.1, -0.1, -0.1, -0.1, -0.1),
    (6, 32767, 2147483647, 9223372036854775807, 99999999.99, 9999999999999999999999999999.9999999999,
        9999999999999999999999999999999999999999999999999999999.99999, 12345678901234567890123456789012345678.12345678901234567890,
        3.4e38, 1.7e308),
    (7, -32768, -2147483648, -9223372036854775808, -99999999.99, -9999999999999999999999999999.9999999999,
        -9999999999999999999999999999999999999999999999999999999.99999, -0.00000000000000000001, -3.4e38, -1.7e308),
    (8, 3, 3, 3, 2.50, 2.5, 2.5, 2.5, 'NaN', 'NaN'),
    (9, 3, 3, 3, 3.50, 3.5, 3.5, 3.5, 'Infinity', 'Infinity'),
    (10, 3, 3, 3, -2.50, -2.5, -2.5, -2.5, '-Infinity', '-Infinity'),
    (11, 2, 2, 2, 0, 0, 0, 0, '-0', '-0'),
    (12, 2, 2, 9007199254740993, 0.01, 0.0000000001, 0.00001, 0.00000000000000000001, 16777217, 9007199254740993),
    (13, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (14, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1e-45, 5e-324);

-- The same without the ends, for sums that must not overflow.
CREATE TABLE small_numbers AS SELECT * FROM numbers WHERE id NOT IN (6, 7);
ALTER TABLE small_numbers ADD PRIMARY KEY (id);

-- What decimals of 76 digits cannot hold.
CREATE TABLE odd_numbers (id integer PRIMARY KEY, what text, u numeric, n numeric(10,2));
INSERT INTO odd_numbers VALUES
    (1, 'plain', 1.5, 1.50), (2, 'nan', 'NaN', 'NaN'), (3, 'infinity', 'Infinity', 1),
    (4, 'digits', ('1' || repeat('0', 999))::numeric, 1), (5, 'scale', ('0.' || repeat('3', 1000))::numeric, 1),
    (6, 'twenty-one', 0.000000000000000000001, 1), (7, 'null', NULL, NULL);

CREATE TABLE times (
    id integer PRIMARY KEY,
    d date,
    ts timestamp,
    tz timestamptz,
    t time,
    iv interval
);
INSERT INTO times VALUES
    (1, '1970-01-01', '1970-01-01 00:00:00', '1970-01-01 00:00:00+00', '00:00:00', '0'),
    (2, '1969-12-31', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00', '23:59:59.999999', '1 day'),
    (3, '2000-02-29', '2000-02-29 12:34:56.789', '2000-02-29 12:34:56.789+02', '12:34:56.789', '24 hours'),
    (4, '1582-10-15', '1582-10-15 01:02:03', '1582-10-15 01:02:03+00', '01:02:03', '1 mon'),
    (5, '0001-01-01', '0001-01-01 00:00:00', '0001-01-01 00:00:00+00', '18:30:00', '30 days'),
    (6, '0001-12-31 BC', '0044-03-15 12:00:00.000001 BC', '0044-03-15 12:00:00 BC', '12:00', '-3 mons 4 days 05:06:07.8'),
    (7, '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00', '06:00:00.000001', '1 year'),
    (8, '2024-03-31', '2024-03-31 02:30:00', '2024-03-31 02:30:00+01', '02:30:00', '00:00:00.000001'),
    (9, '2024-10-27', '2024-10-27 02:30:00', '2024-10-27 02:30:00+00', '02:30:00', '-1 day'),
    (10, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE endless (id integer PRIMARY KEY, d date, ts timestamp, tz timestamptz);
INSERT INTO endless VALUES (1, '2024-01-01', '2024-01-01', '2024-01-01 00:00+00'), (2, 'infinity', 'infinity', 'infinity'),
    (3, '-infinity', '-infinity', '-infinity'), (4, NULL, NULL, NULL);

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Ångström');
CREATE TYPE place AS (x integer, y text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE things (
    id integer PRIMARY KEY,
    m mood,
    j json,
    jb jsonb,
    mo money,
    h hstore,
    b bit(4),
    vb bit varying(8),
    u uuid,
    x xml,
    r int4range,
    ip inet,
    a integer[],
    ta text[],
    p positive,
    cp place,
    lsn pg_lsn,
    by bytea,
    o boolean
);
INSERT INTO things VALUES
    (1, 'sad', '{"a": 1, "b": 2}', '{"b": 2, "a": 1}', '12.34', 'a=>1,b=>2', B'1010', B'1', '00000000-0000-0000-0000-000000000001',
     '<a/>', '[1,5)', '10.0.0.1', '{1,2,NULL}', '{a,"b,c",NULL}', 1, '(1,"a b")', '0/16B3740', '\x00ff', true),
    (2, 'ok', '{"b": 2, "a": 1}', '{"a": 1.0, "b": 2}', '-12.34', 'b=>2,a=>1', B'0101', B'01', 'FFFFFFFF-ffff-ffff-ffff-ffffffffffff',
     '<a></a>', '(0,5)', '10.0.0.1/32', '{}', '{}', 2, '(2,)', 'FFFFFFFF/FFFFFFFF', '\x', false),
    (3, 'happy', '{"a":1,"b":2}', '{"a": 1, "b": 2}', '1000', '"a"=>NULL', B'1111', B'', '00000000-0000-0000-0000-000000000001',
     'x', 'empty', '10.0.0.0/8', '{NULL}', '{""}', 3, '(,)', '0/0', '\x5c', NULL),
    (4, 'Ångström', 'null', 'null', '0', '', B'0000', B'00000001', '{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}',
     '<b c="d"/>', '(,)', '::1', '{3,2,1}', '{NULL,NULL}', 4, '(3,"""")', '0/1', 'a', true),
    (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- Keys with NULLs and duplicates on both sides.
CREATE TABLE lefts (id integer PRIMARY KEY, k integer, s text);
CREATE TABLE rights (id integer PRIMARY KEY, k integer, s text);
CREATE TABLE nothing (id integer PRIMARY KEY, k integer, s text);
INSERT INTO lefts SELECT i, CASE i % 5 WHEN 0 THEN NULL ELSE i % 7 END, CASE i % 3 WHEN 0 THEN NULL ELSE chr(64 + i) END
    FROM generate_series(1, 20) AS i;
INSERT INTO rights SELECT i, CASE i % 4 WHEN 0 THEN NULL ELSE i % 9 END, CASE i % 2 WHEN 0 THEN NULL ELSE chr(96 + i) END
    FROM generate_series(1, 15) AS i;

-- Enough pages for several pieces.
CREATE TABLE events AS
    SELECT i AS id, i % 100 AS k, 'event ' || i AS s, repeat('x', 60) AS filler FROM generate_series(1, 20000) AS i;
ALTER TABLE events ADD PRIMARY KEY (id);
