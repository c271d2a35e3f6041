//! OIDs for everything in a snapshot, and the way back from an OID to its name.
//!
//! An OID is a hash of kind and names, so that it is the same after a restart and on every gateway
//! without being stored. Collisions are resolved by probing in the order of the sorted names, which
//! every gateway does alike. Relies on nothing but the snapshot; never asks a source.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sluice_spi::{ForeignKey, TableDetails, TableMetadata};

use super::relations::{RELATIONS, SystemRelation};
use super::snapshot::{DatabaseSnapshot, SchemaSnapshot};

/// The first OID that PostgreSQL gives to a user's object (`FirstNormalObjectId`).
const FIRST_NORMAL_OID: u32 = 16384;
/// One past the last OID given: below 2^31, since some clients keep OIDs in a signed integer.
const OID_LIMIT: u32 = i32::MAX as u32;
/// `pg_catalog`.
pub(crate) const PG_CATALOG_OID: u32 = 11;
/// `information_schema`: not fixed in PostgreSQL, fixed here.
pub(crate) const INFORMATION_SCHEMA_OID: u32 = 13_000;
/// The role that owns the system's own objects, as PostgreSQL's bootstrap superuser.
pub(crate) const OWNER_OID: u32 = 10;
/// That role's name.
pub(crate) const OWNER_NAME: &str = "sluice";

/// A unique key, which PostgreSQL shows as an index and mostly as a constraint too.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// `pg_class.oid` of the index.
    pub index_oid: u32,
    /// `pg_constraint.oid`; `None` where it is an index alone.
    pub constraint_oid: Option<u32>,
    /// The name of both.
    pub name: String,
    /// It is the primary key.
    pub primary: bool,
    /// The columns' names in key order.
    pub columns: Vec<String>,
    /// Their numbers.
    pub numbers: Vec<i16>,
}

impl KeyEntry {
    /// SQL's words for it.
    pub(crate) fn words(&self) -> &'static str {
        if self.primary {
            "PRIMARY KEY"
        } else {
            "UNIQUE"
        }
    }
}

/// A foreign key.
#[derive(Debug, Clone)]
pub struct ForeignKeyEntry {
    /// `pg_constraint.oid`.
    pub oid: u32,
    /// Column numbers in key order.
    pub numbers: Vec<i16>,
    /// `pg_class.oid` of the table that it refers to.
    pub referenced_oid: u32,
    /// The schema of that table as it is named here.
    pub referenced_schema: String,
    /// Numbers of the columns that it refers to.
    pub referenced_numbers: Vec<i16>,
    /// What it is.
    pub key: ForeignKey,
}

/// What an OID of `pg_constraint` stands for.
#[derive(Debug, Clone, Copy)]
pub enum ConstraintRef<'a> {
    /// A unique key.
    Key(&'a KeyEntry),
    /// A foreign key.
    Foreign(&'a ForeignKeyEntry),
}

/// A table of the snapshot with its OIDs.
#[derive(Debug, Clone)]
pub struct TableEntry {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema's OID.
    pub schema_oid: u32,
    /// Its schema's name in this database.
    pub schema: String,
    /// What it is.
    pub table: Arc<TableMetadata>,
    /// Its unique keys, the primary one first.
    pub keys: Vec<KeyEntry>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKeyEntry>,
    /// Some table has a foreign key that refers to it.
    pub is_referenced: bool,
    /// The query of a view.
    pub view_query: Option<String>,
    /// Column number and `pg_attrdef.oid` of each default.
    pub defaults: Vec<(i16, u32)>,
}

/// What an OID of `pg_class` stands for.
#[derive(Debug, Clone, Copy)]
pub enum RelationRef<'a> {
    /// A table of the database.
    Table(&'a TableEntry),
    /// The index of a table's unique key.
    Index(&'a TableEntry, &'a KeyEntry),
    /// A system table or view.
    System(&'static SystemRelation),
}

impl<'a> RelationRef<'a> {
    /// The relation's schema.
    pub fn schema(&self) -> &'a str {
        match self {
            RelationRef::Table(entry) | RelationRef::Index(entry, _) => &entry.schema,
            RelationRef::System(relation) => relation.schema,
        }
    }

    /// The relation's name.
    pub fn name(&self) -> &'a str {
        match self {
            RelationRef::Table(entry) => &entry.table.name,
            RelationRef::Index(_, key) => &key.name,
            RelationRef::System(relation) => relation.name,
        }
    }

    /// Its OID.
    pub fn oid(&self) -> u32 {
        match self {
            RelationRef::Table(entry) => entry.oid,
            RelationRef::Index(_, key) => key.index_oid,
            RelationRef::System(relation) => relation.oid,
        }
    }
}

