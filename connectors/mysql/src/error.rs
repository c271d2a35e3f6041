//! Turns the client library's errors into [`sluice_spi::Error`], with the catalog's name.
//!
//! MySQL's own SQLSTATEs are coarse (`HY000`, `42000`), so the code is chosen by the server's error
//! number (MySQL and MariaDB manuals, "Server Error Message Reference"). The message is the server's.
//! Never holds a connection string or a password.

use mysql_async::{DriverError, Error as ClientError, IoError, ServerError};
use sluice_spi::{Error, SqlState};

/// An error while a connection was being opened.
pub(crate) fn connect_error(catalog: &str, error: &ClientError) -> Error {
    let (code, hint) = match error {
        ClientError::Server(server) => match server.code {
            // Too many connections: of the server, of the user, resources of the user.
            1040 | 1203 | 1226 => (
                SqlState::TOO_MANY_CONNECTIONS,
                "The server allows no more connections; lower max_connections here or raise it there.",
            ),
            // Wrong password, no such database, no access to it, host not allowed, unknown plugin.
            1044 | 1045 | 1049 | 1130 | 1251 | 1524 | 1698 | 3118 | 3159 | 3955 | 4151 => (
                SqlState::CONNECTION_REJECTED,
                "Check the user, the password and the database in the catalog's file.",
            ),
            _ => (
                SqlState::CONNECTION_FAILURE,
                "The server is not ready for connections.",
            ),
        },
        ClientError::Driver(DriverError::NoClientSslFlagFromServer) => (
            SqlState::CONNECTION_REJECTED,
            "The server offers no TLS: set it up there, or choose another sslmode.",
        ),
        ClientError::Io(IoError::Tls(_)) => (
            SqlState::CONNECTION_FAILURE,
            "Check sslmode, and the certificates in the catalog's file.",
        ),
        _ => (
            SqlState::CONNECTION_FAILURE,
            "Is the server running at the address in the catalog's file?",
        ),
    };
    Error::new(
        code,
        format!(
            "could not connect to the source of catalog \"{catalog}\": {}",
            words(error)
        ),
    )
    .with_hint(hint)
    .with_source(catalog)
}

/// An error while a statement was prepared or ran.
pub(crate) fn statement_error(catalog: &str, error: &ClientError) -> Error {
    match error {
        ClientError::Server(server) if !is_shutdown(server.code) => {
            Error::new(state(server), lower_first(&server.message)).with_source(catalog)
        }
        _ => Error::new(
            SqlState::CONNECTION_FAILURE,
            format!(
                "lost the connection to the source of catalog \"{catalog}\": {}",
                words(error)
            ),
        )
        .with_source(catalog),
    }
}

/// True where the connection is gone, so that a fresh one may do what this one could not.
pub(crate) fn is_connection_lost(error: &ClientError) -> bool {
    match error {
        ClientError::Server(server) => is_shutdown(server.code),
        ClientError::Io(_) => true,
        ClientError::Driver(error) => matches!(
            error,
            DriverError::ConnectionClosed | DriverError::PacketOutOfOrder
        ),
        _ => false,
    }
}

/// The server ends the session: it shuts down (1053), someone killed the connection (1927, MariaDB), it
/// was idle for too long (4031, MySQL; 1159, 1161 on the server's side of the wire).
fn is_shutdown(code: u16) -> bool {
    matches!(code, 1053 | 1077 | 1079 | 1152 | 1159 | 1161 | 1927 | 4031)
}

