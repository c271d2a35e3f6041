//! TLS for clients: the certificate is read once at start, and anything wrong with it stops the start.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pgwire::api::auth::sasl::scram::ScramServerAuth;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sluice_spi::{Error, Result, SqlState};

/// A usable TLS configuration.
#[derive(Clone)]
pub struct Tls {
    /// Does the handshake.
    pub acceptor: tokio_rustls::TlsAcceptor,
    /// SCRAM with channel binding to the certificate, where its signature algorithm defines one.
    pub(super) channel_binding: Option<ScramServerAuth>,
}

impl Tls {
    /// Reads PEM files. With `client_ca`, clients must show a certificate that it signed.
    pub fn load(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Tls> {
        let broken = |what: &str, path: &Path, cause: String| {
            Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("could not load {what} \"{}\": {cause}", path.display()),
            )
        };
        let pem =
            fs::read(cert).map_err(|e| broken("server certificate file", cert, e.to_string()))?;
        let chain = certificates(&pem).map_err(|e| broken("server certificate file", cert, e))?;
        let private = fs::read(key)
            .map_err(|e| e.to_string())
            .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).map_err(|e| e.to_string()))
            .map_err(|e| broken("private key file", key, e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| {
                Error::new(
                    SqlState::CONFIG_FILE_ERROR,
                    format!("TLS is not usable: {e}"),
                )
            })?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let failed = |e: String| broken("root certificate file", path, e);
                let pem = fs::read(path).map_err(|e| failed(e.to_string()))?;
                let mut roots = RootCertStore::empty();
                for root in certificates(&pem).map_err(failed)? {
                    roots.add(root).map_err(|e| failed(e.to_string()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|e| failed(e.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, private)
            .map_err(|e| broken("private key file", key, e.to_string()))?;
        // Direct TLS (PostgreSQL 17) requires it; ordinary clients don't offer it and don't mind.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let mut scram = ScramServerAuth::new();
        let channel_binding = scram.configure_certificate(&pem).is_ok().then_some(scram);
        Ok(Tls {
            acceptor: Arc::new(config).into(),
            channel_binding,
        })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    if chain.is_empty() {
        Err("no certificate found".to_owned())
    } else {
        Ok(chain)
    }
}
