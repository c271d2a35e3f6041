//! Tells a worker that failed from a query that failed.
//!
//! An error that a worker *sent* arrives decoded, as the engine's error. What is left as a raw gRPC
//! status was made by the transport on this side: a broken or silent connection. Those become one
//! error with SQLSTATE 58000 that names the worker, survives further hops as text, and can be found
//! again by [`failed_worker`].

use datafusion::error::DataFusionError;
use sluice_spi::{Error, SqlState};
use tonic::{Code, Status};
use url::Url;

const MESSAGE_START: &str = "worker \"";
const MESSAGE_END: &str = "\" failed while running the query";

/// The error of a query whose worker failed.
pub fn worker_failed(url: &Url, reason: impl Into<String>) -> Error {
    Error::new(
        SqlState::SYSTEM_ERROR,
        format!("{MESSAGE_START}{}{MESSAGE_END}", display_url(url)),
    )
    .with_detail(reason)
    .with_hint("The query can be sent again; system.runtime.workers shows which workers are left.")
}

/// The worker that an error blames, if it is a [`worker_failed`] error.
pub fn failed_worker(error: &Error) -> Option<Url> {
    if error.code != SqlState::SYSTEM_ERROR {
        return None;
    }
    let url = error
        .message
        .strip_prefix(MESSAGE_START)?
        .strip_suffix(MESSAGE_END)?;
    Url::parse(url).ok()
}

/// `http://host:port` without the slash that a parsed URL ends with.
pub(crate) fn display_url(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// What a failed call to a worker means.
pub(crate) enum CallFailure {
    /// The query's own error.
    Query(DataFusionError),
    /// The worker refuses: wrong secret, or draining.
    Refused(Error),
    /// The connection broke or fell silent.
    Worker(Error),
}

/// Sorts an error that a call to `url` returned.
pub(crate) fn classify(url: &Url, error: DataFusionError) -> CallFailure {
    let Some(status) = raw_status(&error) else {
        return CallFailure::Query(error);
    };
    match status.code() {
        Code::Unauthenticated => CallFailure::Refused(
            Error::new(
                SqlState::INVALID_AUTHORIZATION,
                format!("worker \"{}\" refused the rpc secret", display_url(url)),
            )
            .with_hint("Every process of a fleet needs the same rpc.secret."),
        ),
        Code::FailedPrecondition => CallFailure::Refused(
            Error::new(
                SqlState::SYSTEM_ERROR,
                format!(
                    "worker \"{}\" takes no tasks: {}",
                    display_url(url),
                    status.message()
                ),
            )
            .with_hint("The query can be sent again."),
        ),
        // The worker itself could not encode what it had, or did not understand the call.
        Code::InvalidArgument | Code::Unimplemented => CallFailure::Query(error),
        Code::Internal if status.message().starts_with("Error during flight stream") => {
            CallFailure::Query(error)
        }
        _ => CallFailure::Worker(worker_failed(url, reason(status))),
    }
}

fn raw_status(error: &DataFusionError) -> Option<&Status> {
    match error {
        DataFusionError::External(inner) => inner.downcast_ref::<Status>(),
        DataFusionError::Context(_, inner) => raw_status(inner),
        DataFusionError::Shared(inner) => raw_status(inner),
        _ => None,
    }
}

/// The causes of a status, innermost last, since the outer ones only say "h2 protocol error".
fn reason(status: &Status) -> String {
    let mut text = if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    };
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_worker_is_found_again_in_text() {
        let url = Url::parse("http://127.0.0.1:9480").unwrap();
        let error = worker_failed(&url, "connection reset");
        assert_eq!(
            error.message,
            "worker \"http://127.0.0.1:9480\" failed while running the query"
        );
        let text = format!("Execution error: {}", DataFusionError::from(error));
        assert_eq!(
            failed_worker(&Error::from_marked(&text).unwrap()),
            Some(url)
        );
        assert_eq!(
            failed_worker(&Error::new(SqlState::SYSTEM_ERROR, "disk on fire")),
            None
        );
    }
}
