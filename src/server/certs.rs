//! Certificates of `listen`, read anew when their files change.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use pingora::listeners::ALPN;
use pingora::listeners::tls::TlsSettings;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::snapshot::ListenTls;

/// The certificate of one address.
#[derive(Default)]
pub(super) struct Certificate {
    current: ArcSwapOption<CertifiedKey>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

impl Certificate {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// What is wrong with which file; the certificate in use stays.
    pub(super) fn read(&self, files: &ListenTls) -> Result<(), String> {
        let named = |path: &Path, what: String| format!("{}: {what}", path.display());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
            .and_then(Iterator::collect)
            .map_err(|e| named(&files.cert, e.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| named(&files.key, e.to_string()))?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider)
            .map_err(|e| named(&files.cert, format!("with {}: {e}", files.key.display())))?;
        self.current.store(Some(Arc::new(certified)));
        Ok(())
    }

    /// When the first certificate of the chain ends, in seconds since 1970.
    pub(super) fn ends(&self) -> Option<i64> {
        let current = self.current.load_full()?;
        let first = current.cert.first()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(first).ok()?;
        Some(parsed.validity().not_after.timestamp())
    }
}

/// Settings for a listener that serves HTTP/2 and HTTP/1.1 with this certificate.
///
/// # Errors
/// What Pingora says.
pub(super) fn settings(certificate: Arc<Certificate>, files: &ListenTls) -> Result<TlsSettings, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut settings = TlsSettings::intermediate(&text(&files.cert), &text(&files.key)).map_err(|e| e.to_string())?;
    settings.set_alpn(ALPN::H2H1);
    settings.set_cert_resolver(certificate);
    Ok(settings)
}
