-- One table of every common type: what a driver decodes in text and in binary must be the same.
CREATE TABLE kinds (
    id integer PRIMARY KEY,
    small smallint,
    big bigint NOT NULL,
    price numeric(12,2),
    ratio double precision,
    share real,
    ok boolean,
    name text,
    code character varying(10),
    day date,
    clock time,
    at timestamp,
    zoned timestamptz,
    tag uuid,
    doc jsonb,
    bytes bytea,
    list integer[],
    words text[]
);
COMMENT ON TABLE kinds IS 'one of each';
INSERT INTO kinds VALUES
    (1, -5, 9007199254740993, 1234567890.12, 0.1, 1.5, true, 'héllo', 'abc', '2024-02-29', '12:34:56.789',
     '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+02', '6f1c2c52-7a59-4a3e-9a55-8b6b2f0e5c11',
     '{"a": [1, null, "x"]}', '\x00ff10', '{1,NULL,3}', '{a,"b c"}'),
    (2, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE lines (kind integer NOT NULL, number integer NOT NULL, PRIMARY KEY (kind, number));
INSERT INTO lines SELECT i % 2 + 1, i FROM generate_series(1, 10) AS i;
ANALYZE;