/// OIDs and names of a whole snapshot.
#[derive(Debug)]
pub struct Directory {
    /// Schemas with their OIDs, in the snapshot's order, system schemas first.
    pub schemas: Vec<(String, u32)>,
    /// Tables with their OIDs.
    pub tables: Vec<TableEntry>,
    /// Databases with their OIDs; the current one is always among them.
    pub databases: Vec<(String, u32)>,
    /// Roles with their OIDs.
    pub roles: Vec<(String, u32)>,
    /// Which table, and which of its keys where it is a key's index.
    relations_by_oid: HashMap<u32, (usize, Option<usize>)>,
    relations_by_name: HashMap<(String, String), u32>,
    system_by_oid: HashMap<u32, &'static SystemRelation>,
    /// Which table, and which of its keys or, after those, of its foreign keys.
    constraints_by_oid: HashMap<u32, (usize, usize)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key<'a> {
    kind: &'static str,
    schema: &'a str,
    name: &'a str,
    part: &'a str,
}

impl Directory {
    /// Gives an OID to everything in the snapshot.
    pub(crate) fn new(snapshot: &DatabaseSnapshot) -> Self {
        let mut keys: BTreeSet<Key<'_>> = BTreeSet::new();
        for database in snapshot.databases.iter().chain([&snapshot.database]) {
            keys.insert(key("database", "", database, ""));
        }
        for role in snapshot
            .roles
            .iter()
            .chain([&snapshot.user])
            .filter(|r| *r != OWNER_NAME)
        {
            keys.insert(key("role", "", role, ""));
        }
        for schema in &snapshot.schemas {
            keys.insert(key("schema", "", &schema.name, ""));
            for table in &schema.tables {
                keys.insert(key("relation", &schema.name, &table.name, ""));
                let details = schema.details_of(&table.name);
                if primary_key(details, table).is_some() {
                    keys.insert(key("index", &schema.name, &table.name, ""));
                    keys.insert(key("constraint", &schema.name, &table.name, ""));
                }
                for unique in details.iter().flat_map(|d| &d.keys).filter(|k| !k.primary) {
                    keys.insert(key("index", &schema.name, &table.name, &unique.name));
                    keys.insert(key("constraint", &schema.name, &table.name, &unique.name));
                }
                for foreign in details.iter().flat_map(|d| &d.foreign_keys) {
                    keys.insert(key("constraint", &schema.name, &table.name, &foreign.name));
                }
                for column in table.columns.iter().filter(|c| c.default.is_some()) {
                    keys.insert(key(
                        "default",
                        &schema.name,
                        &table.name,
                        column.field.name(),
                    ));
                }
            }
        }
        let oids = assign(&snapshot.database, &keys);
        let oid = |key: Key<'_>| oids.get(&key).copied().unwrap_or_default();

        let mut schemas = vec![
            ("pg_catalog".to_owned(), PG_CATALOG_OID),
            ("information_schema".to_owned(), INFORMATION_SCHEMA_OID),
        ];
        let mut tables = Vec::new();
        for schema in snapshot
            .schemas
            .iter()
            .filter(|s| !super::is_virtual_schema(&s.name))
        {
            let schema_oid = oid(key("schema", "", &schema.name, ""));
            schemas.push((schema.name.clone(), schema_oid));
            for table in &schema.tables {
                tables.push(TableEntry {
                    oid: oid(key("relation", &schema.name, &table.name, "")),
                    schema_oid,
                    schema: schema.name.clone(),
                    keys: keys_of(schema, table, &oid),
                    foreign_keys: Vec::new(),
                    is_referenced: false,
                    view_query: schema
                        .details_of(&table.name)
                        .and_then(|details| details.view_query.clone()),
                    defaults: table
                        .columns
                        .iter()
                        .zip(1i16..)
                        .filter(|(c, _)| c.default.is_some())
                        .map(|(c, n)| {
                            (
                                n,
                                oid(key("default", &schema.name, &table.name, c.field.name())),
                            )
                        })
                        .collect(),
                    table: table.clone(),
                });
            }
        }
        refer(snapshot, &mut tables, &oid);
        let of_kind = |kind: &str| -> Vec<(String, u32)> {
            keys.iter()
                .filter(|k| k.kind == kind)
                .map(|k| (k.name.to_owned(), oid(k.clone())))
                .collect()
        };
        let mut roles = vec![(OWNER_NAME.to_owned(), OWNER_OID)];
        roles.extend(of_kind("role"));
        let databases = of_kind("database");
        Directory::index(schemas, tables, databases, roles)
    }

