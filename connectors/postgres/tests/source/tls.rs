//! `sslmode`, with a certificate authority made for the test.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Server, append, fails, run};

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    run(command
        .current_dir(dir)
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .stdout(Stdio::null()));
}

#[tokio::test]
async fn certificates_are_checked_as_the_mode_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    openssl(
        path,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=test-ca",
    );
    openssl(
        path,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout other.key -out other.crt -subj /CN=other-ca",
    );
    openssl(
        path,
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
    );
    std::fs::write(path.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        path,
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile names",
    );

    let server = Server::start();
    server.down("fast");
    for name in ["server.crt", "server.key"] {
        // Into a file of the server's own, which keeps its owner and mode.
        let target = server.file(name);
        run(server
            .as_postgres("/usr/bin/install")
            .args(["-m", "600", "/dev/null"])
            .arg(&target));
        append(&target, &std::fs::read_to_string(path.join(name)).unwrap());
    }
    append(&server.file("postgresql.conf"), "ssl = on\n");
    server.up();

    let ca = format!("ca = '{}'", path.join("ca.crt").display());
    let other = format!("ca = '{}'", path.join("other.crt").display());
    for (host, mode, keys, works) in [
        ("127.0.0.1", "disable", "", true),
        ("127.0.0.1", "prefer", "", true),
        ("127.0.0.1", "require", "", true),
        ("127.0.0.1", "verify-ca", ca.as_str(), true),
        ("127.0.0.1", "verify-ca", other.as_str(), false),
        ("127.0.0.1", "verify-ca", "", false),
        // The certificate is for localhost.
        ("127.0.0.1", "verify-full", ca.as_str(), false),
        ("localhost", "verify-full", ca.as_str(), true),
        ("localhost", "verify-full", other.as_str(), false),
    ] {
        let url = format!(
            "url = 'postgresql://postgres@{host}:{}/postgres?sslmode={mode}'\n{keys}",
            server.port
        );
        let catalog = server.catalog_with(&url);
        let native = catalog.passthrough().unwrap();
        let text = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        if works {
            let table = native
                .query(text)
                .await
                .unwrap_or_else(|e| panic!("{host} {mode} {keys}: {e:?}"));
            let batches = crate::support::read_all(&catalog, &table).await.unwrap();
            let encrypted = arrow::array::AsArray::as_boolean(batches[0].column(0)).value(0);
            assert_eq!(encrypted, mode != "disable", "{host} {mode}");
        } else {
            let error = fails(native.query(text).await);
            assert_eq!(
                error.code.code(),
                "08006",
                "{host} {mode} {keys}: {error:?}"
            );
        }
    }
}
