//! PostgreSQL's own types, functions, operators and casts: the part of the catalogs that is the same
//! in every database.
//!
//! The rows are data files taken from a real server. Functions are those that Sluice answers and those
//! that types and operators refer to.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A row of `pg_type` that every database has.
#[derive(Debug)]
pub struct BuiltinType {
    /// `pg_type.oid`.
    pub oid: u32,
    /// `pg_type.typname`.
    pub name: &'static str,
    /// Bytes, or -1 (varlena), or -2 (C string).
    pub len: i16,
    /// `pg_type.typbyval`.
    pub by_value: bool,
    /// `b`, `p`, `r` or `m`.
    pub kind: &'static str,
    /// `pg_type.typcategory`.
    pub category: &'static str,
    /// `pg_type.typispreferred`.
    pub preferred: bool,
    /// The element of an array type, or 0.
    pub element: u32,
    /// The array of this type, or 0.
    pub array: u32,
    /// typinput, typoutput, typreceive, typsend, typmodin, typmodout.
    pub functions: [u32; 6],
    /// `pg_type.typalign`.
    pub align: &'static str,
    /// `pg_type.typstorage`.
    pub storage: &'static str,
    /// `pg_type.typcollation`.
    pub collation: u32,
    /// `pg_type.typsubscript`.
    pub subscript: u32,
    /// What `format_type(oid, NULL)` prints.
    pub display: &'static str,
}

/// A row of `pg_proc` that every database has.
#[derive(Debug)]
pub struct BuiltinFunction {
    /// `pg_proc.oid`.
    pub oid: u32,
    /// `pg_proc.proname`.
    pub name: &'static str,
    /// `pg_proc.prolang`.
    pub language: u32,
    /// `f`, `a`, `w` or `p`.
    pub kind: &'static str,
    /// Returns a set.
    pub returns_set: bool,
    /// `i`, `s` or `v`.
    pub volatility: &'static str,
    /// NULL in, NULL out.
    pub strict: bool,
    /// How many arguments have a default.
    pub defaults: i16,
    /// Result type.
    pub result: u32,
    /// Argument types.
    pub arguments: Vec<u32>,
    /// Element type of a variadic last argument, or 0.
    pub variadic: u32,
    /// `pg_proc.prosrc`.
    pub source: &'static str,
}

/// All types, by OID.
pub static TYPES: LazyLock<Vec<BuiltinType>> = LazyLock::new(|| {
    include_str!("data/types.txt")
        .lines()
        .filter_map(parse_type)
        .collect()
});

/// All functions, by OID.
pub static FUNCTIONS: LazyLock<Vec<BuiltinFunction>> = LazyLock::new(|| {
    include_str!("data/procs.txt")
        .lines()
        .filter_map(parse_function)
        .collect()
});

/// Lines of `pg_operator`: oid, name, kind, left, right, result, code, commutator, negator, can merge,
/// can hash.
pub(crate) fn operators() -> impl Iterator<Item = Vec<&'static str>> {
    include_str!("data/operators.txt").lines().map(|line| {
        // An operator's own name may hold the separator (`||`): cut the fixed parts off both ends.
        let mut back: Vec<&str> = line.rsplitn(10, '|').collect();
        back.reverse();
        let (oid, name) = back[0].split_once('|').unwrap_or((back[0], ""));
        let mut fields = vec![oid, name];
        fields.extend(&back[1..]);
        fields
    })
}

/// Lines of `pg_cast`: source, target, function, context, method.
pub(crate) fn casts() -> impl Iterator<Item = Vec<&'static str>> {
    include_str!("data/casts.txt")
        .lines()
        .map(|line| line.split('|').collect())
}

static TYPE_BY_OID: LazyLock<HashMap<u32, usize>> = LazyLock::new(|| {
    TYPES
        .iter()
        .enumerate()
        .map(|(at, t)| (t.oid, at))
        .collect()
});

static TYPE_BY_NAME: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let mut map: HashMap<&str, usize> = TYPES
        .iter()
        .enumerate()
        .map(|(at, t)| (t.display, at))
        .collect();
    map.extend(TYPES.iter().enumerate().map(|(at, t)| (t.name, at)));
    // The type "char" prints with quotes; without them the word means character(1).
    for (alias, name) in [
        ("int", "int4"),
        ("decimal", "numeric"),
        ("float", "float8"),
        ("char", "bpchar"),
    ] {
        if let Some(at) = TYPES.iter().position(|t| t.name == name) {
            map.insert(alias, at);
        }
    }
    map
});

/// The type with that OID.
pub fn type_by_oid(oid: u32) -> Option<&'static BuiltinType> {
    TYPE_BY_OID.get(&oid).map(|at| &TYPES[*at])
}

/// The type with that name, either spelling (`int8` or `bigint`), without arguments.
pub fn type_by_name(name: &str) -> Option<&'static BuiltinType> {
    TYPE_BY_NAME.get(name).map(|at| &TYPES[*at])
}

/// The function with that OID.
pub fn function_by_oid(oid: u32) -> Option<&'static BuiltinFunction> {
    FUNCTIONS
        .binary_search_by_key(&oid, |f| f.oid)
        .ok()
        .map(|at| &FUNCTIONS[at])
}

fn parse_type(line: &'static str) -> Option<BuiltinType> {
    let f: Vec<&str> = line.split('|').collect();
    let oid = |at: usize| f.get(at)?.parse::<u32>().ok();
    Some(BuiltinType {
        oid: oid(0)?,
        name: f[1],
        len: f[2].parse().ok()?,
        by_value: f[3] == "t",
        kind: f[4],
        category: f[5],
        preferred: f[6] == "t",
        element: oid(7)?,
        array: oid(8)?,
        functions: [oid(9)?, oid(10)?, oid(11)?, oid(12)?, oid(13)?, oid(14)?],
        align: f[15],
        storage: f[16],
        collation: oid(17)?,
        subscript: oid(18)?,
        display: f[19],
    })
}

fn parse_function(line: &'static str) -> Option<BuiltinFunction> {
    let f: Vec<&str> = line.split('|').collect();
    let oid = |at: usize| f.get(at)?.parse::<u32>().ok();
    Some(BuiltinFunction {
        oid: oid(0)?,
        name: f[1],
        language: oid(2)?,
        kind: f[3],
        returns_set: f[4] == "t",
        volatility: f[5],
        strict: f[6] == "t",
        defaults: f[8].parse().ok()?,
        result: oid(9)?,
        arguments: f[10].split(' ').filter_map(|a| a.parse().ok()).collect(),
        variadic: oid(11)?,
        source: f.get(12).copied().unwrap_or_default(),
    })
}
