//! TLS, from the contents of PEM files.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// What a server shows its clients and asks of them. All parts are PEM.
#[derive(Debug)]
pub(crate) struct Pem<'a> {
    /// The server's certificate and those that lead to a root.
    pub(crate) certificate_chain: &'a [u8],
    pub(crate) private_key: &'a [u8],
    /// Roots of clients' certificates.
    pub(crate) client_ca: Option<&'a [u8]>,
    /// Whether a client without a certificate is turned away.
    pub(crate) requires_client_certificate: bool,
}

impl Pem<'_> {
    /// The settings of rustls, or what is wrong with which part.
    pub(crate) fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let chain = certificates("certificate_chain", self.certificate_chain)?;
        let key = PrivateKeyDer::from_pem_slice(self.private_key)
            .map_err(|error| format!("private_key holds no private key in PEM: {error}"))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match self.verifier()? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            format!("certificate_chain and private_key cannot be used together: {error}")
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        let Some(pem) = self.client_ca else {
            return match self.requires_client_certificate {
                true => Err("a client's certificate is required but client_ca is None".into()),
                false => Ok(None),
            };
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("client_ca", pem)? {
            roots.add(certificate).map_err(|error| {
                format!("client_ca holds a certificate that is no root: {error}")
            })?;
        }
        let provider = Arc::new(default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match self.requires_client_certificate {
            true => builder,
            false => builder.allow_unauthenticated(),
        };
        builder
            .build()
            .map(Some)
            .map_err(|error| format!("client_ca cannot be used: {error}"))
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Err(error) => Err(format!("{name} is not PEM: {error}")),
        Ok(found) if found.is_empty() => Err(format!("{name} holds no certificate")),
        Ok(found) => Ok(found),
    }
}
