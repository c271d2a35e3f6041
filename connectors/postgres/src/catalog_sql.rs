//! The questions to the source's catalogs, and their answers as rows. PostgreSQL 12 and newer.

use std::collections::HashMap;

use tokio_postgres::Row;

use crate::types::NativeType;

/// Every schema that is the user's own.
pub(crate) const SCHEMAS: &str = "\
SELECT nspname::text FROM pg_catalog.pg_namespace n
WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1";

/// Tables and views of schema $1.
pub(crate) const TABLES: &str = "\
SELECT c.relname::text, c.relkind::text, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1";

/// Unique keys of the tables of schema $1 (of table $2, unless it is NULL), the primary key first. A
/// deferrable key is the primary key all the same, but not unique at every moment. A parent of heirs has no key
/// here: its own holds for its own rows, and reading it gives theirs too.
pub(crate) const KEYS: &str = "\
SELECT c.relname::text, i.indisprimary, i.indimmediate,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k(attnum, ord)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
             WHERE k.ord <= i.indnkeyatts ORDER BY k.ord)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND ($2::text IS NULL OR c.relname = $2::text)
  AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT (c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))
ORDER BY 1, i.indisprimary DESC, i.indexrelid";

/// What the database's own settings say: the encoding, and whether the default collation is the byte
/// order. `to_jsonb` reads a column that servers before 15 do not have.
pub(crate) const DATABASE: &str = "\
SELECT pg_catalog.pg_encoding_to_char(encoding) = 'UTF8',
       pg_catalog.current_setting('server_version'),
       (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_')
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";

/// Every column of the tables of schema $1 (of table $2, unless it is NULL), in order. A table without
/// columns has one row with NULL for the column's name.
pub(crate) fn columns() -> String {
    format!(
        "SELECT c.relname::text AS \"table\", c.relkind::text AS kind,
                pg_catalog.obj_description(c.oid, 'pg_class') AS table_comment,
                a.attname::text AS name,
                a.attnotnull AND c.relkind <> 'f' AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.conrelid = c.oid AND k.contype = 'n' AND NOT k.convalidated AND a.attnum = ANY (k.conkey)
                ) AS not_null,
                pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared,
                pg_catalog.col_description(c.oid, a.attnum) AS comment,
                CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS \"default\",
                coalesce(a.attgenerated::text, '') AS generated, coalesce(a.attidentity::text, '') AS identity,
                co.collname::text AS collation, co.collisdeterministic AS deterministic,
                co.collprovider = 'c' AND co.collcollate IN ('C', 'POSIX')
                  OR co.collprovider = 'd' AND db.byte_order AS byte_order,
                db.utf8, a.attndims::int AS dimensions,
                {TYPE_COLUMNS}
         FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         CROSS JOIN (
             SELECT pg_catalog.pg_encoding_to_char(encoding) = 'UTF8' AS utf8,
                    coalesce(pg_catalog.to_jsonb(pg_database) ->> 'datlocprovider', 'c') = 'c'
                      AND datcollate IN ('C', 'POSIX') AS byte_order
             FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
         ) db
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
         {}
         WHERE n.nspname = $1::text AND ($2::text IS NULL OR c.relname = $2::text)
           AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
         ORDER BY c.relname, a.attnum",
        type_joins("a.atttypid", "a.atttypmod")
    )
}

/// The types of a statement's columns: oids $1 with typmods $2.
pub(crate) fn types() -> String {
    format!(
        "SELECT pg_catalog.format_type(x.oid, x.typmod) AS declared, 1 AS dimensions, {TYPE_COLUMNS}
         FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS x(oid, typmod, ord)
         {}
         ORDER BY x.ord",
        type_joins("x.oid", "x.typmod")
    )
}