/// SQLSTATE of a server's error number, in PostgreSQL's vocabulary.
fn state(error: &ServerError) -> SqlState {
    let known = match error.code {
        // Locks.
        1205 => "55P03",
        1213 | 1614 => "40P01",
        1020 => "40001",
        // Cancelled: by KILL QUERY, by max_execution_time (MySQL), by max_statement_time (MariaDB).
        1317 | 3024 | 1969 => "57014",
        1040 | 1203 | 1226 => "53300",
        // Memory and disk.
        1037 | 1038 | 1041 => "53200",
        1021 | 1114 => "53100",
        1153 | 1301 => "54000",
        // Privileges.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1410 | 1419 | 1698 => "42501",
        // Names.
        1146 | 1051 | 1109 => "42P01",
        1054 | 1072 | 1091 => "42703",
        1049 | 1008 => "3F000",
        1305 | 1128 | 1630 => "42883",
        1193 | 1115 | 1273 | 1286 => "42704",
        1052 => "42702",
        1059 | 1102 | 1103 | 1166 => "42602",
        1007 => "42P06",
        1050 => "42P07",
        1060 => "42701",
        1064 | 1149 => "42601",
        1055 | 1056 | 1111 | 1140 => "42803",
        1347 => "42809",
        // Constraints.
        1062 | 1586 => "23505",
        1048 | 1364 | 1138 => "23502",
        1216 | 1217 | 1451 | 1452 => "23503",
        3819 | 4025 => "23514",
        // Values.
        1264 | 1690 | 1916 => "22003",
        1406 => "22001",
        1365 => "22012",
        1292 | 1411 | 1525 => "22007",
        1300 | 1366 | 3854 => "22P02",
        1265 => "22000",
        // Writes where none are allowed: a read-only transaction, a read-only server.
        1290 | 1792 | 1836 => "25006",
        1356 => "42P01",
        1235 => "0A000",
        _ => match error.state.as_str() {
            // "General error": says nothing.
            "HY000" => "HV000",
            state => state,
        },
    };
    SqlState::from_source(known)
}

/// What happened, in the style of PostgreSQL's messages.
fn words(error: &ClientError) -> String {
    match error {
        ClientError::Server(server) => lower_first(&server.message),
        ClientError::Io(IoError::Io(io)) => lower_first(&io.to_string()),
        ClientError::Io(IoError::Tls(tls)) => lower_first(&tls.to_string()),
        ClientError::Driver(driver) => lower_first(driver.to_string().trim_end_matches('.')),
        // A URL's error may quote the URL.
        ClientError::Url(_) => "the address is not understood".to_owned(),
        ClientError::Other(other) => lower_first(&other.to_string()),
    }
}

/// "Unknown column …" as "unknown column …"; names and abbreviations stay as they are.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, state: &str) -> ClientError {
        ClientError::Server(ServerError {
            code,
            message: "Something went wrong".into(),
            state: state.into(),
        })
    }

    #[test]
    fn error_numbers_become_sqlstates() {
        for (code, state, expected) in [
            (1146, "42S02", "42P01"),
            (1054, "42S22", "42703"),
            (1969, "70100", "57014"),
            (3024, "HY000", "57014"),
            (1205, "HY000", "55P03"),
            (1213, "40001", "40P01"),
            (1062, "23000", "23505"),
            (1040, "08004", "53300"),
            (1927, "70100", "08006"),
            (9999, "HY000", "HV000"),
            (9999, "42000", "42000"),
        ] {
            let error = statement_error("shop", &server(code, state));
            assert_eq!(error.code.code(), expected, "{code}");
            assert_eq!(error.source_name.as_deref(), Some("shop"));
        }
        assert_eq!(
            statement_error("shop", &server(1146, "42S02")).message,
            "something went wrong"
        );
    }

    #[test]
    fn a_refused_login_is_not_an_unreachable_server() {
        let code = |code| connect_error("shop", &server(code, "28000")).code;
        assert_eq!(code(1045), SqlState::CONNECTION_REJECTED);
        assert_eq!(code(1049), SqlState::CONNECTION_REJECTED);
        assert_eq!(code(1040), SqlState::TOO_MANY_CONNECTIONS);
        assert!(is_connection_lost(&server(1053, "08S01")));
        assert!(!is_connection_lost(&server(1146, "42S02")));
    }
}
