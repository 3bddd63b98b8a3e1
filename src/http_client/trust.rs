//! Whom to believe: the system's authorities, read once for all clients, when the first server has to prove who it is.
//!
//! Reading them takes some milliseconds and some hundred kilobytes, for each client that does so by itself. Most of
//! the clients here belong to providers that are never asked.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// TLS as every client here speaks it.
///
/// # Errors
/// Never with the provider that this program has.
pub(super) fn tls() -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous() // is what any verifier of one's own is called; this one asks the usual one
        .with_custom_certificate_verifier(Arc::new(SystemTrust { provider }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

static VERIFIER: OnceLock<Result<Arc<WebPkiServerVerifier>, String>> = OnceLock::new();

fn verifier() -> Result<&'static Arc<WebPkiServerVerifier>, Error> {
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}"));
            return Err(format!(
                "this system names no certificate authorities; install ca-certificates, or name a file in SSL_CERT_FILE{}",
                why.unwrap_or_default()
            ));
        }
        let provider = Arc::new(ring::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())
    };
    VERIFIER
        .get_or_init(load)
        .as_ref()
        .map_err(|why| Error::General(why.clone()))
}

#[derive(Debug)]
struct SystemTrust {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SystemTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verifier()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verifier()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_no_authority_vouches_for_is_not_believed() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let trust = SystemTrust {
            provider: Arc::new(ring::default_provider()),
        };
        let believed = trust.verify_server_cert(key.cert.der(), &[], &name, &[], UnixTime::now());
        assert!(believed.is_err(), "{believed:?}");
    }
}
