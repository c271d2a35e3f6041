//! Turns what goes wrong below (object stores, Parquet, decoders) into errors that name the file.

use datafusion::error::DataFusionError;
use sluice_spi::{Error, SqlState};

/// The hint where a file is not what the plan saw.
const CHANGED_HINT: &str =
    "Files must not change while a statement reads them. Run the statement again.";

/// The hint where a service does not know us.
const ACCESS_HINT: &str =
    "Check the keys under [s3] of the catalog's file, and what they may read.";

/// An object store's failure on a file.
pub(crate) fn store_error(file: &str, error: &object_store::Error) -> Error {
    use object_store::Error as E;
    // An error of ours that passed through the engine on its way.
    if let Some(known) = Error::from_marked(&error.to_string()) {
        return known;
    }
    match error {
        E::NotFound { .. } => Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("file \"{file}\" does not exist any more"),
        )
        .with_hint(CHANGED_HINT),
        E::Precondition { .. } | E::NotModified { .. } => file_changed(file),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Error::new(
            SqlState::CONNECTION_REJECTED,
            format!("access to \"{file}\" was denied"),
        )
        .with_detail(root_cause(error))
        .with_hint(ACCESS_HINT),
        _ => Error::new(SqlState::IO_ERROR, format!("could not read \"{file}\""))
            .with_detail(root_cause(error)),
    }
}

/// A listing that failed.
pub(crate) fn listing_error(place: &str, error: &object_store::Error) -> Error {
    use object_store::Error as E;
    let detail = root_cause(error);
    // Listings report a service's refusal as a failure like any other.
    let status = answered_status(&innermost(error));
    match (error, status) {
        (E::PermissionDenied { .. } | E::Unauthenticated { .. }, _) | (_, Some(401 | 403)) => {
            Error::new(
                SqlState::CONNECTION_REJECTED,
                format!("access to \"{place}\" was denied"),
            )
            .with_detail(detail)
            .with_hint(ACCESS_HINT)
        }
        (E::NotFound { .. }, _) | (_, Some(404)) => {
            Error::new(SqlState::IO_ERROR, format!("\"{place}\" does not exist"))
                .with_detail(detail)
                .with_hint("Check \"location\" in the catalog's file.")
        }
        _ => Error::new(
            SqlState::CONNECTION_FAILURE,
            format!("could not list \"{place}\""),
        )
        .with_detail(detail),
    }
}

/// A file that is not the one the plan saw.
pub(crate) fn file_changed(file: &str) -> Error {
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("file \"{file}\" changed after the statement was planned"),
    )
    .with_hint(CHANGED_HINT)
}

/// A failure of the Parquet reader on a file.
pub(crate) fn parquet_error(file: &str, error: &DataFusionError) -> Error {
    let text = error.to_string();
    if let Some(known) = Error::from_marked(&text) {
        return known;
    }
    match error.find_root() {
        DataFusionError::ObjectStore(store) => store_error(file, store),
        DataFusionError::ResourcesExhausted(message) => {
            Error::new(SqlState::OUT_OF_MEMORY, message.clone())
        }
        DataFusionError::ArrowError(arrow, _)
            if matches!(
                arrow.as_ref(),
                arrow::error::ArrowError::CastError(_) | arrow::error::ArrowError::ComputeError(_)
            ) =>
        {
            Error::new(
                SqlState::DATA_EXCEPTION,
                format!("a value in \"{file}\" does not fit its column's type"),
            )
            .with_detail(arrow.to_string())
        }
        _ => broken(file, "Parquet", &text),
    }
}

/// A file whose bytes are not of its format.
pub(crate) fn broken(file: &str, format: &str, detail: &str) -> Error {
    Error::new(
        SqlState::DATA_CORRUPTED,
        format!("file \"{file}\" is not a readable {format} file"),
    )
    .with_detail(first_line(detail))
    .with_hint("Write the file again, or move it out of the table's folder.")
}

/// What a service said, or else the innermost cause.
fn root_cause(error: &dyn std::error::Error) -> String {
    let cause = innermost(error);
    // S3 answers with a document whose message is for people.
    let tag = |name: &str| {
        let (_, rest) = cause.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    match (tag("Code"), tag("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => first_line(&cause),
    }
}

/// The HTTP status in an object store's message, which is the only place that has it.
fn answered_status(message: &str) -> Option<u16> {
    let (_, rest) = message.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The innermost cause, since the outer layers only repeat it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_answer_is_read() {
        let text = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n\
            <Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>";
        let error = object_store::Error::Generic {
            store: "S3",
            source: text.into(),
        };
        let error = listing_error("s3://b", &error);
        assert_eq!(error.code, SqlState::CONNECTION_REJECTED);
        assert_eq!(
            error.detail.as_deref(),
            Some("InvalidAccessKeyId: No such key.")
        );
    }
}
