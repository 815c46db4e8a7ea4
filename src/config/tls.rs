//! Certificates and keys: read and checked here, since the proxy's TLS panics at the start on what does not fit.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::fault::Wrong;
use super::read::{Fields, Reader, Spot};
use super::snapshot::ListenTls;

const CHAIN: &str = "give a PEM file with the certificate first, then its issuers";
const KEY: &str = "give a PEM file with the certificate's private key, without a password";
const CA: &str = "give a PEM file with at least one CA certificate";

/// Whether certificate and key of a listener can be read, and belong together.
pub(super) fn check_pair(fields: &Fields<'_, '_>, tls: &ListenTls) {
    let files = fields.value.reader.files;
    let wrong = |path: &Path, error: String, hint| Wrong::BadFile { file: path.display().to_string(), error, hint };
    let chain = files.certificate(&tls.cert).and_then(|pem| certificates(&pem));
    let key = files
        .certificate(&tls.key)
        .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "holds no private key in PEM".into()));
    if let Err(error) = &chain {
        fields.fault_at("cert", wrong(&tls.cert, error.clone(), CHAIN));
    }
    if let Err(error) = &key {
        fields.fault_at("key", wrong(&tls.key, error.clone(), KEY));
    }
    let (Ok(chain), Ok(key)) = (chain, key) else { return };
    let provider = rustls::crypto::ring::default_provider();
    if let Err(error) = rustls::sign::CertifiedKey::from_der(chain, key, &provider) {
        let error = match error {
            rustls::Error::InconsistentKeys(_) => "is not the key of that certificate".to_owned(),
            _ => "does not fit that certificate".to_owned(),
        };
        fields.fault_at("key", wrong(&tls.key, error, "give certificate and key of the same pair"));
    }
}

/// The CA certificates of an account, if they can be read and may be trusted as roots.
pub(super) fn authorities(reader: &Reader<'_>, path: &Path, spot: Spot, at: &str) -> Option<Arc<Vec<Vec<u8>>>> {
    let found = reader.files.certificate(path).and_then(|pem| certificates(&pem)).and_then(|certificates| {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|_| "holds a certificate that cannot be read".to_owned())?;
        }
        Ok(certificates)
    });
    match found {
        Ok(certificates) => Some(Arc::new(certificates.into_iter().map(|certificate| certificate.to_vec()).collect())),
        Err(error) => {
            reader.fault(spot, at, Wrong::BadFile { file: path.display().to_string(), error, hint: CA });
            None
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err("holds no certificate in PEM".into()),
        Ok(all) if all.iter().any(|one| rustls::server::ParsedCertificate::try_from(one).is_err()) => {
            Err("holds a certificate that cannot be read".into())
        }
        Ok(all) => Ok(all),
        Err(_) => Err("is no PEM, or a damaged one".into()),
    }
}
