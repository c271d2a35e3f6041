//! Values that travel as text in the one form that PostgreSQL prints them in: uuid, json, jsonb, inet, cidr, macaddr.
//!
//! A column of a source has that form already. Text that becomes such a value here is read as the type's input
//! function reads it, else equal values would be told apart and wrong ones believed. What is not surely
//! read the same way is refused.

mod json;
mod network;

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{ScalarUDF, Volatility};
use sluice_spi::{Error, Result, SqlState};

use super::udf::{Out, strict};

/// Reads a text.
type Reader = fn(&str) -> Result<String>;

/// The types: name, the function of a cast from text, and how it reads.
const FORMS: [(&str, &str, Reader); 7] = [
    ("uuid", "cast_uuid", uuid),
    ("json", "cast_json", json::json),
    ("jsonb", "cast_jsonb", json::jsonb),
    ("inet", "cast_inet", network::inet),
    ("cidr", "cast_cidr", network::cidr),
    ("macaddr", "cast_macaddr", network::macaddr),
    ("xml", "cast_xml", xml),
];

/// The text of a value of that type as PostgreSQL prints it; `None` for a type that needs no reading.
pub fn canonical(pg_type: &str, text: &str) -> Option<Result<String>> {
    let (_, _, read) = FORMS.iter().find(|(name, _, _)| *name == pg_type)?;
    Some(read(text))
}

static CASTS: LazyLock<Vec<Arc<ScalarUDF>>> =
    LazyLock::new(|| FORMS.iter().map(declared).map(Arc::new).collect());

/// The function that casts text to that type; `None` for a type that needs no reading.
pub fn cast_function(pg_type: &str) -> Option<Arc<ScalarUDF>> {
    let at = FORMS.iter().position(|(name, _, _)| *name == pg_type)?;
    CASTS.get(at).map(Arc::clone)
}

pub(super) fn functions() -> Vec<ScalarUDF> {
    CASTS.iter().map(|cast| cast.as_ref().clone()).collect()
}

fn declared((pg_type, function, read): &(&'static str, &'static str, Reader)) -> ScalarUDF {
    let read = *read;
    strict(
        function,
        &["t"],
        pg_type,
        Volatility::Immutable,
        move |row| {
            let text = row.text(0).map(read).transpose()?;
            Ok(Out::text(text))
        },
    )
}

fn invalid(pg_type: &str, text: &str) -> Error {
    let message = format!("invalid input syntax for type {pg_type}: \"{text}\"");
    Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
}

/// Nothing here reads XML.
fn xml(_: &str) -> Result<String> {
    let error = Error::unsupported("text as xml is not supported");
    Err(error.with_hint("Let the source read it: catalog.system.query('…')."))
}

/// `uuid_in`: 32 hexadecimal digits, a hyphen after any four of them, perhaps in braces.
fn uuid(text: &str) -> Result<String> {
    canonical_uuid(text).ok_or_else(|| invalid("uuid", text))
}

fn canonical_uuid(text: &str) -> Option<String> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut canonical = String::with_capacity(36);
    let mut digits = 0;
    let mut after_hyphen = true;
    for character in inner.chars() {
        if character == '-' {
            if digits % 4 != 0 || after_hyphen || digits == 32 {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        if !character.is_ascii_hexdigit() || digits == 32 {
            return None;
        }
        if matches!(digits, 8 | 12 | 16 | 20) {
            canonical.push('-');
        }
        canonical.push(character.to_ascii_lowercase());
        digits += 1;
        after_hyphen = false;
    }
    (digits == 32).then_some(canonical)
}

#[cfg(test)]
mod tests {
    use super::canonical_uuid;

    #[test]
    fn uuids_have_one_form() {
        let canonical = Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned());
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(canonical_uuid(text), canonical, "{text}");
        }
        for text in [
            "",
            "zzz",
            "a0eebc99",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0e-ebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(canonical_uuid(text), None, "{text}");
        }
    }
}