/// What [`native_type`] reads.
const TYPE_COLUMNS: &str = "\
    bt.typname::text AS base_name, bn.nspname = 'pg_catalog' AS base_built_in, bt.typtype::text AS base_kind,
    CASE WHEN bt.typtype = 'e' THEN (
        SELECT pg_catalog.array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
        FROM pg_catalog.pg_enum e WHERE e.enumtypid = bt.oid
    ) END AS base_labels,
    base.typmod AS base_typmod, pg_catalog.format_type(base.oid, base.typmod) AS base_formatted,
    et.typname::text AS item_name, en.nspname = 'pg_catalog' AS item_built_in, et.typtype::text AS item_kind,
    item.typmod AS item_typmod, pg_catalog.format_type(item.oid, item.typmod) AS item_formatted";

/// Follows domains to their base type, and true arrays to their items' base type.
fn type_joins(oid: &str, typmod: &str) -> String {
    let resolve = |name: &str, oid: &str, typmod: &str| {
        format!(
            "LEFT JOIN LATERAL (
                 WITH RECURSIVE chain (oid, typmod, depth) AS (
                     SELECT {oid}, {typmod}, 0
                     UNION ALL
                     SELECT t.typbasetype, CASE WHEN chain.typmod = -1 THEN t.typtypmod ELSE chain.typmod END, chain.depth + 1
                     FROM chain JOIN pg_catalog.pg_type t ON t.oid = chain.oid WHERE t.typtype = 'd'
                 )
                 SELECT oid, typmod FROM chain ORDER BY depth DESC LIMIT 1
             ) {name} ON true"
        )
    };
    format!(
        "{}
         LEFT JOIN pg_catalog.pg_type bt ON bt.oid = base.oid
         LEFT JOIN pg_catalog.pg_namespace bn ON bn.oid = bt.typnamespace
         LEFT JOIN pg_catalog.pg_type ae ON ae.oid = bt.typelem AND ae.typarray = bt.oid
         {}
         LEFT JOIN pg_catalog.pg_type et ON et.oid = item.oid
         LEFT JOIN pg_catalog.pg_namespace en ON en.oid = et.typnamespace",
        resolve("base", oid, typmod),
        resolve("item", "ae.oid", "base.typmod"),
    )
}

/// The type in a row of [`columns`] or [`types`].
pub(crate) fn native_type(row: &Row) -> Result<NativeType, tokio_postgres::Error> {
    let element = match row.try_get::<_, Option<String>>("item_name")? {
        None => None,
        Some(name) => Some(Box::new(NativeType {
            name,
            built_in: row.try_get("item_built_in")?,
            kind: first_char(row.try_get("item_kind")?),
            typmod: row.try_get("item_typmod")?,
            formatted: row.try_get("item_formatted")?,
            element: None,
            dimensions: 0,
            labels: None,
        })),
    };
    Ok(NativeType {
        name: row.try_get("base_name")?,
        built_in: row.try_get("base_built_in")?,
        kind: first_char(row.try_get("base_kind")?),
        typmod: row.try_get("base_typmod")?,
        formatted: row.try_get("base_formatted")?,
        element,
        dimensions: row.try_get("dimensions")?,
        labels: row.try_get("base_labels")?,
    })
}

pub(crate) fn first_char(text: &str) -> char {
    text.chars().next().unwrap_or(' ')
}

/// Keys by table, from rows of [`KEYS`].
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) primary: Vec<String>,
    pub(crate) unique: Vec<Vec<String>>,
}

pub(crate) fn keys_by_table(rows: &[Row]) -> Result<HashMap<String, Keys>, tokio_postgres::Error> {
    let mut found: HashMap<String, Keys> = HashMap::new();
    for row in rows {
        let (table, primary, immediate, columns): (String, bool, bool, Vec<String>) = (
            row.try_get(0)?,
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
        );
        let keys = found.entry(table).or_default();
        if primary {
            keys.primary.clone_from(&columns);
        }
        if immediate {
            keys.unique.push(columns);
        }
    }
    Ok(found)
}