    fn index(
        schemas: Vec<(String, u32)>,
        tables: Vec<TableEntry>,
        databases: Vec<(String, u32)>,
        roles: Vec<(String, u32)>,
    ) -> Self {
        let mut relations_by_oid = HashMap::new();
        let mut relations_by_name = HashMap::new();
        let mut constraints_by_oid = HashMap::new();
        let mut system_by_oid = HashMap::new();
        for relation in RELATIONS.iter() {
            system_by_oid.insert(relation.oid, relation);
            relations_by_name.insert(
                (relation.schema.to_owned(), relation.name.to_owned()),
                relation.oid,
            );
        }
        for (at, entry) in tables.iter().enumerate() {
            relations_by_oid.insert(entry.oid, (at, None));
            relations_by_name.insert((entry.schema.clone(), entry.table.name.clone()), entry.oid);
            for (number, key) in entry.keys.iter().enumerate() {
                relations_by_oid.insert(key.index_oid, (at, Some(number)));
                if let Some(oid) = key.constraint_oid {
                    constraints_by_oid.insert(oid, (at, number));
                }
                relations_by_name
                    .entry((entry.schema.clone(), key.name.clone()))
                    .or_insert(key.index_oid);
            }
            for (key, number) in entry.foreign_keys.iter().zip(entry.keys.len()..) {
                constraints_by_oid.insert(key.oid, (at, number));
            }
        }
        Directory {
            schemas,
            tables,
            databases,
            roles,
            relations_by_oid,
            relations_by_name,
            system_by_oid,
            constraints_by_oid,
        }
    }

    /// A schema's OID.
    pub fn schema_oid(&self, name: &str) -> Option<u32> {
        find_oid(&self.schemas, name)
    }

    /// A schema's name.
    pub fn schema_name(&self, oid: u32) -> Option<&str> {
        find_name(&self.schemas, oid)
    }

    /// A role's OID.
    pub fn role_oid(&self, name: &str) -> Option<u32> {
        find_oid(&self.roles, name)
    }

    /// A role's name.
    pub fn role_name(&self, oid: u32) -> Option<&str> {
        find_name(&self.roles, oid)
    }

    /// A database's OID.
    pub fn database_oid(&self, name: &str) -> Option<u32> {
        find_oid(&self.databases, name)
    }

    /// What an OID of `pg_class` stands for.
    pub fn relation(&self, oid: u32) -> Option<RelationRef<'_>> {
        if let Some(system) = self.system_by_oid.get(&oid) {
            return Some(RelationRef::System(system));
        }
        let (at, key) = *self.relations_by_oid.get(&oid)?;
        let entry = &self.tables[at];
        Some(match key {
            Some(key) => RelationRef::Index(entry, &entry.keys[key]),
            None => RelationRef::Table(entry),
        })
    }

    /// The relation of that schema and name.
    pub fn relation_named(&self, schema: &str, name: &str) -> Option<RelationRef<'_>> {
        let oid = self
            .relations_by_name
            .get(&(schema.to_owned(), name.to_owned()))?;
        self.relation(*oid)
    }

    /// What an OID of `pg_constraint` stands for.
    pub fn constraint(&self, oid: u32) -> Option<ConstraintRef<'_>> {
        let (at, number) = *self.constraints_by_oid.get(&oid)?;
        let entry = &self.tables[at];
        Some(match number.checked_sub(entry.keys.len()) {
            None => ConstraintRef::Key(&entry.keys[number]),
            Some(number) => ConstraintRef::Foreign(&entry.foreign_keys[number]),
        })
    }
}

/// A table's primary key: as the source tells it, else as plans know it, under the name that PostgreSQL would
/// have given it.
fn primary_key<'a>(
    details: Option<&'a TableDetails>,
    table: &'a TableMetadata,
) -> Option<(String, &'a [String])> {
    if let Some(key) = details.and_then(|d| d.keys.iter().find(|key| key.primary)) {
        return Some((key.name.clone(), &key.columns));
    }
    let known = !table.primary_key.is_empty();
    known.then(|| (format!("{}_pkey", table.name), &table.primary_key[..]))
}

