//! What the gateway sends: messages appended to a buffer, and the one place that turns an error into an
//! ErrorResponse or NoticeResponse.

use bytes::BytesMut;
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus,
};
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion, ParameterStatus};
use sluice_catalogs::pg_catalog::visible_name;
use sluice_spi::{Error, SqlState};

use super::encode::Format;
use super::types::PgType;
use crate::session::Transaction;

/// How bad an error is for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// A notice.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
        }
    }
}

fn put(out: &mut Vec<u8>, message: &impl pgwire::messages::Message) {
    let mut buffer = BytesMut::with_capacity(message.message_length() + 1);
    // Encoding fails only for messages over their size limit, and all of these are bounded by us.
    if message.encode(&mut buffer).is_ok() {
        out.extend_from_slice(&buffer);
    }
}

/// An error's fields: S, V, C, M, D, H, P, and p and q for a place in a native text. Text is cut at NUL, which would end a field early.
fn fields(error: &Error, severity: Severity) -> Vec<(u8, String)> {
    let clean = |text: &str| text.replace('\0', "");
    let mut fields = vec![
        (b'S', severity.word().to_owned()),
        (b'V', severity.word().to_owned()),
        (b'C', error.code.code().to_owned()),
        (b'M', clean(&error.message)),
    ];
    fields.extend(error.detail.as_deref().map(|detail| (b'D', clean(detail))));
    fields.extend(error.hint.as_deref().map(|hint| (b'H', clean(hint))));
    fields.extend(error.position.map(|position| (b'P', position.to_string())));
    if let Some(native) = &error.native {
        fields.push((b'p', native.position.to_string()));
        fields.push((b'q', clean(&native.text)));
    }
    fields
}

/// ErrorResponse.
pub(super) fn error(out: &mut Vec<u8>, error: &Error, severity: Severity) {
    put(out, &ErrorResponse::new(fields(error, severity)));
}

/// NoticeResponse, as a warning.
pub(super) fn notice(out: &mut Vec<u8>, notice: &Error) {
    put(out, &NoticeResponse::new(fields(notice, Severity::Warning)));
}

/// CommandComplete.
pub(super) fn complete(out: &mut Vec<u8>, tag: &str) {
    put(out, &CommandComplete::new(tag.to_owned()));
}

/// EmptyQueryResponse.
pub(super) fn empty_query(out: &mut Vec<u8>) {
    put(out, &EmptyQueryResponse::new());
}

/// ReadyForQuery.
pub(super) fn ready(out: &mut Vec<u8>, transaction: Transaction) {
    let status = match transaction {
        Transaction::Idle | Transaction::Implicit => TransactionStatus::Idle,
        Transaction::Open => TransactionStatus::Transaction,
        Transaction::Failed => TransactionStatus::Error,
    };
    put(out, &ReadyForQuery::new(status));
}

/// ParameterStatus.
pub(super) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    put(
        out,
        &ParameterStatus::new(name.to_owned(), value.to_owned()),
    );
}

/// AuthenticationOk, AuthenticationSASL and its steps.
pub(super) fn authentication(out: &mut Vec<u8>, step: &Authentication) {
    put(out, step);
}

/// NegotiateProtocolVersion: the version that we go on with (all 32 bits, which is what libpq reads,
/// whatever the field is called), and the `_pq_.` options that we don't know.
pub(super) fn negotiate(out: &mut Vec<u8>, newest: i32, unknown: Vec<String>) {
    put(out, &NegotiateProtocolVersion::new(newest, unknown));
}

/// BackendKeyData.
pub(super) fn backend_key(out: &mut Vec<u8>, pid: i32, secret: &[u8]) {
    out.push(b'K');
    out.extend_from_slice(&(8 + secret.len() as i32).to_be_bytes());
    out.extend_from_slice(&pid.to_be_bytes());
    out.extend_from_slice(secret);
}

/// RowDescription. Columns are results of queries here: no table, no attribute number.
pub(super) fn row_description(out: &mut Vec<u8>, columns: &[(String, PgType, Format)]) {
    let start = out.len();
    out.extend_from_slice(&[b'T', 0, 0, 0, 0]);
    out.extend_from_slice(&(columns.len() as i16).to_be_bytes());
    for (name, pg_type, format) in columns {
        out.extend(visible_name(name).bytes().filter(|b| *b != 0));
        out.push(0);
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&pg_type.oid.to_be_bytes());
        out.extend_from_slice(&pg_type.length.to_be_bytes());
        out.extend_from_slice(&pg_type.modifier.to_be_bytes());
        out.extend_from_slice(&format.code().to_be_bytes());
    }
    let length = (out.len() - start - 1) as i32;
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

/// ParameterDescription.
pub(super) fn parameter_description(out: &mut Vec<u8>, types: &[u32]) {
    out.push(b't');
    out.extend_from_slice(&(6 + 4 * types.len() as i32).to_be_bytes());
    out.extend_from_slice(&(types.len() as u16).to_be_bytes());
    for oid in types {
        out.extend_from_slice(&oid.to_be_bytes());
    }
}

/// A message without a body: ParseComplete `1`, BindComplete `2`, CloseComplete `3`, NoData `n`,
/// PortalSuspended `s`.
pub(super) fn bare(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 4]);
}

/// 57014, in PostgreSQL's words.
pub(super) fn canceled() -> Error {
    Error::new(
        SqlState::QUERY_CANCELED,
        "canceling statement due to user request",
    )
}

/// 57P01, in PostgreSQL's words.
pub(super) fn shut_down() -> Error {
    Error::new(
        SqlState::ADMIN_SHUTDOWN,
        "terminating connection due to administrator command",
    )
}
