-- What the corpus asks about. Made in the real PostgreSQL, which Sluice reads as catalog `shop`.
CREATE TABLE people (
    id integer PRIMARY KEY,
    name text NOT NULL,
    city text,
    born date,
    height double precision,
    salary numeric(12,2),
    active boolean,
    boss integer
);
INSERT INTO people VALUES
    (1, 'Ada', 'London', '1815-12-10', 1.65, 5200.50, true, NULL),
    (2, 'Grace', 'New York', '1906-12-09', 1.52, 6100.00, true, 1),
    (3, 'Linus', 'Helsinki', '1969-12-28', 1.77, 7000.25, true, 2),
    (4, 'Edsger', 'Rotterdam', '1930-05-11', NULL, 6800.00, false, 2),
    (5, 'Barbara', NULL, '1939-11-07', 1.60, NULL, true, 1),
    (6, 'José', 'São Paulo', '1962-02-28', 1.70, 4100.10, NULL, 3)
ON CONFLICT DO NOTHING;
INSERT INTO people VALUES
    (7, 'O''Brien', 'Dublin', '1970-01-01', 1.80, 3999.99, true, 3),
    (8, 'zoë', 'london', '2000-02-29', 1.68, 4100.10, false, 7),
    (9, '', '', NULL, 0, 0, NULL, NULL),
    (10, 'back\slash', 'per%cent', '1999-12-31', -1.5, -0.01, true, 9);

CREATE TABLE orders (
    id bigint PRIMARY KEY,
    person integer,
    placed timestamp,
    amount numeric(10,2),
    status character varying(10)
);
INSERT INTO orders
SELECT i, i % 12, timestamp '2024-01-01 00:00:00' + i * interval '7 hours 13 minutes',
       (i * 37 % 1000)::numeric / 4, (ARRAY['new', 'paid', 'sent', NULL])[i % 4 + 1]
FROM generate_series(1, 200) AS i;

CREATE TABLE numbers (
    id integer PRIMARY KEY,
    small smallint,
    big bigint,
    exact numeric(20,6),
    real4 real,
    real8 double precision
);
INSERT INTO numbers VALUES
    (1, 0, 0, 0, 0, 0),
    (2, 1, 1, 1.5, 1.5, 1.5),
    (3, -1, -1, -1.5, -1.5, -1.5),
    (4, 32767, 9223372036854775807, 12345678901234.567890, 3.4e38, 1.7e308),
    (5, -32768, -9223372036854775808, -12345678901234.567890, -3.4e38, -1.7e308),
    (6, NULL, NULL, NULL, NULL, NULL),
    (7, 7, 7, 0.000001, 'NaN', 'NaN'),
    (8, 8, 8, 2.5, 'Infinity', 'Infinity'),
    (9, 9, 9, -2.5, '-Infinity', '-Infinity'),
    (10, 10, 10, 3.5, '-0', '-0');

CREATE TABLE times (
    id integer PRIMARY KEY,
    day date,
    at timestamp,
    zoned timestamptz,
    clock time
);
INSERT INTO times VALUES
    (1, '1970-01-01', '1970-01-01 00:00:00', '1970-01-01 00:00:00+00', '00:00:00'),
    (2, '1969-12-31', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00', '23:59:59.999999'),
    (3, '2000-02-29', '2000-02-29 12:34:56.789', '2000-02-29 12:34:56.789+02', '12:34:56.789'),
    (4, '1582-10-15', '1582-10-15 01:02:03', '1582-10-15 01:02:03+00', '01:02:03'),
    (5, '9999-12-31', '9999-12-31 23:59:59', '9999-12-31 23:59:59+00', '06:00:00'),
    (6, '0001-01-01', '0001-01-01 00:00:00', '0001-01-01 00:00:00+00', '18:30:00'),
    (7, NULL, NULL, NULL, NULL),
    (8, '2024-03-31', '2024-03-31 01:30:00', '2024-03-31 01:30:00+00', '01:30:00');

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE things (
    id integer PRIMARY KEY,
    label character(5),
    code character varying(8),
    tag uuid,
    doc jsonb,
    raw json,
    bytes bytea,
    feeling mood,
    list integer[],
    words text[],
    span interval,
    host inet
);
INSERT INTO things VALUES
    (1, 'abc', 'x', '00000000-0000-0000-0000-000000000001', '{"a": 1, "b": [1, 2]}', '{"a":1}', '\x00ff', 'sad',
     '{1,2,3}', '{a,b}', '1 day', '10.0.0.1'),
    (2, 'ABC', 'X', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', '[1, 2]', '\x', 'ok',
     '{}', '{}', '-3 mons 4 days 05:06:07.8', '::1'),
    (3, '', '', NULL, 'null', 'null', '\xdeadbeef', 'happy',
     '{NULL,4}', '{"a,b","c\"d",NULL}', '00:00:00', '192.168.0.0/16'),
    (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

ANALYZE;
