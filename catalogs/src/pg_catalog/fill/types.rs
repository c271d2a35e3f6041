//! What is the same in every database: types, functions, operators, casts, languages, collations.

use super::super::builtin::{FUNCTIONS, TYPES, casts, operators};
use super::super::oids::{OWNER_OID, PG_CATALOG_OID};
use super::super::rows::{Rows, Value};
use super::super::snapshot::DatabaseSnapshot;
use super::Filler;

pub(super) fn filler(name: &str) -> Option<Filler> {
    Some(match name {
        "pg_type" => types,
        "pg_proc" => functions,
        "pg_operator" => operator_rows,
        "pg_cast" => cast_rows,
        "pg_am" => access_methods,
        "pg_language" => languages,
        "pg_collation" => collations,
        "pg_range" => ranges,
        "pg_aggregate" => aggregates,
        _ => return None,
    })
}

fn types(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for t in TYPES.iter() {
        let [input, output, receive, send, modin, modout] = t.functions;
        rows.push(&[
            ("oid", t.oid.into()),
            ("typname", t.name.into()),
            ("typnamespace", PG_CATALOG_OID.into()),
            ("typowner", OWNER_OID.into()),
            ("typlen", i64::from(t.len).into()),
            ("typbyval", t.by_value.into()),
            ("typtype", t.kind.into()),
            ("typcategory", t.category.into()),
            ("typispreferred", t.preferred.into()),
            ("typisdefined", true.into()),
            (
                "typdelim",
                if t.name == "box" || t.name == "_box" {
                    ";"
                } else {
                    ","
                }
                .into(),
            ),
            ("typrelid", 0u32.into()),
            ("typsubscript", t.subscript.into()),
            ("typelem", t.element.into()),
            ("typarray", t.array.into()),
            ("typinput", input.into()),
            ("typoutput", output.into()),
            ("typreceive", receive.into()),
            ("typsend", send.into()),
            ("typmodin", modin.into()),
            ("typmodout", modout.into()),
            ("typanalyze", 0u32.into()),
            ("typalign", t.align.into()),
            ("typstorage", t.storage.into()),
            ("typnotnull", false.into()),
            ("typbasetype", 0u32.into()),
            ("typtypmod", (-1i64).into()),
            ("typndims", 0i64.into()),
            ("typcollation", t.collation.into()),
        ]);
    }
}

fn functions(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for f in FUNCTIONS.iter() {
        rows.push(&[
            ("oid", f.oid.into()),
            ("proname", f.name.into()),
            ("pronamespace", PG_CATALOG_OID.into()),
            ("proowner", OWNER_OID.into()),
            ("prolang", f.language.into()),
            ("procost", Value::Float(1.0)),
            (
                "prorows",
                Value::Float(if f.returns_set { 1000.0 } else { 0.0 }),
            ),
            ("provariadic", f.variadic.into()),
            ("prosupport", 0u32.into()),
            ("prokind", f.kind.into()),
            ("prosecdef", false.into()),
            ("proleakproof", false.into()),
            ("proisstrict", f.strict.into()),
            ("proretset", f.returns_set.into()),
            ("provolatile", f.volatility.into()),
            ("proparallel", "s".into()),
            ("pronargs", (f.arguments.len() as i64).into()),
            ("pronargdefaults", i64::from(f.defaults).into()),
            ("prorettype", f.result.into()),
            (
                "proargtypes",
                Value::Ints(f.arguments.iter().map(|a| i64::from(*a)).collect()),
            ),
            ("prosrc", f.source.into()),
        ]);
    }
}

fn number(text: &str) -> Value<'static> {
    Value::int(text.parse().ok())
}