/// The unique keys of a table, by the source's own names where it tells them.
fn keys_of(
    schema: &SchemaSnapshot,
    table: &TableMetadata,
    oid: &impl Fn(Key<'_>) -> u32,
) -> Vec<KeyEntry> {
    let details = schema.details_of(&table.name);
    let told = details.map_or(&[][..], |d| &d.keys);
    let part = |kind: &'static str, primary: bool, name: &str| {
        let part = if primary { "" } else { name };
        oid(key(kind, &schema.name, &table.name, part))
    };
    let entry = |name: &str, columns: &[String], primary: bool, constraint: bool| KeyEntry {
        index_oid: part("index", primary, name),
        constraint_oid: constraint.then(|| part("constraint", primary, name)),
        name: name.to_owned(),
        primary,
        columns: columns.to_vec(),
        numbers: column_numbers(table, columns),
    };
    let primary = primary_key(details, table);
    let mut keys: Vec<KeyEntry> = primary
        .map(|(name, columns)| entry(&name, columns, true, true))
        .into_iter()
        .collect();
    let unique = told.iter().filter(|key| !key.primary);
    keys.extend(unique.map(|key| entry(&key.name, &key.columns, false, key.constraint)));
    keys
}

/// Fills the foreign keys in, now that every table has its OID. One that refers to what is not shown here is
/// left out.
fn refer(snapshot: &DatabaseSnapshot, tables: &mut [TableEntry], oid: &impl Fn(Key<'_>) -> u32) {
    let places: HashMap<(String, String), usize> = tables
        .iter()
        .enumerate()
        .map(|(at, entry)| ((entry.schema.clone(), entry.table.name.clone()), at))
        .collect();
    let place = |schema: &str, table: &str| {
        let name = (schema.to_owned(), table.to_owned());
        places.get(&name).copied()
    };
    for schema in &snapshot.schemas {
        for details in schema.details.values() {
            let Some(at) = place(&schema.name, &details.table) else {
                continue;
            };
            for foreign in &details.foreign_keys {
                let referenced_schema = format!("{}{}", schema.prefix, foreign.schema);
                let Some(referenced) = place(&referenced_schema, &foreign.table) else {
                    continue;
                };
                tables[referenced].is_referenced = true;
                let entry = ForeignKeyEntry {
                    oid: oid(key(
                        "constraint",
                        &schema.name,
                        &details.table,
                        &foreign.name,
                    )),
                    numbers: column_numbers(&tables[at].table, &foreign.columns),
                    referenced_oid: tables[referenced].oid,
                    referenced_schema,
                    referenced_numbers: column_numbers(
                        &tables[referenced].table,
                        &foreign.referenced,
                    ),
                    key: foreign.clone(),
                };
                tables[at].foreign_keys.push(entry);
            }
        }
    }
}

fn find_oid(list: &[(String, u32)], name: &str) -> Option<u32> {
    list.iter().find(|(n, _)| n == name).map(|(_, oid)| *oid)
}

fn find_name(list: &[(String, u32)], oid: u32) -> Option<&str> {
    list.iter()
        .find(|(_, o)| *o == oid)
        .map(|(n, _)| n.as_str())
}

fn key<'a>(kind: &'static str, schema: &'a str, name: &'a str, part: &'a str) -> Key<'a> {
    Key {
        kind,
        schema,
        name,
        part,
    }
}

fn column_numbers(table: &TableMetadata, columns: &[String]) -> Vec<i16> {
    columns
        .iter()
        .filter_map(|column| column_number(table, column))
        .collect()
}

fn column_number(table: &TableMetadata, column: &str) -> Option<i16> {
    let at = table
        .columns
        .iter()
        .position(|c| c.field.name() == column)?;
    i16::try_from(at + 1).ok()
}

/// Every key's OID: its hash, or the next free one after it.
fn assign<'a>(database: &str, keys: &BTreeSet<Key<'a>>) -> HashMap<Key<'a>, u32> {
    let mut taken = std::collections::HashSet::with_capacity(keys.len());
    let mut oids = HashMap::with_capacity(keys.len());
    for key in keys {
        // Databases and roles are the same objects in whichever database one looks.
        let scope = if matches!(key.kind, "database" | "role") {
            ""
        } else {
            database
        };
        let span = u64::from(OID_LIMIT - FIRST_NORMAL_OID);
        let mut oid = FIRST_NORMAL_OID
            + (hash([scope, key.kind, key.schema, key.name, key.part]) % span) as u32;
        while !taken.insert(oid) {
            oid = if oid + 1 < OID_LIMIT {
                oid + 1
            } else {
                FIRST_NORMAL_OID
            };
        }
        oids.insert(key.clone(), oid);
    }
    oids
}

/// FNV-1a over the parts with a separator: small, and written down here for good, since a changed hash
/// would change every OID that a client has stored.
fn hash(parts: [&str; 5]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    // The low bits of FNV-1a are its weakest: fold the high half in.
    hash ^ (hash >> 32)
}
