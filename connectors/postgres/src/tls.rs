//! TLS to the source, with the meanings of PostgreSQL's `sslmode`.
//!
//! Relies on rustls with the ring provider. Never accepts a certificate that the mode says to check.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sluice_spi::{Error, Result, SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

/// `sslmode`, as in PostgreSQL's manual (section 34.19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// Never encrypt.
    Disable,
    /// Encrypt where the server can; trust any certificate.
    Prefer,
    /// Encrypt; trust any certificate.
    Require,
    /// Encrypt; the certificate must come from a trusted authority.
    VerifyCa,
    /// Encrypt; the certificate must come from a trusted authority and name the host.
    VerifyFull,
}

impl TlsMode {
    pub(crate) fn parse(text: &str) -> Option<TlsMode> {
        Some(match text {
            "disable" => TlsMode::Disable,
            "allow" | "prefer" => TlsMode::Prefer,
            "require" => TlsMode::Require,
            "verify-ca" => TlsMode::VerifyCa,
            "verify-full" => TlsMode::VerifyFull,
            _ => return None,
        })
    }
}

/// The PEM files that the catalog names.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// The connector for one catalog. Reads the PEM files.
pub(crate) fn connector(mode: TlsMode, files: &TlsFiles) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal(format!("no TLS version is usable: {e}")))?;
    let builder = match mode {
        TlsMode::VerifyFull => builder.with_root_certificates(roots(files)?),
        mode => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient {
                roots: match mode {
                    TlsMode::VerifyCa => Some(roots(files)?),
                    _ => None,
                },
                provider,
            })),
    };
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key_der = rustls_pemfile::private_key(&mut open(key)?)
                .ok()
                .flatten()
                .ok_or_else(|| bad_file(key, "holds no private key"))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|e| bad_file(cert, &e.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(files: &TlsFiles) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match &files.ca {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in certificates(path)? {
                store
                    .add(certificate)
                    .map_err(|e| bad_file(path, &e.to_string()))?;
            }
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = rustls_pemfile::certs(&mut open(path)?)
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|e| bad_file(path, &e.to_string()))?;
    if found.is_empty() {
        Err(bad_file(path, "holds no certificate"))
    } else {
        Ok(found)
    }
}

fn open(path: &Path) -> Result<std::io::BufReader<std::fs::File>> {
    std::fs::File::open(path)
        .map(std::io::BufReader::new)
        .map_err(|e| bad_file(path, &e.to_string()))
}

fn bad_file(path: &Path, what: &str) -> Error {
    Error::new(
        SqlState::CONFIG_FILE_ERROR,
        format!("could not use {}: {what}", path.display()),
    )
}

/// Checks signatures always, the chain where `roots` are given, and the host's name never: the modes
/// below `verify-full`.
#[derive(Debug)]
struct Lenient {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