fn operator_rows(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for o in operators().filter(|o| o.len() == 11) {
        rows.push(&[
            ("oid", number(o[0])),
            ("oprname", o[1].into()),
            ("oprnamespace", PG_CATALOG_OID.into()),
            ("oprowner", OWNER_OID.into()),
            ("oprkind", o[2].into()),
            ("oprcanmerge", (o[9] == "t").into()),
            ("oprcanhash", (o[10] == "t").into()),
            ("oprleft", number(o[3])),
            ("oprright", number(o[4])),
            ("oprresult", number(o[5])),
            ("oprcom", number(o[7])),
            ("oprnegate", number(o[8])),
            ("oprcode", number(o[6])),
            ("oprrest", 0u32.into()),
            ("oprjoin", 0u32.into()),
        ]);
    }
}

fn cast_rows(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (c, oid) in casts().filter(|c| c.len() == 5).zip(10_000u32..) {
        rows.push(&[
            ("oid", oid.into()),
            ("castsource", number(c[0])),
            ("casttarget", number(c[1])),
            ("castfunc", number(c[2])),
            ("castcontext", c[3].into()),
            ("castmethod", c[4].into()),
        ]);
    }
}

fn access_methods(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    // Only those that tables and keys here refer to; their handlers do not exist.
    for (oid, name, kind) in [(2u32, "heap", "t"), (403, "btree", "i")] {
        rows.push(&[
            ("oid", oid.into()),
            ("amname", name.into()),
            ("amhandler", 0u32.into()),
            ("amtype", kind.into()),
        ]);
    }
}

fn languages(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (oid, name, trusted) in [
        (12u32, "internal", false),
        (13, "c", false),
        (14, "sql", true),
    ] {
        rows.push(&[
            ("oid", oid.into()),
            ("lanname", name.into()),
            ("lanowner", OWNER_OID.into()),
            ("lanispl", false.into()),
            ("lanpltrusted", trusted.into()),
            ("lanplcallfoid", 0u32.into()),
            ("laninline", 0u32.into()),
            ("lanvalidator", 0u32.into()),
        ]);
    }
}

fn collations(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for (oid, name, provider) in [
        (100u32, "default", "d"),
        (950, "C", "c"),
        (951, "POSIX", "c"),
    ] {
        let locale = if provider == "d" {
            Value::Null
        } else {
            Value::Str(name)
        };
        rows.push(&[
            ("oid", oid.into()),
            ("collname", name.into()),
            ("collnamespace", PG_CATALOG_OID.into()),
            ("collowner", OWNER_OID.into()),
            ("collprovider", provider.into()),
            ("collisdeterministic", true.into()),
            ("collencoding", (-1i64).into()),
            ("collcollate", locale.clone()),
            ("collctype", locale),
        ]);
    }
}

fn ranges(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    // rngtypid, rngsubtype, rngmultitypid, rngsubopc.
    const RANGES: [(u32, u32, u32, u32); 6] = [
        (3904, 23, 4451, 1978),
        (3906, 1700, 4532, 3125),
        (3908, 1114, 4533, 3128),
        (3910, 1184, 4534, 3127),
        (3912, 1082, 4535, 3122),
        (3926, 20, 4536, 3124),
    ];
    for (range, subtype, multirange, class) in RANGES {
        rows.push(&[
            ("rngtypid", range.into()),
            ("rngsubtype", subtype.into()),
            ("rngmultitypid", multirange.into()),
            ("rngcollation", 0u32.into()),
            ("rngsubopc", class.into()),
            ("rngcanonical", 0u32.into()),
            ("rngsubdiff", 0u32.into()),
        ]);
    }
}

fn aggregates(_snapshot: &DatabaseSnapshot, rows: &mut Rows) {
    for f in FUNCTIONS.iter().filter(|f| f.kind == "a") {
        rows.push(&[
            ("aggfnoid", f.oid.into()),
            (
                "aggkind",
                if f.name.starts_with("percentile") {
                    "o"
                } else {
                    "n"
                }
                .into(),
            ),
            ("aggnumdirectargs", 0i64.into()),
        ]);
    }
}
